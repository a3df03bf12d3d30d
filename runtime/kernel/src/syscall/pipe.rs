//! Pipes.

use mystikos_platform::user;

use super::install;
use super::table::{Arg, Entry, Support};
use crate::fs::pipe;
use crate::process::Thread;
use crate::{Errno, Result};

const O_NONBLOCK: u32 = 0o4000;
const O_DIRECT: u32 = 0o40000;
const O_CLOEXEC: u32 = 0o2000000;

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 22,
        name: "pipe",
        args: &[Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| make(thread, args[0], 0),
    },
    Entry {
        number: 293,
        name: "pipe2",
        args: &[
            Arg::Ptr,
            Arg::Flags(&[
                (O_NONBLOCK as u64, "O_NONBLOCK"),
                (O_DIRECT as u64, "O_DIRECT"),
                (O_CLOEXEC as u64, "O_CLOEXEC"),
            ]),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| make(thread, args[0], args[1] as u32),
    },
];

fn make(thread: &Thread, address: u64, flags: u32) -> Result<u64> {
    if flags & !(O_NONBLOCK | O_DIRECT | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = pipe::pair(flags);
    install::pair(thread, [reader, writer], flags & O_CLOEXEC != 0, |fds| {
        user::write(address, &fds)
    })?;
    Ok(0)
}
