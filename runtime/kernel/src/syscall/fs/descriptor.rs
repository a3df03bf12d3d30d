//! Duplicating descriptors; fcntl and ioctl.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use mystikos_platform::user;

use super::super::table::{Arg, Entry, Support};
use super::{description, lock, usable};
use crate::fs::file::OpenFile;
use crate::fs::inode::Kind;
use crate::fs::open::flag;
use crate::fs::pipe::PipeFile;
use crate::fs::ramfs::seal;
use crate::process::Thread;
use crate::{Errno, Result};

const DUP3_FLAGS: &[(u64, &str)] = &[(flag::CLOEXEC as u64, "O_CLOEXEC")];

/// Commands of fcntl(2).
pub const FCNTL: &[(u64, &str)] = &[
    (0, "F_DUPFD"),
    (1, "F_GETFD"),
    (2, "F_SETFD"),
    (3, "F_GETFL"),
    (4, "F_SETFL"),
    (5, "F_GETLK"),
    (6, "F_SETLK"),
    (7, "F_SETLKW"),
    (8, "F_SETOWN"),
    (9, "F_GETOWN"),
    (10, "F_SETSIG"),
    (11, "F_GETSIG"),
    (36, "F_OFD_GETLK"),
    (37, "F_OFD_SETLK"),
    (38, "F_OFD_SETLKW"),
    (1024, "F_SETLEASE"),
    (1025, "F_GETLEASE"),
    (1026, "F_NOTIFY"),
    (1030, "F_DUPFD_CLOEXEC"),
    (1031, "F_SETPIPE_SZ"),
    (1032, "F_GETPIPE_SZ"),
    (1033, "F_ADD_SEALS"),
    (1034, "F_GET_SEALS"),
];

const IOCTL: &[(u64, &str)] = &[
    (FIONREAD as u64, "FIONREAD"),
    (FIONBIO as u64, "FIONBIO"),
    (FIOASYNC as u64, "FIOASYNC"),
    (FIOCLEX as u64, "FIOCLEX"),
    (FIONCLEX as u64, "FIONCLEX"),
    (FIOQSIZE as u64, "FIOQSIZE"),
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x5403, "TCSETSW"),
    (0x5404, "TCSETSF"),
    (0x540f, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
];

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 32,
        name: "dup",
        args: &[Arg::Fd],
        support: Support::Full,
        note: "",
        handler: |thread, args| duplicate(thread, args[0], 0, false),
    },
    Entry {
        number: 33,
        name: "dup2",
        args: &[Arg::Fd, Arg::Fd],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            if args[0] as i32 == args[1] as i32 {
                return description(thread, args[0]).map(|_| args[0] as i32 as u64);
            }
            duplicate_to(thread, args[0], args[1], false)
        },
    },
    Entry {
        number: 292,
        name: "dup3",
        args: &[Arg::Fd, Arg::Fd, Arg::Flags(DUP3_FLAGS)],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let flags = args[2] as u32;
            if flags & !flag::CLOEXEC != 0 || args[0] as i32 == args[1] as i32 {
                return Err(Errno::EINVAL);
            }
            duplicate_to(thread, args[0], args[1], flags != 0)
        },
    },
    Entry {
        number: 72,
        name: "fcntl",
        args: &[Arg::Fd, Arg::Enum(FCNTL), Arg::Hex],
        support: Support::Partial,
        note: "no leases, no directory notification (EINVAL); F_SETOWN and F_SETSIG are accepted, but there is no SIGIO",
        handler: fcntl,
    },
    Entry {
        number: 16,
        name: "ioctl",
        args: &[Arg::Fd, Arg::Enum(IOCTL), Arg::Hex],
        support: Support::Partial,
        note: "requests on descriptors, files, pipes and terminals; what is not known is ENOTTY",
        handler: ioctl,
    },
];

fn duplicate(thread: &Thread, fd: u64, from: i32, close_on_exec: bool) -> Result<u64> {
    let mut files = thread.process.files.write();
    let description = files.get(fd as i32)?;
    files
        .add(description, from, close_on_exec)
        .map(|fd| fd as u64)
}

fn duplicate_to(thread: &Thread, fd: u64, to: u64, close_on_exec: bool) -> Result<u64> {
    let replaced = {
        let mut files = thread.process.files.write();
        let description = files.get(fd as i32)?;
        files.replace(to as i32, description, close_on_exec)?
    };
    if let Some(replaced) = replaced {
        lock::closed(thread, &replaced);
    }
    Ok(to as i32 as u64)
}

/// Flags that F_SETFL changes.
const SETTABLE: u32 = flag::APPEND | flag::ASYNC | flag::DIRECT | flag::NOATIME | flag::NONBLOCK;

fn fcntl(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const FD_CLOEXEC: u64 = 1;
    const F_UNLCK: u64 = 2;
    let (fd, argument) = (args[0], args[2]);
    match args[1] as u32 {
        command @ (0 | 1030) => {
            let description = description(thread, fd)?;
            let mut files = thread.process.files.write();
            if argument as u32 as usize >= files.limit() {
                return Err(Errno::EINVAL);
            }
            files
                .add(description, argument as i32, command == 1030)
                .map(|fd| fd as u64)
        }
        1 => {
            let files = thread.process.files.read();
            files.close_on_exec(fd as i32).map(u64::from)
        }
        2 => {
            let mut files = thread.process.files.write();
            files.set_close_on_exec(fd as i32, argument & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        3 => Ok(description(thread, fd)?.flags().into()),
        4 => set_flags(&*usable(thread, fd)?, argument as u32),
        command @ (5..=7 | 36..=38) => {
            lock::record(thread, &usable(thread, fd)?, command, argument)
        }
        8 | 10 => usable(thread, fd).map(|_| 0),
        9 | 11 => usable(thread, fd).map(|_| 0),
        1025 => usable(thread, fd).map(|_| F_UNLCK),
        1031 => {
            let description = usable(thread, fd)?;
            let pipe = pipe(&description)?;
            let size = usize::try_from(argument as i32).map_err(|_| Errno::EINVAL)?;
            pipe.set_size(size).map(|size| size as u64)
        }
        1032 => pipe(&*usable(thread, fd)?).map(|pipe| pipe.size() as u64),
        1033 => add_seals(&*usable(thread, fd)?, argument as u32),
        1034 => {
            let description = usable(thread, fd)?;
            let dentry = description.dentry.as_ref().ok_or(Errno::EINVAL)?;
            let seals = dentry.inode.seals().ok_or(Errno::EINVAL)?;
            Ok(seals.load(Ordering::Relaxed).into())
        }
        _ => usable(thread, fd).and(Err(Errno::EINVAL)),
    }
}

fn set_flags(description: &OpenFile, flags: u32) -> Result<u64> {
    let kept = description.flags() & !SETTABLE;
    description.set_flags(kept | flags & SETTABLE);
    Ok(0)
}

fn pipe(description: &OpenFile) -> Result<&PipeFile> {
    description
        .file
        .as_any()
        .downcast_ref::<PipeFile>()
        .ok_or(Errno::EBADF)
}

fn add_seals(description: &OpenFile, seals: u32) -> Result<u64> {
    let known =
        seal::SEAL | seal::SHRINK | seal::GROW | seal::WRITE | seal::FUTURE_WRITE | seal::EXEC;
    let dentry = description.dentry.as_ref().ok_or(Errno::EINVAL)?;
    let current = dentry.inode.seals().ok_or(Errno::EINVAL)?;
    if !description.is_writable() {
        return Err(Errno::EPERM);
    }
    if seals & !known != 0 {
        return Err(Errno::EINVAL);
    }
    if current.load(Ordering::Relaxed) & seal::SEAL != 0 {
        return Err(Errno::EPERM);
    }
    if seals & seal::WRITE != 0 && dentry.inode.is_mapped_shared() {
        return Err(Errno::EBUSY);
    }
    current.fetch_or(seals, Ordering::Relaxed);
    Ok(0)
}

const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
const FIOQSIZE: u32 = 0x5460;

fn ioctl(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description: Arc<OpenFile> = usable(thread, args[0])?;
    let (request, argument) = (args[1] as u32, args[2]);
    match request {
        FIOCLEX | FIONCLEX => {
            let mut files = thread.process.files.write();
            files.set_close_on_exec(args[0] as i32, request == FIOCLEX)?;
            Ok(0)
        }
        FIONBIO | FIOASYNC => {
            let flag = match request {
                FIONBIO => flag::NONBLOCK,
                _ => flag::ASYNC,
            };
            let on: i32 = user::read(argument)?;
            let flags = description.flags();
            description.set_flags(if on != 0 { flags | flag } else { flags & !flag });
            Ok(0)
        }
        FIONREAD | FIOQSIZE => match &description.dentry {
            Some(dentry) if dentry.inode.kind() == Kind::Regular => {
                let size = dentry.inode.size()?;
                if request == FIOQSIZE {
                    user::write(argument, &size)?;
                } else {
                    let left = size.wrapping_sub(*description.position.lock());
                    user::write(argument, &(left as i32))?;
                }
                Ok(0)
            }
            _ => description.file.ioctl(thread, request, argument),
        },
        _ => description.file.ioctl(thread, request, argument),
    }
}
