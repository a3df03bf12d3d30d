//! The file system in memory: the root over the measured image, /dev, /dev/shm, and memory files.
//!
//! * [`data`]: content of a regular file, copied on write from the image.
//! * [`directory`]: the names in a directory.
//! * [`image`]: filling it from the archive.
//! * [`inode`]: its files.
//!
//! Locks: whatever changes names holds [`RamFs::changes`], so that a change of several directories is one step for
//! other changes; looking up takes only the directory's own lock. Within that: a directory's names, then attributes or
//! data; no two locks of one kind are held at a time.

pub mod data;
pub mod directory;
pub mod image;
pub mod inode;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_platform::sync::{Mutex, Once};

pub use self::inode::RamInode;
use super::dentry::Dentry;
use super::inode::{FsInfo, NewFile, What};

/// Longest name.
pub const NAME_MAX: usize = 255;

/// F_SEAL_* of fcntl(2).
#[allow(missing_docs)]
pub mod seal {
    pub const SEAL: u32 = 1;
    pub const SHRINK: u32 = 2;
    pub const GROW: u32 = 4;
    pub const WRITE: u32 = 8;
    pub const FUTURE_WRITE: u32 = 16;
    pub const EXEC: u32 = 32;
}

/// A file system in memory.
pub struct RamFs {
    info: &'static FsInfo,
    next_ino: AtomicU64,
    changes: Mutex<()>,
}

impl RamFs {
    fn new(info: &'static FsInfo) -> Arc<RamFs> {
        Arc::new(RamFs {
            info,
            next_ino: AtomicU64::new(1),
            changes: Mutex::new(()),
        })
    }

    fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// A new file system with an empty root directory, which is in no tree.
    pub fn mount(info: &'static FsInfo) -> Arc<Dentry> {
        Dentry::detached(b"", Self::root(info, 0o755))
    }

    /// A new file system below a directory of another one; the caller puts it there.
    pub fn mount_at(
        info: &'static FsInfo,
        permissions: u32,
        parent: &Arc<Dentry>,
        name: &[u8],
    ) -> Arc<Dentry> {
        Dentry::new(parent.clone(), name, Self::root(info, permissions))
    }

    fn root(info: &'static FsInfo, permissions: u32) -> Arc<RamInode> {
        let new = NewFile {
            what: What::Directory,
            mode: permissions,
            uid: 0,
            gid: 0,
        };
        RamInode::new(&RamFs::new(info), new)
    }

    /// A memory file (memfd_create(2)), shown under a name.
    pub fn memory_file(name: &[u8], permissions: u32, seals: u32) -> Arc<Dentry> {
        static MEMORY: Once<Arc<RamFs>> = Once::new();
        let fs = MEMORY.call_once(|| RamFs::new(&super::MEMORY_FS));
        let dentry = Dentry::detached(name, RamInode::sealable(fs, permissions, seals));
        dentry.set_removed();
        dentry
    }
}
