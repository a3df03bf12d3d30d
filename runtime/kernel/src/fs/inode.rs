//! What a file system provides for each of its files: the operations behind names and open files.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use super::dentry::Dentry;
use super::file::{File, SharedRange, Stat};
use super::io::{Sink, Source};
use crate::{Errno, Result};

/// S_IF* and permission bits of `st_mode`.
#[allow(missing_docs)]
pub mod mode {
    pub const S_IFMT: u32 = 0o170000;
    pub const S_IFSOCK: u32 = 0o140000;
    pub const S_IFLNK: u32 = 0o120000;
    pub const S_IFREG: u32 = 0o100000;
    pub const S_IFBLK: u32 = 0o060000;
    pub const S_IFDIR: u32 = 0o040000;
    pub const S_IFCHR: u32 = 0o020000;
    pub const S_IFIFO: u32 = 0o010000;
    pub const S_ISUID: u32 = 0o4000;
    pub const S_ISGID: u32 = 0o2000;
    pub const S_ISVTX: u32 = 0o1000;
}

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    /// A file without a name that is none of these (epoll, eventfd …).
    Anonymous,
}

impl Kind {
    /// From the S_IFMT bits of a mode.
    pub const fn of(mode: u32) -> Option<Kind> {
        Some(match mode & mode::S_IFMT {
            mode::S_IFREG => Kind::Regular,
            mode::S_IFDIR => Kind::Directory,
            mode::S_IFLNK => Kind::Symlink,
            mode::S_IFCHR => Kind::CharDevice,
            mode::S_IFBLK => Kind::BlockDevice,
            mode::S_IFIFO => Kind::Fifo,
            mode::S_IFSOCK => Kind::Socket,
            0 => Kind::Anonymous,
            _ => return None,
        })
    }

    /// The S_IFMT bits.
    pub const fn format(self) -> u32 {
        match self {
            Kind::Regular => mode::S_IFREG,
            Kind::Directory => mode::S_IFDIR,
            Kind::Symlink => mode::S_IFLNK,
            Kind::CharDevice => mode::S_IFCHR,
            Kind::BlockDevice => mode::S_IFBLK,
            Kind::Fifo => mode::S_IFIFO,
            Kind::Socket => mode::S_IFSOCK,
            Kind::Anonymous => 0,
        }
    }

    /// `d_type` of a directory entry.
    pub const fn dirent_type(self) -> u8 {
        (self.format() >> 12) as u8
    }
}

/// A point in time, nanoseconds since the epoch.
pub type Time = i128;

/// Attributes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<Time>,
    pub mtime: Option<Time>,
}

/// A file to be made.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// What it is to be, with what that needs.
    pub what: What,
    /// Permission bits, umask already applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The kinds of files that can be made.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum What {
    Regular,
    Directory,
    Symlink(Vec<u8>),
    CharDevice(u64),
    BlockDevice(u64),
    Fifo,
    Socket,
}

/// One entry that a directory lists.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Kind.
    pub kind: Kind,
    /// Position from which listing goes on after this entry.
    pub next: u64,
}

/// Where [`Inode::list`] puts entries; false when there is no more room and the entry was not taken.
pub type Lister<'a> = dyn FnMut(Listed<'_>) -> Result<bool> + 'a;

/// A mounted file system as statfs(2) and /proc/mounts show it.
#[derive(Debug)]
pub struct FsInfo {
    /// Name of the type.
    pub name: &'static str,
    /// `f_type`.
    pub magic: u64,
    /// Device number of its files.
    pub dev: u64,
    /// Directories and attributes cannot be changed.
    pub read_only: bool,
    /// Space comes out of user memory.
    pub in_memory: bool,
}

/// The device number of the `minor`th file system without a device.
pub const fn anonymous_dev(minor: u64) -> u64 {
    minor & 0xff | (minor & !0xff) << 12
}

/// RENAME_NOREPLACE of rename(2).
pub const RENAME_NOREPLACE: u32 = 1;
/// RENAME_EXCHANGE of rename(2).
pub const RENAME_EXCHANGE: u32 = 2;

/// What a symbolic link leads to.
pub enum Target {
    /// A path, to be walked from the directory of the link.
    Path(Vec<u8>),
    /// A file itself (the links below /proc/PID).
    Jump(Arc<Dentry>),
}

/// A file of a file system, apart from its names. Defaults are what Linux answers where an operation makes no sense.
///
/// `here` is always the name through which the directory was reached; its inode is `self`.
pub trait Inode: Any + Send + Sync {
    /// Facts for stat(2).
    fn stat(&self) -> Result<Stat>;

    /// What it is.
    fn kind(&self) -> Kind;

    /// The file system it belongs to.
    fn fs(&self) -> &'static FsInfo;

    /// The entry of a directory with a name, ENOENT if there is none. `name` is neither empty nor `.` nor `..`.
    fn lookup(&self, _here: &Arc<Dentry>, _name: &[u8]) -> Result<Arc<Dentry>> {
        Err(Errno::ENOTDIR)
    }

    /// Makes a file in a directory; EEXIST when the name is taken.
    fn create(&self, _here: &Arc<Dentry>, _name: &[u8], _new: NewFile) -> Result<Arc<Dentry>> {
        Err(Errno::EPERM)
    }

    /// Makes a file without a name (O_TMPFILE); `linkable` if it may be given one.
    fn create_unnamed(
        &self,
        _here: &Arc<Dentry>,
        _new: NewFile,
        _linkable: bool,
    ) -> Result<Arc<Dentry>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives an existing file another name in a directory.
    fn link(&self, _here: &Arc<Dentry>, _name: &[u8], _old: &Arc<Dentry>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Takes a name away: that of a directory with `directory`, that of anything else without.
    fn unlink(&self, _here: &Arc<Dentry>, _name: &[u8], _directory: bool) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Moves a name to a directory of the same file system, RENAME_* in `flags`.
    fn rename(
        &self,
        _here: &Arc<Dentry>,
        _name: &[u8],
        _to: &Arc<Dentry>,
        _to_name: &[u8],
        _flags: u32,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Lists the entries of a directory but `.` and `..`, from a position on that an earlier entry named (first 2).
    fn list(&self, _here: &Arc<Dentry>, _from: u64, _to: &mut Lister<'_>) -> Result<()> {
        Err(Errno::ENOTDIR)
    }

    /// Where a symbolic link leads.
    fn target(&self) -> Result<Target> {
        Err(Errno::EINVAL)
    }

    /// The text of a symbolic link (readlink(2)).
    fn read_link(&self) -> Result<Vec<u8>> {
        match self.target()? {
            Target::Path(path) => Ok(path),
            Target::Jump(to) => Ok(to.path()),
        }
    }

    /// What `open` puts behind a descriptor; regular files and directories are their own name.
    fn open(&self, here: &Arc<Dentry>, _flags: u32) -> Result<Arc<dyn File>> {
        match self.kind() {
            Kind::Regular | Kind::Directory => Ok(here.clone()),
            Kind::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    /// Changes attributes; what must be allowed was checked.
    fn change(&self, _changes: Changes) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Reads content; 0 at and after its end.
    fn read_at(&self, _offset: u64, _sink: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes content.
    fn write_at(&self, _offset: u64, _source: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at the end; gives the position after it and the number of bytes.
    fn append(&self, _source: &mut dyn Source) -> Result<(u64, usize)> {
        Err(Errno::EINVAL)
    }

    /// Changes the size of content.
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2) with a mode that was checked to be known.
    fn allocate(&self, _mode: u32, _offset: u64, _size: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// SEEK_DATA (`hole` false) and SEEK_HOLE of lseek(2).
    fn seek_data(&self, offset: u64, hole: bool) -> Result<u64> {
        let size = self.stat()?.size;
        match offset {
            offset if offset >= size => Err(Errno::ENXIO),
            _ if hole => Ok(size),
            offset => Ok(offset),
        }
    }

    /// See [`File::image_offset`].
    fn image_offset(&self) -> Option<u64> {
        None
    }

    /// See [`File::map_shared`].
    fn map_shared(&self, _range: Arc<dyn SharedRange>) -> Result<()> {
        Err(Errno::ENODEV)
    }

    /// See [`File::unmap_shared`].
    fn unmap_shared(&self, _range: &Arc<dyn SharedRange>) -> Result<()> {
        Ok(())
    }

    /// Part of it is mapped shared.
    fn is_mapped_shared(&self) -> bool {
        false
    }

    /// Bytes that reading never goes beyond: for positions with SEEK_END. Files without a size say EINVAL.
    fn size(&self) -> Result<u64> {
        self.stat().map(|stat| stat.size)
    }

    /// Seals of a memory file (F_ADD_SEALS); `None` where there are none.
    fn seals(&self) -> Option<&core::sync::atomic::AtomicU32> {
        None
    }

    /// For downcasts to a particular kind of file.
    fn as_any(&self) -> &dyn Any;
}
