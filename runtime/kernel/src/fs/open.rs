//! Opening files by name (open(2), openat2(2)).

use alloc::sync::Arc;

use super::dentry::Dentry;
use super::file::OpenFile;
use super::inode::{Kind, NewFile, What};
use super::path::{permission, FsContext, Last, Rules, Walked};
use crate::{Errno, Result};

/// O_* of open(2).
#[allow(missing_docs)]
pub mod flag {
    pub const ACCMODE: u32 = 3;
    pub const WRONLY: u32 = 1;
    pub const RDWR: u32 = 2;
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const NOCTTY: u32 = 0o400;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const NONBLOCK: u32 = 0o4000;
    pub const DSYNC: u32 = 0o10000;
    pub const ASYNC: u32 = 0o20000;
    pub const DIRECT: u32 = 0o40000;
    pub const LARGEFILE: u32 = 0o100000;
    pub const DIRECTORY: u32 = 0o200000;
    pub const NOFOLLOW: u32 = 0o400000;
    pub const NOATIME: u32 = 0o1000000;
    pub const CLOEXEC: u32 = 0o2000000;
    pub const SYNC: u32 = 0o4010000;
    pub const PATH: u32 = 0o10000000;
    /// Includes [`DIRECTORY`].
    pub const TMPFILE: u32 = 0o20200000;
    /// All of them.
    pub const ALL: u32 = ACCMODE
        | CREAT
        | EXCL
        | NOCTTY
        | TRUNC
        | APPEND
        | NONBLOCK
        | DSYNC
        | ASYNC
        | DIRECT
        | LARGEFILE
        | DIRECTORY
        | NOFOLLOW
        | NOATIME
        | CLOEXEC
        | SYNC
        | PATH
        | TMPFILE;
    /// What is over once the file is open.
    pub const CREATION: u32 = CREAT | EXCL | NOCTTY | TRUNC | CLOEXEC | (TMPFILE & !DIRECTORY);
}

/// How to open.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// O_*.
    pub flags: u32,
    /// Permissions of a new file, umask not yet applied.
    pub mode: u32,
    /// RESOLVE_*.
    pub rules: Rules,
}

impl Request {
    fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    fn writes(&self) -> bool {
        self.flags & flag::ACCMODE != 0
    }

    /// Unknown flags and what O_PATH ignores are dropped; combinations that open(2) forbids are EINVAL.
    fn checked(mut self) -> Result<Request> {
        self.flags &= flag::ALL;
        if self.has(flag::PATH) {
            self.flags &= flag::PATH | flag::DIRECTORY | flag::NOFOLLOW | flag::CLOEXEC;
            return Ok(self);
        }
        if self.has(flag::TMPFILE) {
            if !self.writes() || self.has(flag::CREAT) {
                return Err(Errno::EINVAL);
            }
        } else if self.flags & flag::TMPFILE & !flag::DIRECTORY != 0 {
            return Err(Errno::EINVAL);
        }
        if self.has(flag::CREAT | flag::DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        Ok(self)
    }
}

/// A file that was found or made, and may be opened.
pub struct Found {
    dentry: Arc<Dentry>,
    request: Request,
}

impl Found {
    /// Opens it. This may wait (for the other end of a FIFO), so no lock may be held.
    pub fn open(self) -> Result<Arc<OpenFile>> {
        let flags = self.request.flags & !flag::CREATION;
        let dentry = self.dentry;
        let file = match self.request.has(flag::PATH) {
            true => dentry.clone(),
            false => dentry.inode.open(&dentry, self.request.flags)?,
        };
        Ok(OpenFile::named(dentry, file, flags))
    }
}

/// Finds what a path names, from `base` if it is relative, makes it if asked, and checks that it may be opened.
pub fn find(
    context: &FsContext,
    base: &Arc<Dentry>,
    path: &[u8],
    request: Request,
) -> Result<Found> {
    let request = request.checked()?;
    let follow = !request.has(flag::NOFOLLOW) && !request.has(flag::CREAT | flag::EXCL);
    let walked = match request.has(flag::CREAT) {
        true => context.walk_to_create(base, path, follow, request.rules)?,
        false => context.walk(base, path, follow, request.rules)?,
    };
    if request.has(flag::TMPFILE) {
        return open_unnamed(context, walked.existing()?, request);
    }
    let (dentry, created) = if request.has(flag::CREAT) {
        create(context, walked, request)?
    } else {
        (walked.existing()?, false)
    };
    if !created {
        check(context, &dentry, request)?;
        if request.has(flag::TRUNC) && dentry.inode.kind() == Kind::Regular {
            dentry.inode.truncate(0)?;
        }
    }
    Ok(Found { dentry, request })
}

/// O_CREAT: the file is made unless it is there; tells whether it was.
fn create(
    context: &FsContext,
    walked: Walked<'_>,
    request: Request,
) -> Result<(Arc<Dentry>, bool)> {
    if walked.last != Last::Name {
        return Err(match request.has(flag::EXCL) {
            true => Errno::EEXIST,
            false => Errno::EISDIR,
        });
    }
    if let Some(found) = walked.found {
        return match request.has(flag::EXCL) {
            true => Err(Errno::EEXIST),
            false => Ok((found, false)),
        };
    }
    context.permits(&walked.directory, permission::WRITE | permission::EXECUTE)?;
    let directory = &walked.directory;
    match directory.inode.create(
        directory,
        walked.name(),
        new_file(context, What::Regular, request.mode),
    ) {
        Ok(dentry) => Ok((dentry, true)),
        // Someone else was faster.
        Err(Errno::EEXIST) if !request.has(flag::EXCL) => {
            let found = directory.inode.lookup(directory, walked.name())?;
            match found.inode.kind() {
                Kind::Symlink => Err(Errno::ELOOP),
                _ => Ok((found, false)),
            }
        }
        Err(error) => Err(error),
    }
}

/// A file to be made by the process.
pub fn new_file(context: &FsContext, what: What, mode: u32) -> NewFile {
    NewFile {
        what,
        mode: mode & 0o7777 & !context.umask,
        uid: context.uid,
        gid: context.gid,
    }
}

fn open_unnamed(context: &FsContext, directory: Arc<Dentry>, request: Request) -> Result<Found> {
    if directory.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR);
    }
    context.permits(&directory, permission::WRITE | permission::EXECUTE)?;
    let new = new_file(context, What::Regular, request.mode);
    let linkable = !request.has(flag::EXCL);
    let dentry = directory.inode.create_unnamed(&directory, new, linkable)?;
    Ok(Found { dentry, request })
}

/// What may not be opened so (`may_open` of Linux).
fn check(context: &FsContext, dentry: &Arc<Dentry>, request: Request) -> Result<()> {
    let kind = dentry.inode.kind();
    if request.has(flag::CREAT) && kind == Kind::Directory {
        return Err(Errno::EISDIR);
    }
    // `O_PATH | O_NOFOLLOW` opens a link itself, but a directory that is asked for must be one.
    if request.has(flag::DIRECTORY) && kind != Kind::Directory {
        return Err(Errno::ENOTDIR);
    }
    if request.has(flag::PATH) {
        return Ok(());
    }
    match kind {
        Kind::Symlink => return Err(Errno::ELOOP),
        Kind::Directory if request.writes() || request.has(flag::TRUNC) => {
            return Err(Errno::EISDIR)
        }
        _ => {}
    }
    if context.uid != 0 {
        let wanted = match request.flags & flag::ACCMODE {
            0 => permission::READ,
            flag::WRONLY => permission::WRITE,
            _ => permission::READ | permission::WRITE,
        };
        let truncates = if request.has(flag::TRUNC) {
            permission::WRITE
        } else {
            0
        };
        let stat = dentry.inode.stat()?;
        context.permits_on(&stat, wanted | truncates)?;
        if request.has(flag::NOATIME) {
            context.owns(&stat)?;
        }
    }
    Ok(())
}
