//! Locks on files: flock(2), and record locks of fcntl(2).

use alloc::sync::Arc;

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::table::{Arg, Entry, Support};
use super::usable;
use crate::fs::file::OpenFile;
use crate::fs::inode::Inode;
use crate::fs::lock::{self, Owner, Range};
use crate::process::Thread;
use crate::{Errno, Result};

const LOCK_SH: u32 = 1;
const LOCK_EX: u32 = 2;
const LOCK_NB: u32 = 4;
const LOCK_UN: u32 = 8;

/// The family.
pub const TABLE: &[Entry] = &[Entry {
    number: 73,
    name: "flock",
    args: &[
        Arg::Fd,
        Arg::Flags(&[
            (LOCK_SH as u64, "LOCK_SH"),
            (LOCK_EX as u64, "LOCK_EX"),
            (LOCK_NB as u64, "LOCK_NB"),
            (LOCK_UN as u64, "LOCK_UN"),
        ]),
    ],
    support: Support::Partial,
    note: "files without a name (pipes, sockets) cannot be locked (EINVAL)",
    handler: flock,
}];

/// What a descriptor stood for is not behind it any more: the record locks of the process on the file end, even if it
/// has the file open otherwise (fcntl_locking(2)).
pub fn closed(thread: &Thread, description: &Arc<OpenFile>) {
    if let Some(dentry) = &description.dentry {
        lock::release_records(&dentry.inode, Owner::Process(thread.process.pid));
    }
}

fn inode(description: &OpenFile) -> Result<&Arc<dyn Inode>> {
    match &description.dentry {
        Some(dentry) => Ok(&dentry.inode),
        None => Err(Errno::EINVAL),
    }
}

fn flock(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let operation = args[1] as u32;
    let exclusive = match operation & !LOCK_NB {
        LOCK_SH => Some(false),
        LOCK_EX => Some(true),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let description = usable(thread, args[0])?;
    let inode = inode(&description)?;
    lock::whole(inode, &description, exclusive, operation & LOCK_NB == 0)?;
    Ok(0)
}

/// `struct flock`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    padding: i32,
    start: i64,
    len: i64,
    pid: i32,
    padding2: i32,
}

const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// F_GETLK … F_OFD_SETLKW.
pub fn record(
    thread: &Thread,
    description: &Arc<OpenFile>,
    command: u32,
    address: u64,
) -> Result<u64> {
    let mut flock: Flock = user::read(address)?;
    let of_description = command >= 36;
    if of_description && flock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let owner = match of_description {
        true => Owner::Description(Owner::address(description)),
        false => Owner::Process(thread.process.pid),
    };
    let (start, end) = extent(description, &flock)?;
    let exclusive = match flock.kind {
        F_RDLCK => Some(false),
        F_WRLCK => Some(true),
        F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let inode = inode(description)?;
    let get = matches!(command, 5 | 36);
    if get {
        let exclusive = exclusive.ok_or(Errno::EINVAL)?;
        let wanted = Range {
            owner,
            exclusive,
            start,
            end,
        };
        match lock::conflict(inode, &wanted) {
            None => flock.kind = F_UNLCK,
            Some(held) => {
                flock.kind = if held.exclusive { F_WRLCK } else { F_RDLCK };
                flock.whence = 0;
                flock.start = held.start as i64;
                flock.len = match held.end {
                    u64::MAX => 0,
                    end => (end - held.start + 1) as i64,
                };
                flock.pid = match held.owner {
                    Owner::Process(pid) => pid as i32,
                    Owner::Description(_) => -1,
                };
            }
        }
        user::write(address, &flock)?;
        return Ok(0);
    }
    match exclusive {
        Some(false) if !description.is_readable() => return Err(Errno::EBADF),
        Some(true) if !description.is_writable() => return Err(Errno::EBADF),
        _ => {}
    }
    let wait = matches!(command, 7 | 38);
    match exclusive {
        Some(exclusive) => {
            let wanted = Range {
                owner,
                exclusive,
                start,
                end,
            };
            lock::acquire(inode, wanted, wait)?;
        }
        None => lock::release(inode, owner, start, end)?,
    }
    Ok(0)
}

/// First and last byte; the last is all ones up to the end of the file, wherever that will be.
fn extent(description: &OpenFile, flock: &Flock) -> Result<(u64, u64)> {
    let base = match flock.whence {
        0 => 0,
        1 => *description.position.lock(),
        2 => inode(description)?.size()?,
        _ => return Err(Errno::EINVAL),
    };
    let start = i64::try_from(base)
        .ok()
        .and_then(|base| base.checked_add(flock.start))
        .ok_or(Errno::EOVERFLOW)?;
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    match flock.len {
        0 => Ok((start as u64, u64::MAX)),
        len if len > 0 => match start.checked_add(len - 1) {
            Some(end) => Ok((start as u64, end as u64)),
            None => Err(Errno::EOVERFLOW),
        },
        len => match start.checked_add(len) {
            Some(first) if first >= 0 => Ok((first as u64, start as u64 - 1)),
            _ => Err(Errno::EINVAL),
        },
    }
}
