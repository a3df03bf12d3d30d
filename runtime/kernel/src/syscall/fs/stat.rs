//! Facts about files and file systems.

use mystikos_platform::user;

use super::super::table::{Arg, Entry, Support};
use super::structs::{UserStat, UserStatfs, UserStatx};
use super::{at, description, possibly_empty_path, subject, with_base, Subject};
use crate::fs::file::Stat;
use crate::fs::inode::FsInfo;
use crate::fs::path::permission;
use crate::fs::{space, PIPE_FS};
use crate::process::Thread;
use crate::{Errno, Result};

const AT_FLAGS: &[(u64, &str)] = &[
    (at::SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW"),
    (at::NO_AUTOMOUNT as u64, "AT_NO_AUTOMOUNT"),
    (at::EMPTY_PATH as u64, "AT_EMPTY_PATH"),
    (0x2000, "AT_STATX_FORCE_SYNC"),
    (0x4000, "AT_STATX_DONT_SYNC"),
];

const ACCESS_FLAGS: &[(u64, &str)] = &[
    (at::SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW"),
    (at::EACCESS as u64, "AT_EACCESS"),
    (at::EMPTY_PATH as u64, "AT_EMPTY_PATH"),
];

const ACCESS_MODE: &[(u64, &str)] = &[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")];

const FDCWD: u64 = at::FDCWD as u64;

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 4,
        name: "stat",
        args: &[Arg::Path, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| stat_path(thread, FDCWD, args[0], args[1], 0),
    },
    Entry {
        number: 5,
        name: "fstat",
        args: &[Arg::Fd, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let stat = description(thread, args[0])?.stat()?;
            user::write(args[1], &UserStat::from(&stat))?;
            Ok(0)
        },
    },
    Entry {
        number: 6,
        name: "lstat",
        args: &[Arg::Path, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| stat_path(thread, FDCWD, args[0], args[1], at::SYMLINK_NOFOLLOW),
    },
    Entry {
        number: 262,
        name: "newfstatat",
        args: &[Arg::DirFd, Arg::Path, Arg::Ptr, Arg::Flags(AT_FLAGS)],
        support: Support::Full,
        note: "",
        handler: |thread, args| stat_path(thread, args[0], args[1], args[2], args[3] as u32),
    },
    Entry {
        number: 332,
        name: "statx",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::Flags(AT_FLAGS),
            Arg::Hex,
            Arg::Ptr,
        ],
        support: Support::Partial,
        note: "birth times and mount numbers are not given, as the result's mask tells",
        handler: statx,
    },
    Entry {
        number: 21,
        name: "access",
        args: &[Arg::Path, Arg::Flags(ACCESS_MODE)],
        support: Support::Full,
        note: "",
        handler: |thread, args| access(thread, FDCWD, args[0], args[1], 0),
    },
    Entry {
        number: 269,
        name: "faccessat",
        args: &[Arg::DirFd, Arg::Path, Arg::Flags(ACCESS_MODE)],
        support: Support::Full,
        note: "",
        handler: |thread, args| access(thread, args[0], args[1], args[2], 0),
    },
    Entry {
        number: 439,
        name: "faccessat2",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::Flags(ACCESS_MODE),
            Arg::Flags(ACCESS_FLAGS),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| access(thread, args[0], args[1], args[2], args[3] as u32),
    },
    Entry {
        number: 89,
        name: "readlink",
        args: &[Arg::Path, Arg::BufOut, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| readlink(thread, FDCWD, args[0], args[1], args[2]),
    },
    Entry {
        number: 267,
        name: "readlinkat",
        args: &[Arg::DirFd, Arg::Path, Arg::BufOut, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| readlink(thread, args[0], args[1], args[2], args[3]),
    },
    Entry {
        number: 137,
        name: "statfs",
        args: &[Arg::Path, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let fs = match subject(thread, FDCWD, args[0], 0, true)? {
                Subject::Path(dentry) => dentry.inode.fs(),
                Subject::Open(_) => &PIPE_FS,
            };
            statfs(fs, args[1])
        },
    },
    Entry {
        number: 138,
        name: "fstatfs",
        args: &[Arg::Fd, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let description = description(thread, args[0])?;
            let fs = match &description.dentry {
                Some(dentry) => dentry.inode.fs(),
                None => &PIPE_FS,
            };
            statfs(fs, args[1])
        },
    },
];

fn facts(thread: &Thread, fd: u64, path: u64, flags: u32) -> Result<Stat> {
    let follow = flags & at::SYMLINK_NOFOLLOW == 0;
    match subject(thread, fd, path, flags, follow)? {
        Subject::Path(dentry) => dentry.inode.stat(),
        Subject::Open(description) => description.stat(),
    }
}

fn stat_path(thread: &Thread, fd: u64, path: u64, to: u64, flags: u32) -> Result<u64> {
    let known = at::SYMLINK_NOFOLLOW | at::NO_AUTOMOUNT | at::EMPTY_PATH | at::STATX_SYNC_TYPE;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let stat = facts(thread, fd, path, flags)?;
    user::write(to, &UserStat::from(&stat))?;
    Ok(0)
}

fn statx(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const RESERVED: u64 = 0x8000_0000;
    let flags = args[2] as u32;
    let known = at::SYMLINK_NOFOLLOW | at::NO_AUTOMOUNT | at::EMPTY_PATH | at::STATX_SYNC_TYPE;
    if args[3] & RESERVED != 0
        || flags & at::STATX_SYNC_TYPE == at::STATX_SYNC_TYPE
        || flags & !known != 0
    {
        return Err(Errno::EINVAL);
    }
    let stat = facts(thread, args[0], args[1], flags)?;
    user::write(args[4], &UserStatx::from(&stat))?;
    Ok(0)
}

fn access(thread: &Thread, fd: u64, path: u64, wanted: u64, flags: u32) -> Result<u64> {
    let wanted = wanted as u32;
    if wanted & !7 != 0 || flags & !(at::EACCESS | at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = flags & at::SYMLINK_NOFOLLOW == 0;
    let subject = subject(thread, fd, path, flags, follow)?;
    let stat = match &subject {
        Subject::Path(dentry) => dentry.inode.stat()?,
        Subject::Open(description) => description.stat()?,
    };
    let context = thread.process.fs.read();
    if wanted != 0 {
        context.permits_on(&stat, wanted)?;
    }
    let read_only = subject.dentry().is_some_and(|d| d.inode.fs().read_only);
    // Writing to what is not a file of the file system itself (a device on it) is allowed.
    if wanted & permission::WRITE != 0 && read_only {
        return Err(Errno::EROFS);
    }
    Ok(0)
}

fn readlink(thread: &Thread, fd: u64, path: u64, to: u64, size: u64) -> Result<u64> {
    if (size as i32) <= 0 {
        return Err(Errno::EINVAL);
    }
    let path = possibly_empty_path(path)?;
    let dentry = match path.is_empty() {
        // A link itself that was opened with O_PATH.
        true if fd as i32 != at::FDCWD => {
            let description = description(thread, fd)?;
            description.dentry.clone().ok_or(Errno::ENOENT)?
        }
        true => return Err(Errno::ENOENT),
        false => with_base(thread, fd, &path, |context, base| {
            context.find(base, &path, false)
        })?,
    };
    let text = match dentry.inode.read_link() {
        Err(Errno::EINVAL) if path.is_empty() => return Err(Errno::ENOENT),
        text => text?,
    };
    let size = text.len().min(size as i32 as usize);
    user::copy_out(to, &text[..size])?;
    Ok(size as u64)
}

fn statfs(fs: &FsInfo, to: u64) -> Result<u64> {
    const ST_RDONLY: u64 = 1;
    const ST_NOATIME: u64 = 0x400;
    const ST_VALID: u64 = 0x20;
    let (total, free) = if fs.in_memory { space() } else { (0, 0) };
    let statfs = UserStatfs {
        kind: fs.magic,
        bsize: 4096,
        blocks: total / 4096,
        bfree: free / 4096,
        bavail: free / 4096,
        files: total / 4096,
        ffree: free / 4096,
        fsid: [fs.dev as u32, 0],
        namelen: 255,
        frsize: 4096,
        flags: ST_VALID | ST_NOATIME | if fs.read_only { ST_RDONLY } else { 0 },
        spare: [0; 4],
    };
    user::write(to, &statfs)?;
    Ok(0)
}
