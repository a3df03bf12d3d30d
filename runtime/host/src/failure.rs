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

/// Ends the process after a fault in the kernel: at an offset from the enclave's base, by a vector, about an address.
pub fn kernel_failed(offset: u64, vector: u32, address: u64) -> ! {
    say(format_args!(
        "the kernel failed at {offset:#x} (vector {vector}, address {address:#x}); please report this"
    ));
    crate::sys::exit_group(EXIT_STATUS)
}

/// Ends the process after a program has changed GS base.
pub fn gs_base_changed() -> ! {
    say(format_args!(
        "the application cannot go on: it changed the GS base, which is the kernel's"
    ));
    crate::sys::exit_group(EXIT_STATUS)
}

/// Ends the process after a fault in the launcher.
pub fn launcher_failed(rip: u64, vector: u32, address: u64) -> ! {
    say(format_args!(
        "the launcher failed at {:#x} (vector {vector}, address {address:#x})",
        rip.wrapping_sub(crate::sys::own_code().start)
    ));
    crate::sys::exit_group(EXIT_STATUS)
}
