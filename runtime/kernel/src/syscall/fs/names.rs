//! Making, removing and renaming files.

use super::super::table::{Arg, Entry, Support};
use super::{at, path, possibly_empty_path, subject, with_base, Subject};
use crate::fs::inode::{mode, What, RENAME_EXCHANGE, RENAME_NOREPLACE};
use crate::fs::names;
use crate::process::Thread;
use crate::{Errno, Result};

const FDCWD: u64 = at::FDCWD as u64;

const LINK_FLAGS: &[(u64, &str)] = &[
    (at::SYMLINK_FOLLOW as u64, "AT_SYMLINK_FOLLOW"),
    (at::EMPTY_PATH as u64, "AT_EMPTY_PATH"),
];

const RENAME_FLAGS: &[(u64, &str)] = &[
    (RENAME_NOREPLACE as u64, "RENAME_NOREPLACE"),
    (RENAME_EXCHANGE as u64, "RENAME_EXCHANGE"),
    (4, "RENAME_WHITEOUT"),
];

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 83,
        name: "mkdir",
        args: &[Arg::Path, Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| make(thread, FDCWD, args[0], What::Directory, args[1]),
    },
    Entry {
        number: 258,
        name: "mkdirat",
        args: &[Arg::DirFd, Arg::Path, Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| make(thread, args[0], args[1], What::Directory, args[2]),
    },
    Entry {
        number: 133,
        name: "mknod",
        args: &[Arg::Path, Arg::Mode, Arg::Hex],
        support: Support::Full,
        note: "",
        handler: |thread, args| mknod(thread, FDCWD, args[0], args[1], args[2]),
    },
    Entry {
        number: 259,
        name: "mknodat",
        args: &[Arg::DirFd, Arg::Path, Arg::Mode, Arg::Hex],
        support: Support::Full,
        note: "",
        handler: |thread, args| mknod(thread, args[0], args[1], args[2], args[3]),
    },
    Entry {
        number: 88,
        name: "symlink",
        args: &[Arg::Path, Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| symlink(thread, args[0], FDCWD, args[1]),
    },
    Entry {
        number: 266,
        name: "symlinkat",
        args: &[Arg::Path, Arg::DirFd, Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| symlink(thread, args[0], args[1], args[2]),
    },
    Entry {
        number: 86,
        name: "link",
        args: &[Arg::Path, Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| link(thread, [FDCWD, args[0], FDCWD, args[1], 0]),
    },
    Entry {
        number: 265,
        name: "linkat",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::DirFd,
            Arg::Path,
            Arg::Flags(LINK_FLAGS),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| link(thread, [args[0], args[1], args[2], args[3], args[4]]),
    },
    Entry {
        number: 87,
        name: "unlink",
        args: &[Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| unlink(thread, FDCWD, args[0], 0),
    },
    Entry {
        number: 84,
        name: "rmdir",
        args: &[Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| unlink(thread, FDCWD, args[0], at::REMOVEDIR.into()),
    },
    Entry {
        number: 263,
        name: "unlinkat",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::Flags(&[(at::REMOVEDIR as u64, "AT_REMOVEDIR")]),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| unlink(thread, args[0], args[1], args[2]),
    },
    Entry {
        number: 82,
        name: "rename",
        args: &[Arg::Path, Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| rename(thread, [FDCWD, args[0], FDCWD, args[1], 0]),
    },
    Entry {
        number: 264,
        name: "renameat",
        args: &[Arg::DirFd, Arg::Path, Arg::DirFd, Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| rename(thread, [args[0], args[1], args[2], args[3], 0]),
    },
    Entry {
        number: 316,
        name: "renameat2",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::DirFd,
            Arg::Path,
            Arg::Flags(RENAME_FLAGS),
        ],
        support: Support::Partial,
        note: "RENAME_WHITEOUT is EINVAL, as on file systems without white-outs",
        handler: |thread, args| rename(thread, [args[0], args[1], args[2], args[3], args[4]]),
    },
];

fn make(thread: &Thread, fd: u64, path_address: u64, what: What, mode: u64) -> Result<u64> {
    let path = path(path_address)?;
    with_base(thread, fd, &path, |context, base| {
        names::make(context, base, &path, what, mode as u32)
    })?;
    Ok(0)
}

fn mknod(thread: &Thread, fd: u64, path: u64, mode: u64, device: u64) -> Result<u64> {
    let mode = mode as u32;
    // `dev_t` travels in 32 bits here.
    let device = u64::from(device as u32);
    let what = match mode & mode::S_IFMT {
        0 | mode::S_IFREG => What::Regular,
        mode::S_IFCHR => What::CharDevice(device),
        mode::S_IFBLK => What::BlockDevice(device),
        mode::S_IFIFO => What::Fifo,
        mode::S_IFSOCK => What::Socket,
        mode::S_IFDIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    make(thread, fd, path, what, mode.into())
}

fn symlink(thread: &Thread, target: u64, fd: u64, path_address: u64) -> Result<u64> {
    let target = path(target)?;
    make(thread, fd, path_address, What::Symlink(target.to_vec()), 0)
}

fn link(thread: &Thread, [fd, old, to_fd, to, flags]: [u64; 5]) -> Result<u64> {
    let flags = flags as u32;
    if flags & !(at::SYMLINK_FOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = flags & at::SYMLINK_FOLLOW != 0;
    let old = match subject(thread, fd, old, flags, follow)? {
        Subject::Path(dentry) => dentry,
        Subject::Open(description) => description.dentry.clone().ok_or(Errno::EXDEV)?,
    };
    let path = path(to)?;
    with_base(thread, to_fd, &path, |context, base| {
        names::link(context, &old, base, &path)
    })?;
    Ok(0)
}

fn unlink(thread: &Thread, fd: u64, path_address: u64, flags: u64) -> Result<u64> {
    if flags as u32 & !at::REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path(path_address)?;
    with_base(thread, fd, &path, |context, base| {
        match flags as u32 & at::REMOVEDIR {
            0 => names::unlink(context, base, &path),
            _ => names::remove_directory(context, base, &path),
        }
    })?;
    Ok(0)
}

fn rename(thread: &Thread, [fd, from, to_fd, to, flags]: [u64; 5]) -> Result<u64> {
    const WHITEOUT: u32 = 4;
    let flags = flags as u32;
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | WHITEOUT) != 0
        || flags & RENAME_EXCHANGE != 0 && flags & (RENAME_NOREPLACE | WHITEOUT) != 0
    {
        return Err(Errno::EINVAL);
    }
    let from = possibly_empty_path(from)?;
    let to = possibly_empty_path(to)?;
    if from.is_empty() || to.is_empty() {
        return Err(Errno::ENOENT);
    }
    // The bases are taken one after the other, so that the context is locked once at a time.
    let from_base = with_base(thread, fd, &from, |_, base| Ok(base.clone()))?;
    let to_base = with_base(thread, to_fd, &to, |_, base| Ok(base.clone()))?;
    if flags & WHITEOUT != 0 {
        return Err(Errno::EINVAL);
    }
    let context = thread.process.fs.read();
    names::rename(&context, (&from_base, &from), (&to_base, &to), flags)?;
    Ok(0)
}
