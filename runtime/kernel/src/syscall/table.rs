//! The system call table as data.

use mystikos_platform::{control, host};

use super::{names, trace};
use crate::process::{self, Thread};
use crate::{config, Errno, Result};

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
    /// Address, or pointer to something not shown.
    Ptr,
    /// Bits with names; what has no name is shown in hexadecimal.
    Flags(&'static [(u64, &'static str)]),
    /// One of several values with names.
    Enum(&'static [(u64, &'static str)]),
    /// Permission bits, octal.
    Mode,
    /// Permission bits of a file that open(2) makes: there only when the flags, at the given index, say so.
    CreateMode(u8),
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

impl Entry {
    /// A call that works as on Linux.
    pub const fn full(
        number: u32,
        name: &'static str,
        args: &'static [Arg],
        handler: Handler,
    ) -> Entry {
        Entry {
            number: number as u16,
            name,
            args,
            support: Support::Full,
            note: "",
            handler,
        }
    }

    /// The same with limits.
    pub const fn partial(self, note: &'static str) -> Entry {
        Entry {
            support: Support::Partial,
            note,
            ..self
        }
    }

    /// The same without the effect it has on Linux.
    pub const fn accepted(self, note: &'static str) -> Entry {
        Entry {
            support: Support::Accepted,
            note,
            ..self
        }
    }

    /// A call that is always refused.
    pub const fn refused(self, note: &'static str) -> Entry {
        Entry {
            support: Support::Refused,
            note,
            ..self
        }
    }
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
    super::process::TABLE,
    super::process_vm::TABLE,
    super::futex::TABLE,
    super::signal::TABLE,
    super::clock::TABLE,
    super::timer::TABLE,
    super::sched::TABLE,
    super::limits::TABLE,
    super::credentials::TABLE,
    super::system::TABLE,
    super::refused::TABLE,
    super::mm::TABLE,
    super::pipe::TABLE,
    super::poll::TABLE,
    super::epoll::TABLE,
    super::event::TABLE,
    super::net::TABLE,
];

/// One more than the largest number in the table.
pub const LIMIT: usize = 512;

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
    let enosys = config::config().unhandled_syscall_enosys;
    trace::unhandled(thread, number, arguments, enosys);
    if enosys {
        return Err(Errno::ENOSYS);
    }
    let name = names::of(number).unwrap_or("unknown");
    let site = control::regs().rip;
    let message = alloc::format!(
        "myst: system call {number} ({name}), made at {site:#x}, is not handled; to let it fail with ENOSYS instead, set UnhandledSyscallEnosys in the config\n"
    );
    host::log(message.as_bytes());
    process::end(FAILURE_STATUS)
}

/// Exit status of the launcher's and the kernel's own failures.
const FAILURE_STATUS: u8 = 125;

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> impl Iterator<Item = &'static Entry> {
        FAMILIES.iter().copied().flatten()
    }

    #[test]
    fn every_entry_has_the_number_that_linux_gives_its_name() {
        for entry in entries() {
            let named = names::of(entry.number as u64);
            assert_eq!(named, Some(entry.name), "number {}", entry.number);
        }
    }

    #[test]
    fn what_differs_from_linux_is_told() {
        for entry in entries() {
            let full = entry.support == Support::Full;
            assert!(full || !entry.note.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn every_argument_of_a_buffer_names_a_size_that_exists() {
        for entry in entries() {
            assert!(entry.args.len() <= 6, "{}", entry.name);
            for arg in entry.args {
                if let Arg::BufIn(size) = arg {
                    assert!((*size as usize) < entry.args.len(), "{}", entry.name);
                }
            }
        }
    }

    #[test]
    fn numbers_find_their_entries() {
        assert_eq!(find(39).map(|e| e.name), Some("getpid"));
        assert!(find(u64::MAX).is_none());
        assert!(find(LIMIT as u64).is_none());
    }
}
