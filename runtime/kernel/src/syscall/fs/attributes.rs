//! Owners, permissions, times.

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::table::{Arg, Entry, Support};
use super::structs::Timespec;
use super::{at, subject, usable, Subject};
use crate::fs::attributes::{change_mode, change_owner, change_times, NewTime};
use crate::fs::dentry::Dentry;
use crate::fs::inode::{Kind, Time};
use crate::fs::path::FsContext;
use crate::process::Thread;
use crate::{Errno, Result};

const FDCWD: u64 = at::FDCWD as u64;

const AT_FLAGS: &[(u64, &str)] = &[
    (at::SYMLINK_NOFOLLOW as u64, "AT_SYMLINK_NOFOLLOW"),
    (at::EMPTY_PATH as u64, "AT_EMPTY_PATH"),
];

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 90,
        name: "chmod",
        args: &[Arg::Path, Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| chmod(thread, FDCWD, args[0], args[1], 0),
    },
    Entry {
        number: 91,
        name: "fchmod",
        args: &[Arg::Fd, Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let subject = Subject::Open(usable(thread, args[0])?);
            act(thread, &subject, |context, dentry| {
                change_mode(context, dentry, args[1] as u32)
            })
        },
    },
    Entry {
        number: 268,
        name: "fchmodat",
        args: &[Arg::DirFd, Arg::Path, Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| chmod(thread, args[0], args[1], args[2], 0),
    },
    Entry {
        number: 452,
        name: "fchmodat2",
        args: &[Arg::DirFd, Arg::Path, Arg::Mode, Arg::Flags(AT_FLAGS)],
        support: Support::Full,
        note: "",
        handler: |thread, args| chmod(thread, args[0], args[1], args[2], args[3] as u32),
    },
    Entry {
        number: 92,
        name: "chown",
        args: &[Arg::Path, Arg::Int, Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| chown(thread, [FDCWD, args[0], args[1], args[2], 0]),
    },
    Entry {
        number: 93,
        name: "fchown",
        args: &[Arg::Fd, Arg::Int, Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let subject = Subject::Open(usable(thread, args[0])?);
            act(thread, &subject, |context, dentry| {
                change_owner(context, dentry, id(args[1]), id(args[2]))
            })
        },
    },
    Entry {
        number: 94,
        name: "lchown",
        args: &[Arg::Path, Arg::Int, Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let flags = at::SYMLINK_NOFOLLOW.into();
            chown(thread, [FDCWD, args[0], args[1], args[2], flags])
        },
    },
    Entry {
        number: 260,
        name: "fchownat",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::Int,
            Arg::Int,
            Arg::Flags(AT_FLAGS),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| chown(thread, [args[0], args[1], args[2], args[3], args[4]]),
    },
    Entry {
        number: 132,
        name: "utime",
        args: &[Arg::Path, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: utime,
    },
    Entry {
        number: 235,
        name: "utimes",
        args: &[Arg::Path, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| futimesat(thread, FDCWD, args[0], args[1]),
    },
    Entry {
        number: 261,
        name: "futimesat",
        args: &[Arg::DirFd, Arg::Path, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: |thread, args| futimesat(thread, args[0], args[1], args[2]),
    },
    Entry {
        number: 280,
        name: "utimensat",
        args: &[Arg::DirFd, Arg::Path, Arg::Ptr, Arg::Flags(AT_FLAGS)],
        support: Support::Full,
        note: "",
        handler: utimensat,
    },
    Entry {
        number: 95,
        name: "umask",
        args: &[Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let mut context = thread.process.fs.write();
            let old = core::mem::replace(&mut context.umask, args[0] as u32 & 0o777);
            Ok(old.into())
        },
    },
];

/// Changes a file by name; what never had one (pipes, sockets) has nothing that could be changed.
fn act(
    thread: &Thread,
    subject: &Subject,
    change: impl FnOnce(&FsContext, &Dentry) -> Result<()>,
) -> Result<u64> {
    let dentry = subject.dentry().ok_or(Errno::EPERM)?;
    let context = thread.process.fs.read();
    change(&context, dentry)?;
    Ok(0)
}

fn chmod(thread: &Thread, fd: u64, path: u64, mode: u64, flags: u32) -> Result<u64> {
    if flags & !(at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = flags & at::SYMLINK_NOFOLLOW == 0;
    let subject = subject(thread, fd, path, flags, follow)?;
    act(thread, &subject, |context, dentry| {
        if dentry.inode.kind() == Kind::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        change_mode(context, dentry, mode as u32)
    })
}

/// -1 leaves an owner as it is.
fn id(argument: u64) -> Option<u32> {
    match argument as u32 {
        u32::MAX => None,
        id => Some(id),
    }
}

fn chown(thread: &Thread, [fd, path, uid, gid, flags]: [u64; 5]) -> Result<u64> {
    let flags = flags as u32;
    if flags & !(at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = flags & at::SYMLINK_NOFOLLOW == 0;
    let subject = subject(thread, fd, path, flags, follow)?;
    act(thread, &subject, |context, dentry| {
        change_owner(context, dentry, id(uid), id(gid))
    })
}

const SECOND: Time = 1_000_000_000;

/// `struct utimbuf`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Utimbuf {
    access: i64,
    modification: i64,
}

/// `struct timeval`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Timeval {
    sec: i64,
    usec: i64,
}

impl Timeval {
    fn time(self) -> Result<NewTime> {
        match self.usec {
            0..=999_999 => Ok(NewTime::At(
                Time::from(self.sec) * SECOND + Time::from(self.usec) * 1000,
            )),
            _ => Err(Errno::EINVAL),
        }
    }
}

fn utime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (atime, mtime) = match args[1] {
        0 => (NewTime::Now, NewTime::Now),
        address => {
            let times: Utimbuf = user::read(address)?;
            (
                NewTime::At(Time::from(times.access) * SECOND),
                NewTime::At(Time::from(times.modification) * SECOND),
            )
        }
    };
    let subject = subject(thread, FDCWD, args[0], 0, true)?;
    act(thread, &subject, |context, dentry| {
        change_times(context, dentry, atime, mtime)
    })
}

fn futimesat(thread: &Thread, fd: u64, path: u64, times: u64) -> Result<u64> {
    let (atime, mtime) = match times {
        0 => (NewTime::Now, NewTime::Now),
        address => {
            let times: [Timeval; 2] = user::read(address)?;
            (times[0].time()?, times[1].time()?)
        }
    };
    let subject = match path {
        0 if fd as i32 != at::FDCWD => Subject::Open(usable(thread, fd)?),
        _ => subject(thread, fd, path, 0, true)?,
    };
    act(thread, &subject, |context, dentry| {
        change_times(context, dentry, atime, mtime)
    })
}

fn new_time(time: Timespec) -> Result<NewTime> {
    const UTIME_NOW: i64 = 0x3fff_ffff;
    const UTIME_OMIT: i64 = 0x3fff_fffe;
    match time.nsec {
        UTIME_NOW => Ok(NewTime::Now),
        UTIME_OMIT => Ok(NewTime::Keep),
        0..=999_999_999 => Ok(NewTime::At(
            Time::from(time.sec) * SECOND + Time::from(time.nsec),
        )),
        _ => Err(Errno::EINVAL),
    }
}

fn utimensat(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (atime, mtime) = match args[2] {
        0 => (NewTime::Now, NewTime::Now),
        address => {
            let times: [Timespec; 2] = user::read(address)?;
            let times = (new_time(times[0]), new_time(times[1]));
            // Nothing to change: not even the path is looked at.
            if times == (Ok(NewTime::Keep), Ok(NewTime::Keep)) {
                return Ok(0);
            }
            (times.0?, times.1?)
        }
    };
    let flags = args[3] as u32;
    let subject = if args[1] == 0 && args[0] as i32 != at::FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        Subject::Open(usable(thread, args[0])?)
    } else {
        if flags & !(at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let follow = flags & at::SYMLINK_NOFOLLOW == 0;
        subject(thread, args[0], args[1], flags, follow)?
    };
    act(thread, &subject, |context, dentry| {
        change_times(context, dentry, atime, mtime)
    })
}
