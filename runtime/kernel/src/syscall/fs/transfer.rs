//! Reading and writing.

use super::super::table::{Arg, Entry, Support};
use super::description;
use crate::fs::file::OpenFile;
use crate::fs::inode::Kind;
use crate::fs::io::{Sink, Source, UserBuffers};
use crate::fs::open::flag;
use crate::process::Thread;
use crate::{Errno, Result};

const RWF: &[(u64, &str)] = &[
    (1, "RWF_HIPRI"),
    (2, "RWF_DSYNC"),
    (4, "RWF_SYNC"),
    (8, "RWF_NOWAIT"),
    (16, "RWF_APPEND"),
    (32, "RWF_NOAPPEND"),
];

const WHENCE: &[(u64, &str)] = &[
    (0, "SEEK_SET"),
    (1, "SEEK_CUR"),
    (2, "SEEK_END"),
    (3, "SEEK_DATA"),
    (4, "SEEK_HOLE"),
];

const RWF_NOTE: &str =
    "RWF_NOWAIT is EOPNOTSUPP; RWF_HIPRI, RWF_DSYNC and RWF_SYNC have nothing to do in memory";

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 0,
        name: "read",
        args: &[Arg::Fd, Arg::BufOut, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: read,
    },
    Entry {
        number: 1,
        name: "write",
        args: &[Arg::Fd, Arg::BufIn(2), Arg::Uint],
        support: Support::Full,
        note: "",
        handler: write,
    },
    Entry {
        number: 8,
        name: "lseek",
        args: &[Arg::Fd, Arg::Int, Arg::Enum(WHENCE)],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            const SEEK_MAX: u64 = 4;
            let description = super::usable(thread, args[0])?;
            if args[2] & 0xffff_ffff > SEEK_MAX {
                return Err(Errno::EINVAL);
            }
            description
                .file
                .seek(&description, args[1] as i64, args[2] as u32)
        },
    },
    Entry {
        number: 17,
        name: "pread64",
        args: &[Arg::Fd, Arg::BufOut, Arg::Uint, Arg::Int],
        support: Support::Full,
        note: "",
        handler: pread,
    },
    Entry {
        number: 18,
        name: "pwrite64",
        args: &[Arg::Fd, Arg::BufIn(2), Arg::Uint, Arg::Int],
        support: Support::Full,
        note: "",
        handler: pwrite,
    },
    Entry {
        number: 19,
        name: "readv",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let description = readable(thread, args[0])?;
            let mut to = UserBuffers::vectored(args[1], args[2])?;
            read_here(&description, &mut to)
        },
    },
    Entry {
        number: 20,
        name: "writev",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let description = writable(thread, args[0])?;
            let mut from = UserBuffers::vectored(args[1], args[2])?;
            write_here(&description, &mut from)
        },
    },
    Entry {
        number: 295,
        name: "preadv",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint, Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let offset = position(args[3])?;
            let description = readable(thread, args[0])?;
            let mut to = UserBuffers::vectored(args[1], args[2])?;
            read_at(&description, offset, &mut to)
        },
    },
    Entry {
        number: 296,
        name: "pwritev",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint, Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let offset = position(args[3])?;
            let description = writable(thread, args[0])?;
            let mut from = UserBuffers::vectored(args[1], args[2])?;
            write_at(&description, offset, &mut from)
        },
    },
    Entry {
        number: 327,
        name: "preadv2",
        args: &[
            Arg::Fd,
            Arg::Ptr,
            Arg::Uint,
            Arg::Int,
            Arg::Hex,
            Arg::Flags(RWF),
        ],
        support: Support::Partial,
        note: RWF_NOTE,
        handler: |thread, args| {
            let offset = position2(args[3])?;
            let description = readable(thread, args[0])?;
            let mut to = UserBuffers::vectored(args[1], args[2])?;
            check_flags(args[5], 0)?;
            match offset {
                Some(offset) => read_at(&description, offset, &mut to),
                None => read_here(&description, &mut to),
            }
        },
    },
    Entry {
        number: 328,
        name: "pwritev2",
        args: &[
            Arg::Fd,
            Arg::Ptr,
            Arg::Uint,
            Arg::Int,
            Arg::Hex,
            Arg::Flags(RWF),
        ],
        support: Support::Partial,
        note: RWF_NOTE,
        handler: pwritev2,
    },
];

fn readable(thread: &Thread, fd: u64) -> Result<alloc::sync::Arc<OpenFile>> {
    match description(thread, fd)? {
        description if !description.is_readable() => Err(Errno::EBADF),
        description => Ok(description),
    }
}

fn writable(thread: &Thread, fd: u64) -> Result<alloc::sync::Arc<OpenFile>> {
    match description(thread, fd)? {
        description if !description.is_writable() => Err(Errno::EBADF),
        description => Ok(description),
    }
}

/// ESPIPE for what has no positions, whether it may be read and written or not.
fn check_positions(thread: &Thread, fd: u64) -> Result<()> {
    const SEEK_CUR: u32 = 1;
    let description = super::usable(thread, fd)?;
    match description.file.seek(&description, 0, SEEK_CUR) {
        Err(Errno::ESPIPE) => Err(Errno::ESPIPE),
        _ => Ok(()),
    }
}

fn position(offset: u64) -> Result<u64> {
    match (offset as i64) < 0 {
        true => Err(Errno::EINVAL),
        false => Ok(offset),
    }
}

/// -1 is the current position.
fn position2(offset: u64) -> Result<Option<u64>> {
    match offset as i64 {
        -1 => Ok(None),
        _ => position(offset).map(Some),
    }
}

fn single(address: u64, count: u64) -> Result<UserBuffers> {
    match (count as i64) < 0 {
        // No buffer is that large.
        true => Err(Errno::EFAULT),
        false => Ok(UserBuffers::single(address, count)),
    }
}

fn read_here(description: &OpenFile, to: &mut dyn Sink) -> Result<u64> {
    description.file.read(description, to).map(|n| n as u64)
}

fn write_here(description: &OpenFile, from: &mut dyn Source) -> Result<u64> {
    description.file.write(description, from).map(|n| n as u64)
}

/// No file has a byte beyond the largest offset.
fn check_end(offset: u64, size: usize) -> Result<()> {
    match offset.checked_add(size as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn read_at(description: &OpenFile, offset: u64, to: &mut dyn Sink) -> Result<u64> {
    check_end(offset, to.remaining())?;
    description.file.read_at(offset, to).map(|n| n as u64)
}

fn write_at(description: &OpenFile, offset: u64, from: &mut dyn Source) -> Result<u64> {
    check_end(offset, from.remaining())?;
    if description.flags() & flag::APPEND != 0 {
        return append(description, offset, from);
    }
    description.file.write_at(offset, from).map(|n| n as u64)
}

/// On a regular file O_APPEND wins over the offset (pwrite(2), BUGS).
fn append(description: &OpenFile, offset: u64, from: &mut dyn Source) -> Result<u64> {
    match &description.dentry {
        Some(dentry) if dentry.inode.kind() == Kind::Regular => {
            dentry.inode.append(from).map(|(_, n)| n as u64)
        }
        _ => description.file.write_at(offset, from).map(|n| n as u64),
    }
}

fn read(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = readable(thread, args[0])?;
    read_here(&description, &mut single(args[1], args[2])?)
}

fn write(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = writable(thread, args[0])?;
    write_here(&description, &mut single(args[1], args[2])?)
}

fn pread(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let offset = position(args[3])?;
    check_positions(thread, args[0])?;
    let description = readable(thread, args[0])?;
    read_at(&description, offset, &mut single(args[1], args[2])?)
}

fn pwrite(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let offset = position(args[3])?;
    check_positions(thread, args[0])?;
    let description = writable(thread, args[0])?;
    write_at(&description, offset, &mut single(args[1], args[2])?)
}

const RWF_APPEND: u64 = 16;
const RWF_NOAPPEND: u64 = 32;

/// Flags that are no more than advice to a disk are accepted.
fn check_flags(flags: u64, more: u64) -> Result<()> {
    const HIPRI_DSYNC_SYNC: u64 = 1 | 2 | 4;
    match flags & 0xffff_ffff & !(HIPRI_DSYNC_SYNC | more) {
        0 => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn pwritev2(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let offset = position2(args[3])?;
    let description = writable(thread, args[0])?;
    let mut from = UserBuffers::vectored(args[1], args[2])?;
    let flags = args[5];
    check_flags(flags, RWF_APPEND | RWF_NOAPPEND)?;
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    match offset {
        Some(offset) if flags & RWF_APPEND != 0 => append(&description, offset, &mut from),
        Some(offset) if flags & RWF_NOAPPEND != 0 => description
            .file
            .write_at(offset, &mut from)
            .map(|n| n as u64),
        Some(offset) => write_at(&description, offset, &mut from),
        None if flags & (RWF_APPEND | RWF_NOAPPEND) == 0 => write_here(&description, &mut from),
        None => write_moving(&description, flags & RWF_APPEND != 0, &mut from),
    }
}

/// At the current position or at the end, whatever O_APPEND says; the position moves.
fn write_moving(description: &OpenFile, append: bool, from: &mut dyn Source) -> Result<u64> {
    let regular = match &description.dentry {
        Some(dentry) if dentry.inode.kind() == Kind::Regular => dentry,
        _ => return write_here(description, from),
    };
    let mut position = description.position.lock();
    if append {
        let (end, n) = regular.inode.append(from)?;
        *position = end;
        return Ok(n as u64);
    }
    let n = regular.inode.write_at(*position, from)?;
    *position += n as u64;
    Ok(n as u64)
}
