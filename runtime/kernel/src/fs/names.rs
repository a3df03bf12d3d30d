//! Making, removing and renaming files, as the process may.

use alloc::sync::Arc;

use super::dentry::Dentry;
use super::inode::{mode, Kind, NewFile, What, RENAME_EXCHANGE, RENAME_NOREPLACE};
use super::open::new_file;
use super::path::{permission, FsContext, Last, Walked};
use crate::{Errno, Result};

/// Makes what is not a regular file being opened: directory, link, device, FIFO, socket, or a regular file (mknod(2)).
pub fn make(
    context: &FsContext,
    base: &Arc<Dentry>,
    path: &[u8],
    what: What,
    mode: u32,
) -> Result<Arc<Dentry>> {
    let is_directory = matches!(what, What::Directory);
    let walked = vacant(context, base, path, is_directory)?;
    let device = matches!(what, What::CharDevice(_) | What::BlockDevice(_));
    if device && context.uid != 0 {
        return Err(Errno::EPERM);
    }
    let new = match what {
        What::Symlink(_) => NewFile {
            mode: 0o777,
            ..new_file(context, what, 0)
        },
        // Sticky may be given to a directory, set-ID bits not (mkdir(2)).
        What::Directory => new_file(context, what, mode & 0o1777),
        _ => new_file(context, what, mode),
    };
    let directory = &walked.directory;
    directory.inode.create(directory, walked.name(), new)
}

/// The directory and name where a file is to be made; EEXIST if there is one.
fn vacant<'a>(
    context: &FsContext,
    base: &Arc<Dentry>,
    path: &'a [u8],
    is_directory: bool,
) -> Result<Walked<'a>> {
    let walked = context.parent(base, path)?;
    if walked.last != Last::Name {
        return Err(Errno::EEXIST);
    }
    match walked
        .directory
        .inode
        .lookup(&walked.directory, walked.name())
    {
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    if walked.slash && !is_directory {
        return Err(Errno::ENOENT);
    }
    writable(context, &walked.directory)?;
    Ok(walked)
}

/// Names may be added to and taken from the directory.
fn writable(context: &FsContext, directory: &Arc<Dentry>) -> Result<()> {
    if directory.inode.fs().read_only {
        return Err(Errno::EROFS);
    }
    context.permits(directory, permission::WRITE | permission::EXECUTE)
}

/// The name may be taken from its directory: in a sticky one only by an owner.
fn removable(context: &FsContext, directory: &Arc<Dentry>, victim: &Arc<Dentry>) -> Result<()> {
    writable(context, directory)?;
    if context.uid == 0 {
        return Ok(());
    }
    let stat = directory.inode.stat()?;
    let foreign = stat.uid != context.uid && victim.inode.stat()?.uid != context.uid;
    match stat.mode & mode::S_ISVTX != 0 && foreign {
        true => Err(Errno::EPERM),
        false => Ok(()),
    }
}

/// Gives a file another name (link(2)).
pub fn link(context: &FsContext, old: &Arc<Dentry>, base: &Arc<Dentry>, path: &[u8]) -> Result<()> {
    let walked = vacant(context, base, path, false)?;
    let directory = &walked.directory;
    if directory.inode.fs().dev != old.inode.fs().dev {
        return Err(Errno::EXDEV);
    }
    if old.inode.kind() == Kind::Directory {
        return Err(Errno::EPERM);
    }
    directory.inode.link(directory, walked.name(), old)
}

/// unlink(2).
pub fn unlink(context: &FsContext, base: &Arc<Dentry>, path: &[u8]) -> Result<()> {
    let walked = context.parent(base, path)?;
    if walked.last != Last::Name {
        return Err(Errno::EISDIR);
    }
    let directory = &walked.directory;
    let victim = directory.inode.lookup(directory, walked.name())?;
    let is_directory = victim.inode.kind() == Kind::Directory;
    if walked.slash {
        return Err(match is_directory {
            true => Errno::EISDIR,
            false => Errno::ENOTDIR,
        });
    }
    removable(context, directory, &victim)?;
    if is_directory {
        return Err(Errno::EISDIR);
    }
    directory.inode.unlink(directory, walked.name(), false)
}

/// rmdir(2).
pub fn remove_directory(context: &FsContext, base: &Arc<Dentry>, path: &[u8]) -> Result<()> {
    let walked = context.parent(base, path)?;
    match walked.last {
        Last::Name => {}
        Last::Up => return Err(Errno::ENOTEMPTY),
        Last::Here if walked.name().is_empty() => return Err(Errno::EBUSY),
        Last::Here => return Err(Errno::EINVAL),
    }
    let directory = &walked.directory;
    let victim = directory.inode.lookup(directory, walked.name())?;
    removable(context, directory, &victim)?;
    if victim.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR);
    }
    if victim.is_mount_root() || Arc::ptr_eq(&victim, &context.root) {
        return Err(Errno::EBUSY);
    }
    directory.inode.unlink(directory, walked.name(), true)
}

/// renameat2(2).
pub fn rename(
    context: &FsContext,
    (base, path): (&Arc<Dentry>, &[u8]),
    (to_base, to_path): (&Arc<Dentry>, &[u8]),
    flags: u32,
) -> Result<()> {
    let from = context.parent(base, path)?;
    let to = context.parent(to_base, to_path)?;
    let (directory, to_directory) = (&from.directory, &to.directory);
    if directory.inode.fs().dev != to_directory.inode.fs().dev {
        return Err(Errno::EXDEV);
    }
    if from.last != Last::Name {
        return Err(Errno::EBUSY);
    }
    let replaces = flags & RENAME_NOREPLACE == 0;
    if to.last != Last::Name {
        return Err(match replaces {
            true => Errno::EBUSY,
            false => Errno::EEXIST,
        });
    }
    let old = directory.inode.lookup(directory, from.name())?;
    let target = match to_directory.inode.lookup(to_directory, to.name()) {
        Ok(_) if !replaces => return Err(Errno::EEXIST),
        Ok(target) => Some(target),
        Err(Errno::ENOENT) => None,
        Err(error) => return Err(error),
    };
    check_slashes(&from, &to, &old, target.as_ref(), flags)?;

    let is_directory = |dentry: &Arc<Dentry>| dentry.inode.kind() == Kind::Directory;
    if is_directory(&old) && old.is_at_or_above(to_directory) {
        return Err(Errno::EINVAL);
    }
    if let Some(target) = &target {
        if is_directory(target) && target.is_at_or_above(directory) {
            return Err(match flags & RENAME_EXCHANGE {
                0 => Errno::ENOTEMPTY,
                _ => Errno::EINVAL,
            });
        }
        if Arc::ptr_eq(&target.inode, &old.inode) {
            return Ok(());
        }
    }
    removable(context, directory, &old)?;
    match &target {
        None => writable(context, to_directory)?,
        Some(target) => {
            removable(context, to_directory, target)?;
            if flags & RENAME_EXCHANGE == 0 && is_directory(&old) != is_directory(target) {
                return Err(match is_directory(target) {
                    true => Errno::EISDIR,
                    false => Errno::ENOTDIR,
                });
            }
        }
    }
    // A directory that changes its parent is itself written to: its `..`.
    let moves = !Arc::ptr_eq(directory, to_directory);
    if is_directory(&old) && moves {
        context.permits(&old, permission::WRITE)?;
    }
    if old.is_mount_root() || target.as_ref().is_some_and(|target| target.is_mount_root()) {
        return Err(Errno::EBUSY);
    }
    directory
        .inode
        .rename(directory, from.name(), to_directory, to.name(), flags)
}

/// Only a directory's name may be followed by a slash.
fn check_slashes(
    from: &Walked<'_>,
    to: &Walked<'_>,
    old: &Arc<Dentry>,
    target: Option<&Arc<Dentry>>,
    flags: u32,
) -> Result<()> {
    let is_directory = |dentry: &Arc<Dentry>| dentry.inode.kind() == Kind::Directory;
    if flags & RENAME_EXCHANGE != 0 {
        let target = target.ok_or(Errno::ENOENT)?;
        if !is_directory(target) && to.slash {
            return Err(Errno::ENOTDIR);
        }
    }
    if is_directory(old) {
        return Ok(());
    }
    match from.slash || to.slash && flags & RENAME_EXCHANGE == 0 {
        true => Err(Errno::ENOTDIR),
        false => Ok(()),
    }
}
