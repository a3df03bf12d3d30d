//! System calls on files.
//!
//! * [`open`]: opening and closing.
//! * [`transfer`]: reading and writing; [`copy`]: from file to file.
//! * [`stat`]: facts about files and file systems; [`structs`]: how they look in application memory.
//! * [`names`]: making, removing, renaming; [`attributes`]: owners, permissions, times.
//! * [`directory`]: listing, working directory.
//! * [`space`]: sizes, and what would go to a disk if there was one.
//! * [`descriptor`]: dup, fcntl, ioctl; [`lock`]: flock and record locks.
//! * [`refused`]: what there is none of.

pub mod attributes;
pub mod copy;
pub mod descriptor;
pub mod directory;
pub mod lock;
pub mod names;
pub mod open;
pub mod refused;
pub mod space;
pub mod stat;
pub mod structs;
pub mod transfer;

use alloc::sync::Arc;

use mystikos_platform::user::{self, CopiedString};

use crate::fs::dentry::Dentry;
use crate::fs::file::OpenFile;
use crate::fs::path::{FsContext, PATH_MAX};
use crate::process::Thread;
use crate::{Errno, Result};

/// AT_* of the calls that take a directory descriptor.
#[allow(missing_docs)]
pub mod at {
    pub const FDCWD: i32 = -100;
    pub const SYMLINK_NOFOLLOW: u32 = 0x100;
    /// AT_REMOVEDIR of unlinkat, AT_EACCESS of faccessat.
    pub const REMOVEDIR: u32 = 0x200;
    pub const EACCESS: u32 = 0x200;
    pub const SYMLINK_FOLLOW: u32 = 0x400;
    pub const NO_AUTOMOUNT: u32 = 0x800;
    pub const EMPTY_PATH: u32 = 0x1000;
    pub const STATX_SYNC_TYPE: u32 = 0x6000;
}

/// A path in application memory; empty ones are ENOENT.
pub fn path(address: u64) -> Result<CopiedString> {
    match possibly_empty_path(address)? {
        path if path.is_empty() => Err(Errno::ENOENT),
        path => Ok(path),
    }
}

/// A path in application memory, which may be empty.
pub fn possibly_empty_path(address: u64) -> Result<CopiedString> {
    user::read_string(address, PATH_MAX, Errno::ENAMETOOLONG)
}

/// The description behind a descriptor argument.
pub fn description(thread: &Thread, fd: u64) -> Result<Arc<OpenFile>> {
    thread.process.files.read().get(fd as i32)
}

/// As [`description`]; EBADF for descriptors that are only places in the tree (O_PATH).
pub fn usable(thread: &Thread, fd: u64) -> Result<Arc<OpenFile>> {
    thread.process.files.read().usable(fd as i32)
}

/// Calls `act` with the context of the process and the directory from which `path` is to be walked.
pub fn with_base<R>(
    thread: &Thread,
    fd: u64,
    path: &[u8],
    act: impl FnOnce(&FsContext, &Arc<Dentry>) -> Result<R>,
) -> Result<R> {
    if path.first() == Some(&b'/') || fd as i32 == at::FDCWD {
        let context = thread.process.fs.read();
        return act(&context, &context.cwd);
    }
    let description = description(thread, fd)?;
    let base = description.dentry.as_ref().ok_or(Errno::ENOTDIR)?;
    let context = thread.process.fs.read();
    act(&context, base)
}

/// What a `*at` call acts on: a path, or with AT_EMPTY_PATH and an empty path the descriptor itself.
pub enum Subject {
    /// Found by path.
    Path(Arc<Dentry>),
    /// Behind a descriptor.
    Open(Arc<OpenFile>),
}

impl Subject {
    /// The file by name; EBADF for what has none but is asked to be changed by it.
    pub fn dentry(&self) -> Option<&Arc<Dentry>> {
        match self {
            Subject::Path(dentry) => Some(dentry),
            Subject::Open(description) => description.dentry.as_ref(),
        }
    }
}

/// Finds the subject of a `*at` call. `flags` may hold AT_EMPTY_PATH, and `follow` tells about a final link.
pub fn subject(
    thread: &Thread,
    fd: u64,
    path_address: u64,
    flags: u32,
    follow: bool,
) -> Result<Subject> {
    let path = possibly_empty_path(path_address)?;
    if path.is_empty() {
        if flags & at::EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        return match fd as i32 {
            at::FDCWD => Ok(Subject::Path(thread.process.fs.read().cwd.clone())),
            _ => description(thread, fd).map(Subject::Open),
        };
    }
    with_base(thread, fd, &path, |context, base| {
        context.find(base, &path, follow).map(Subject::Path)
    })
}
