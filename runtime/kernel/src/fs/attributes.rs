//! Changing owners, permissions and times, as the process may.

use super::clock;
use super::dentry::Dentry;
use super::inode::{mode, Changes, Kind, Time};
use super::path::{permission, FsContext};
use crate::{Errno, Result};

/// chmod(2).
pub fn change_mode(context: &FsContext, dentry: &Dentry, permissions: u32) -> Result<()> {
    writable(dentry)?;
    let stat = dentry.inode.stat()?;
    context.owns(&stat)?;
    let mut permissions = permissions & 0o7777;
    if context.uid != 0 && !context.is_in_group(stat.gid) {
        permissions &= !mode::S_ISGID;
    }
    dentry.inode.change(Changes {
        mode: Some(permissions),
        ..Changes::default()
    })
}

/// chown(2); `None` leaves an owner as it is.
pub fn change_owner(
    context: &FsContext,
    dentry: &Dentry,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<()> {
    writable(dentry)?;
    let stat = dentry.inode.stat()?;
    if context.uid != 0 {
        let gives_away = uid.is_some_and(|uid| uid != stat.uid);
        let foreign = gid.is_some_and(|gid| gid != stat.gid && !context.is_in_group(gid));
        let touches = uid.is_some() || gid.is_some();
        if gives_away || foreign || touches && context.uid != stat.uid {
            return Err(Errno::EPERM);
        }
    }
    // Whoever may run the file with another's rights must not do so after it has changed hands.
    let mut permissions = None;
    if dentry.inode.kind() != Kind::Directory {
        let mut kept = stat.mode & 0o7777 & !mode::S_ISUID;
        if stat.mode & 0o10 != 0 {
            kept &= !mode::S_ISGID;
        }
        permissions = Some(kept);
    }
    dentry.inode.change(Changes {
        mode: permissions,
        uid,
        gid,
        ..Changes::default()
    })
}

/// What utimensat(2) does with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    /// UTIME_NOW.
    Now,
    /// UTIME_OMIT.
    Keep,
    /// A given time.
    At(Time),
}

/// utimensat(2).
pub fn change_times(
    context: &FsContext,
    dentry: &Dentry,
    atime: NewTime,
    mtime: NewTime,
) -> Result<()> {
    if (atime, mtime) == (NewTime::Keep, NewTime::Keep) {
        return Ok(());
    }
    writable(dentry)?;
    let stat = dentry.inode.stat()?;
    if (atime, mtime) == (NewTime::Now, NewTime::Now) {
        if context.owns(&stat).is_err() {
            context.permits_on(&stat, permission::WRITE)?;
        }
    } else {
        context.owns(&stat)?;
    }
    let now = clock::now();
    let resolve = |time| match time {
        NewTime::Now => Some(now),
        NewTime::Keep => None,
        NewTime::At(time) => Some(time),
    };
    dentry.inode.change(Changes {
        atime: resolve(atime),
        mtime: resolve(mtime),
        ..Changes::default()
    })
}

fn writable(dentry: &Dentry) -> Result<()> {
    match dentry.inode.fs().read_only {
        true => Err(Errno::EROFS),
        false => Ok(()),
    }
}
