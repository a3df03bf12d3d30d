//! Sizes of files, and what would go to a disk if there was one.

use super::super::table::{Arg, Entry, Support};
use super::{at, description, subject, usable, Subject};
use crate::fs::inode::Kind;
use crate::fs::path::permission;
use crate::process::Thread;
use crate::{Errno, Result};

const FALLOC_FLAGS: &[(u64, &str)] = &[
    (1, "FALLOC_FL_KEEP_SIZE"),
    (2, "FALLOC_FL_PUNCH_HOLE"),
    (8, "FALLOC_FL_COLLAPSE_RANGE"),
    (16, "FALLOC_FL_ZERO_RANGE"),
    (32, "FALLOC_FL_INSERT_RANGE"),
];

const ADVICE: &[(u64, &str)] = &[
    (0, "POSIX_FADV_NORMAL"),
    (1, "POSIX_FADV_RANDOM"),
    (2, "POSIX_FADV_SEQUENTIAL"),
    (3, "POSIX_FADV_WILLNEED"),
    (4, "POSIX_FADV_DONTNEED"),
    (5, "POSIX_FADV_NOREUSE"),
];

const SYNC_NOTE: &str = "files are in memory: there is nothing to write back";

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 76,
        name: "truncate",
        args: &[Arg::Path, Arg::Int],
        support: Support::Full,
        note: "",
        handler: truncate,
    },
    Entry {
        number: 77,
        name: "ftruncate",
        args: &[Arg::Fd, Arg::Int],
        support: Support::Full,
        note: "",
        handler: ftruncate,
    },
    Entry {
        number: 285,
        name: "fallocate",
        args: &[Arg::Fd, Arg::Flags(FALLOC_FLAGS), Arg::Int, Arg::Int],
        support: Support::Partial,
        note: "ranges can be reserved, zeroed and punched, not collapsed or inserted (EOPNOTSUPP)",
        handler: fallocate,
    },
    Entry {
        number: 74,
        name: "fsync",
        args: &[Arg::Fd],
        support: Support::Accepted,
        note: SYNC_NOTE,
        handler: sync_file,
    },
    Entry {
        number: 75,
        name: "fdatasync",
        args: &[Arg::Fd],
        support: Support::Accepted,
        note: SYNC_NOTE,
        handler: sync_file,
    },
    Entry {
        number: 162,
        name: "sync",
        args: &[],
        support: Support::Accepted,
        note: SYNC_NOTE,
        handler: |_, _| Ok(0),
    },
    Entry {
        number: 306,
        name: "syncfs",
        args: &[Arg::Fd],
        support: Support::Accepted,
        note: SYNC_NOTE,
        handler: |thread, args| usable(thread, args[0]).map(|_| 0),
    },
    Entry {
        number: 277,
        name: "sync_file_range",
        args: &[Arg::Fd, Arg::Int, Arg::Int, Arg::Hex],
        support: Support::Accepted,
        note: SYNC_NOTE,
        handler: sync_file_range,
    },
    Entry {
        number: 221,
        name: "fadvise64",
        args: &[Arg::Fd, Arg::Int, Arg::Uint, Arg::Enum(ADVICE)],
        support: Support::Accepted,
        note: "files are in memory: advice about a cache changes nothing",
        handler: fadvise,
    },
    Entry {
        number: 187,
        name: "readahead",
        args: &[Arg::Fd, Arg::Int, Arg::Uint],
        support: Support::Accepted,
        note: "files are in memory: there is nothing to read ahead",
        handler: |thread, args| {
            let description = description(thread, args[0])?;
            if !description.is_readable() {
                return Err(Errno::EBADF);
            }
            match kind(&description) {
                Kind::Regular => Ok(0),
                _ => Err(Errno::EINVAL),
            }
        },
    },
];

fn kind(description: &crate::fs::file::OpenFile) -> Kind {
    match &description.dentry {
        Some(dentry) => dentry.inode.kind(),
        None => description
            .file
            .stat()
            .ok()
            .and_then(|stat| Kind::of(stat.mode))
            .unwrap_or(Kind::Anonymous),
    }
}

fn truncate(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let size = u64::try_from(args[1] as i64).map_err(|_| Errno::EINVAL)?;
    let Subject::Path(dentry) = subject(thread, at::FDCWD as u64, args[0], 0, true)? else {
        return Err(Errno::EINVAL);
    };
    match dentry.inode.kind() {
        Kind::Regular => {}
        Kind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    thread
        .process
        .fs
        .read()
        .permits(&dentry, permission::WRITE)?;
    if dentry.inode.fs().read_only {
        return Err(Errno::EROFS);
    }
    dentry.inode.truncate(size)?;
    Ok(0)
}

fn ftruncate(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let size = u64::try_from(args[1] as i64).map_err(|_| Errno::EINVAL)?;
    let description = usable(thread, args[0])?;
    if !description.is_writable() {
        return Err(Errno::EINVAL);
    }
    match &description.dentry {
        Some(dentry) if dentry.inode.kind() != Kind::Regular => Err(Errno::EINVAL),
        _ => description.file.truncate(size).map(|()| 0),
    }
}

fn fallocate(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    const ZERO_RANGE: u32 = 16;
    let description = usable(thread, args[0])?;
    let (offset, size) = (args[2] as i64, args[3] as i64);
    if offset < 0 || size <= 0 {
        return Err(Errno::EINVAL);
    }
    let mode = args[1] as u32;
    let known = match mode & !KEEP_SIZE {
        0 | ZERO_RANGE => true,
        // A hole does not change the size (fallocate(2)).
        PUNCH_HOLE => mode & KEEP_SIZE != 0,
        _ => false,
    };
    if !known {
        return Err(Errno::EOPNOTSUPP);
    }
    if !description.is_writable() {
        return Err(Errno::EBADF);
    }
    match kind(&description) {
        Kind::Regular => {}
        Kind::Fifo => return Err(Errno::ESPIPE),
        Kind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    if offset.checked_add(size).is_none() {
        return Err(Errno::EFBIG);
    }
    let dentry = description.dentry.as_ref().ok_or(Errno::ENODEV)?;
    dentry.inode.allocate(mode, offset as u64, size as u64)?;
    Ok(0)
}

fn sync_file(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    usable(thread, args[0])?.file.sync().map(|()| 0)
}

fn sync_file_range(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const WAIT_BEFORE_WRITE_WAIT_AFTER: u64 = 7;
    let description = usable(thread, args[0])?;
    let (offset, size) = (args[1] as i64, args[2] as i64);
    let sound = offset >= 0 && size >= 0 && offset.checked_add(size).is_some();
    if args[3] & 0xffff_ffff & !WAIT_BEFORE_WRITE_WAIT_AFTER != 0 || !sound {
        return Err(Errno::EINVAL);
    }
    match kind(&description) {
        Kind::Regular | Kind::Directory | Kind::BlockDevice | Kind::Symlink => Ok(0),
        _ => Err(Errno::ESPIPE),
    }
}

fn fadvise(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = usable(thread, args[0])?;
    if kind(&description) == Kind::Fifo {
        return Err(Errno::ESPIPE);
    }
    if (args[2] as i64) < 0 || args[3] > 5 {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}
