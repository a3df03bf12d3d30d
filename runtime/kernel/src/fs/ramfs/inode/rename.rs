//! Renaming: the one change that concerns two directories.

use alloc::sync::Arc;

use super::{Content, RamInode};
use crate::fs::clock;
use crate::fs::dentry::Dentry;
use crate::fs::inode::{Inode, Kind, RENAME_EXCHANGE, RENAME_NOREPLACE};
use crate::{Errno, Result};

impl RamInode {
    /// See [`Inode::rename`].
    pub(super) fn rename_to(
        &self,
        here: &Arc<Dentry>,
        name: &[u8],
        to: &Arc<Dentry>,
        to_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let to_inode = self.own(to).map_err(|_| Errno::EXDEV)?;
        let _changing = self.fs.changes.lock();
        let old = self.lookup(here, name)?;
        let target = match to_inode.lookup(to, to_name) {
            Ok(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Ok(target) => Some(target),
            Err(Errno::ENOENT) if flags & RENAME_EXCHANGE == 0 => None,
            Err(error) => return Err(error),
        };
        let is_directory = old.inode.kind() == Kind::Directory;
        if is_directory && old.is_at_or_above(to) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = &target {
            if target.inode.kind() == Kind::Directory && target.is_at_or_above(here) {
                return Err(match flags & RENAME_EXCHANGE {
                    0 => Errno::ENOTEMPTY,
                    _ => Errno::EINVAL,
                });
            }
        }
        if flags & RENAME_EXCHANGE != 0 {
            return self.exchange(here, name, to, to_name);
        }
        self.own(&old)?;
        if to_inode.directory()?.read().removed {
            return Err(Errno::ENOENT);
        }
        match &target {
            Some(target) if Arc::ptr_eq(&target.inode, &old.inode) => return Ok(()),
            Some(target) => {
                self.check_replace(&old, target)?;
                // One step under the directory's lock: the name always stands for the one or the other.
                to_inode.directory()?.write().replace(to_name, old.clone());
                self.forget(target);
            }
            None => {
                let mut names = to_inode.directory()?.write();
                names.insert(to_name, old.clone())?;
                names.subdirectories += u64::from(is_directory);
            }
        }
        {
            let mut names = self.directory()?.write();
            names.remove(name);
            names.subdirectories -= u64::from(is_directory);
        }
        old.set_place(to.clone(), to_name);
        self.modified();
        to_inode.modified();
        if let Ok(inode) = self.own(&old) {
            inode.attributes.write().ctime = clock::now();
        }
        Ok(())
    }

    /// What rename(2) does when the target's name is taken, or not; the caller holds the lock for changes.
    fn check_replace(&self, old: &Arc<Dentry>, target: &Arc<Dentry>) -> Result<()> {
        let target_inode = self.own(target)?;
        let is_directory = old.inode.kind() == Kind::Directory;
        match &target_inode.content {
            Content::Directory(_) if !is_directory => Err(Errno::EISDIR),
            Content::Directory(names) if !names.read().is_empty() => Err(Errno::ENOTEMPTY),
            Content::Directory(_) => Ok(()),
            _ if is_directory => Err(Errno::ENOTDIR),
            _ => Ok(()),
        }
    }

    fn exchange(
        &self,
        here: &Arc<Dentry>,
        name: &[u8],
        to: &Arc<Dentry>,
        to_name: &[u8],
    ) -> Result<()> {
        let to_inode = self.own(to)?;
        let old = self.lookup(here, name)?;
        let other = to_inode.lookup(to, to_name)?;
        self.own(&old)?;
        self.own(&other)?;
        if Arc::ptr_eq(&old.inode, &other.inode) {
            return Ok(());
        }
        let is_directory = |dentry: &Arc<Dentry>| dentry.inode.kind() == Kind::Directory;
        if !Arc::ptr_eq(&here.inode, &to.inode) && is_directory(&old) != is_directory(&other) {
            let (loser, winner) = match is_directory(&old) {
                true => (self, to_inode),
                false => (to_inode, self),
            };
            loser.directory()?.write().subdirectories -= 1;
            winner.directory()?.write().subdirectories += 1;
        }
        self.directory()?.write().replace(name, other.clone());
        to_inode.directory()?.write().replace(to_name, old.clone());
        old.set_place(to.clone(), to_name);
        other.set_place(here.clone(), name);
        self.modified();
        to_inode.modified();
        Ok(())
    }
}
