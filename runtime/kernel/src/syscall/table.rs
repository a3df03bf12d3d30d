//! The system call table as data.

use crate::process::Thread;
use crate::Result;

/// Serves a system call.
pub type Handler = fn(&Thread, [u64; 6]) -> Result<u64>;

/// What an argument is, for tracing and documentation.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// Signed decimal number.
    Int,
    /// Unsigned decimal number (sizes, counts).
    Uint,
    /// Number shown in hexadecimal (addresses, opaque values).
    Hex,
    /// File descriptor.
    Fd,
    /// Directory descriptor or AT_FDCWD.
    DirFd,
    /// NUL-terminated path.
    Path,
    /// NUL-terminated string that is not a path.
    Str,
    /// Bytes to be read by the call; the argument with the given index is the count.
    BufIn(u8),
    /// Bytes written by the call; the result is the count.
    BufOut,
    /// Pointer to something not shown.
    Ptr,
    /// Bits with names; what has no name is shown in hexadecimal.
    Flags(&'static [(u64, &'static str)]),
    /// One of several values with names.
    Enum(&'static [(u64, &'static str)]),
    /// Permission bits, octal.
    Mode,
    /// Signal number.
    Signal,
}

/// How far a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux.
    Full,
    /// As Linux within the limits that the note tells.
    Partial,
    /// Accepted, without the effect it has on Linux; the note tells why that is right.
    Accepted,
    /// Always refused, with the errno that Linux gives where the feature is absent or forbidden.
    Refused,
}

/// One system call.
pub struct Entry {
    /// Number on x86-64.
    pub number: u16,
    /// Name.
    pub name: &'static str,
    /// Arguments.
    pub args: &'static [Arg],
    /// Support level.
    pub support: Support,
    /// What is different from Linux; empty when nothing is.
    pub note: &'static str,
    /// What serves it.
    pub handler: Handler,
}

/// Families of system calls, each with its own table.
pub const FAMILIES: &[&[Entry]] = &[
    super::fs::attributes::TABLE,
    super::fs::copy::TABLE,
    super::fs::descriptor::TABLE,
    super::fs::directory::TABLE,
    super::fs::lock::TABLE,
    super::fs::names::TABLE,
    super::fs::open::TABLE,
    super::fs::refused::TABLE,
    super::fs::space::TABLE,
    super::fs::stat::TABLE,
    super::fs::transfer::TABLE,
    super::mm::TABLE,
    super::pipe::TABLE,
];

/// One more than the largest number in the table.
const LIMIT: usize = 512;

static BY_NUMBER: [Option<&Entry>; LIMIT] = by_number();

const fn by_number() -> [Option<&'static Entry>; LIMIT] {
    let mut all: [Option<&'static Entry>; LIMIT] = [None; LIMIT];
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[family].len() {
            let entry = &FAMILIES[family][i];
            assert!(
                all[entry.number as usize].is_none(),
                "two entries for one number"
            );
            all[entry.number as usize] = Some(entry);
            i += 1;
        }
        family += 1;
    }
    all
}

/// The entry of a number.
pub fn find(number: u64) -> Option<&'static Entry> {
    BY_NUMBER
        .get(usize::try_from(number).ok()?)
        .copied()
        .flatten()
}

/// A call without an entry: ends the program with a message naming it, or ENOSYS with UnhandledSyscallEnosys.
pub fn unhandled(thread: &Thread, number: u64, arguments: [u64; 6]) -> Result<u64> {
    let _ = (thread, number, arguments);
    unimplemented!("K3")
}
