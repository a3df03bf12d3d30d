//! Names in the tree of mounted file systems. A regular file or directory that is open is its name.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use mystikos_platform::sync::RwLock;

use super::file::{File, OpenFile, SharedRange, Stat};
use super::inode::{Inode, Kind};
use super::io::{Sink, Source};
use crate::{Errno, Result};

/// A name: which directory it is in, and the file it stands for. Renaming changes the place of the same `Dentry`, so
/// that open files and working directories know their paths (proc(5), getcwd(2)).
pub struct Dentry {
    place: RwLock<Place>,
    /// The file.
    pub inode: Arc<dyn Inode>,
}

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Box<[u8]>,
    removed: bool,
}

impl Dentry {
    /// A name in a directory. The directory itself is to be told.
    pub fn new(parent: Arc<Dentry>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Arc::new(Dentry {
            place: RwLock::new(Place {
                parent: Some(parent),
                name: name.into(),
                removed: false,
            }),
            inode,
        })
    }

    /// The root of the tree, or of a file system that is in no tree (then `name` is how proc(5) shows it).
    pub fn detached(name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Arc::new(Dentry {
            place: RwLock::new(Place {
                parent: None,
                name: name.into(),
                removed: false,
            }),
            inode,
        })
    }

    /// The directory it is in; `None` at the root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.read().parent.clone()
    }

    /// The last part of the path.
    pub fn name(&self) -> Box<[u8]> {
        self.place.read().name.clone()
    }

    /// The name is not in its directory any more.
    pub fn is_removed(&self) -> bool {
        self.place.read().removed
    }

    /// It is where a file system is mounted.
    pub fn is_mount_root(&self) -> bool {
        match self.parent() {
            Some(parent) => parent.inode.fs().dev != self.inode.fs().dev,
            None => true,
        }
    }

    /// Its directory has forgotten it.
    pub(super) fn set_removed(&self) {
        self.place.write().removed = true;
    }

    /// It is in another directory or has another name now.
    pub(super) fn set_place(&self, parent: Arc<Dentry>, name: &[u8]) {
        let old = {
            let mut place = self.place.write();
            place.name = name.into();
            place.removed = false;
            place.parent.replace(parent)
        };
        drop(old);
    }

    /// `self` is `of` or one of the directories above it.
    pub fn is_at_or_above(self: &Arc<Self>, of: &Arc<Dentry>) -> bool {
        let mut at = of.clone();
        loop {
            if Arc::ptr_eq(self, &at) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// Absolute path; ` (deleted)` follows when the name is gone (proc(5)).
    pub fn path(self: &Arc<Self>) -> Vec<u8> {
        let (mut path, _) = self.path_below(None);
        if self.is_removed() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// Path below `root`, and whether `root` (if there is one) is above it at all.
    pub fn path_below(self: &Arc<Self>, root: Option<&Arc<Dentry>>) -> (Vec<u8>, bool) {
        let mut names = Vec::new();
        let mut at = self.clone();
        let reached = loop {
            if root.is_some_and(|root| Arc::ptr_eq(root, &at)) {
                break true;
            }
            let (parent, name) = {
                let place = at.place.read();
                (place.parent.clone(), place.name.clone())
            };
            match parent {
                Some(parent) => {
                    names.push(name);
                    at = parent;
                }
                None if name.is_empty() => break root.is_none(),
                None => return (name.into_vec(), false),
            }
        };
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path, reached)
    }
}

impl Drop for Dentry {
    // A chain of removed directories can be long: it is let go step by step, not by recursion.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().parent.take();
        while let Some(mut last) = next.and_then(Arc::into_inner) {
            next = last.place.get_mut().parent.take();
        }
    }
}

const O_APPEND: u32 = 0o2000;

impl File for Dentry {
    fn stat(&self) -> Result<Stat> {
        self.inode.stat()
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        if self.inode.kind() == Kind::Directory {
            return Err(Errno::EISDIR);
        }
        // The position stays locked while bytes move, so that threads that share it read disjoint parts (read(2)).
        let mut position = description.position.lock();
        let n = self.inode.read_at(*position, sink)?;
        *position += n as u64;
        Ok(n)
    }

    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        let mut position = description.position.lock();
        if description.flags() & O_APPEND != 0 {
            let (end, n) = self.inode.append(source)?;
            *position = end;
            return Ok(n);
        }
        let n = self.inode.write_at(*position, source)?;
        *position += n as u64;
        Ok(n)
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if self.inode.kind() == Kind::Directory {
            return Err(Errno::EISDIR);
        }
        self.inode.read_at(offset, sink)
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.inode.write_at(offset, source)
    }

    fn seek(&self, description: &OpenFile, offset: i64, whence: u32) -> Result<u64> {
        let mut position = description.position.lock();
        *position = seek_to(&*self.inode, *position, offset, whence)?;
        Ok(*position)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.inode.truncate(size)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn image_offset(&self) -> Option<u64> {
        self.inode.image_offset()
    }

    fn map_shared(&self, range: Arc<dyn SharedRange>) -> Result<()> {
        self.inode.map_shared(range)
    }

    fn unmap_shared(&self, range: &Arc<dyn SharedRange>) -> Result<()> {
        self.inode.unmap_shared(range)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The position that lseek(2) asks for.
fn seek_to(inode: &dyn Inode, position: u64, offset: i64, whence: u32) -> Result<u64> {
    const SEEK_DATA: u32 = 3;
    const SEEK_HOLE: u32 = 4;
    let from = match whence {
        0 => 0,
        1 => position,
        2 => inode.size()?,
        SEEK_DATA | SEEK_HOLE => {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            return inode.seek_data(offset, whence == SEEK_HOLE);
        }
        _ => return Err(Errno::EINVAL),
    };
    i64::try_from(from)
        .ok()
        .and_then(|from| from.checked_add(offset))
        .and_then(|to| u64::try_from(to).ok())
        .ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::super::ramfs::RamFs;
    use super::*;

    #[test]
    fn a_long_chain_of_removed_directories_is_dropped_without_recursion() {
        let mut deepest = RamFs::mount(&super::super::ROOT_FS);
        for _ in 0..200_000 {
            let inode = deepest.inode.clone();
            deepest = Dentry::new(deepest, b"d", inode);
        }
        drop(deepest);
    }
}
