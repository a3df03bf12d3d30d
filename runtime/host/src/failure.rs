//! How the launcher says that it cannot: one line on standard error beginning `myst: `, exit status 125.

use alloc::string::String;
use core::fmt::Write;

/// The launcher's own failures.
pub const EXIT_STATUS: i32 = 125;

/// Why the package is not run.
#[derive(Debug)]
pub struct Failure(pub String);

/// What may fail before the application runs.
pub type Result<T> = core::result::Result<T, Failure>;

impl Failure {
    /// Formats a failure; used through [`fail!`].
    pub fn new(message: core::fmt::Arguments<'_>) -> Failure {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text.write_fmt(message);
        Failure(text)
    }
}

/// A [`Failure`] with a formatted message.
#[macro_export]
macro_rules! fail {
    ($($argument:tt)*) => { $crate::Failure::new(format_args!($($argument)*)) };
}

/// Writes one line to standard error, as one write.
pub fn say(message: core::fmt::Arguments<'_>) {
    let mut text = String::from("myst: ");
    let _ = text.write_fmt(message);
    text.push('\n');
    // Standard error may be closed; there is nowhere else to say it.
    let _ = rustix::io::write(stderr(), text.as_bytes());
}

/// Standard error of the process.
pub fn stderr() -> rustix::fd::BorrowedFd<'static> {
    // SAFETY: the launcher never closes it; if the process was started without one, using it gives EBADF.
    unsafe { rustix::stdio::stderr() }
}
