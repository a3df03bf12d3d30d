//! Files in memory.

mod rename;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use mystikos_platform::sync::RwLock;

use super::data::{Data, PAGE};
use super::directory::Directory;
use super::{seal, RamFs, NAME_MAX};
use crate::fs::dentry::Dentry;
use crate::fs::file::{File, SharedRange, Stat};
use crate::fs::inode::{mode, Changes, FsInfo, Inode, Kind, Listed, Lister, NewFile, Target};
use crate::fs::inode::{Time, What};
use crate::fs::io::{Sink, Source};
use crate::fs::pipe::Fifo;
use crate::fs::{clock, dev};
use crate::{Errno, Result};

/// A file in memory.
pub struct RamInode {
    fs: Arc<RamFs>,
    ino: u64,
    kind: Kind,
    attributes: RwLock<Attributes>,
    content: Content,
}

#[derive(Clone, Copy)]
struct Attributes {
    permissions: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    /// Made without a name, and may be given one (O_TMPFILE without O_EXCL).
    linkable: bool,
    atime: Time,
    mtime: Time,
    ctime: Time,
}

enum Content {
    Regular {
        data: RwLock<Data>,
        seals: Option<Box<AtomicU32>>,
    },
    Directory(RwLock<Directory>),
    Symlink(Box<[u8]>),
    Device(u64),
    Fifo(Fifo),
    Socket,
}

impl RamInode {
    /// A file with one name to come.
    pub(super) fn new(fs: &Arc<RamFs>, new: NewFile) -> Arc<RamInode> {
        let (kind, content, nlink) = match new.what {
            What::Regular => (Kind::Regular, Self::regular(Data::default()), 1),
            What::Directory => (Kind::Directory, Content::Directory(RwLock::default()), 2),
            What::Symlink(to) => (Kind::Symlink, Content::Symlink(to.into_boxed_slice()), 1),
            What::CharDevice(device) => (Kind::CharDevice, Content::Device(device), 1),
            What::BlockDevice(device) => (Kind::BlockDevice, Content::Device(device), 1),
            What::Fifo => (Kind::Fifo, Content::Fifo(Fifo::default()), 1),
            What::Socket => (Kind::Socket, Content::Socket, 1),
        };
        let owner = (new.mode & 0o7777, new.uid, new.gid);
        Self::make(fs, kind, owner, nlink, clock::now(), content)
    }

    /// A file whose content the image holds.
    pub(super) fn measured(
        fs: &Arc<RamFs>,
        owner: (u32, u32, u32),
        mtime: Time,
        data: Data,
    ) -> Arc<RamInode> {
        Self::make(fs, Kind::Regular, owner, 0, mtime, Self::regular(data))
    }

    /// A directory or symbolic link of the image.
    pub(super) fn from_image(
        fs: &Arc<RamFs>,
        owner: (u32, u32, u32),
        mtime: Time,
        link: Option<&[u8]>,
    ) -> Arc<RamInode> {
        match link {
            Some(to) => {
                let content = Content::Symlink(to.into());
                Self::make(fs, Kind::Symlink, owner, 0, mtime, content)
            }
            None => {
                let content = Content::Directory(RwLock::default());
                Self::make(fs, Kind::Directory, owner, 2, mtime, content)
            }
        }
    }

    /// A memory file.
    pub(super) fn sealable(fs: &Arc<RamFs>, permissions: u32, seals: u32) -> Arc<RamInode> {
        let content = Content::Regular {
            data: RwLock::default(),
            seals: Some(Box::new(AtomicU32::new(seals))),
        };
        let owner = (permissions, 0, 0);
        Self::make(fs, Kind::Regular, owner, 0, clock::now(), content)
    }

    fn make(
        fs: &Arc<RamFs>,
        kind: Kind,
        (permissions, uid, gid): (u32, u32, u32),
        nlink: u32,
        time: Time,
        content: Content,
    ) -> Arc<RamInode> {
        Arc::new(RamInode {
            fs: fs.clone(),
            ino: fs.next_ino(),
            kind,
            attributes: RwLock::new(Attributes {
                permissions,
                uid,
                gid,
                nlink,
                linkable: false,
                atime: time,
                mtime: time,
                ctime: time,
            }),
            content,
        })
    }

    fn regular(data: Data) -> Content {
        Content::Regular {
            data: RwLock::new(data),
            seals: None,
        }
    }

    /// The names in a directory.
    pub(super) fn directory(&self) -> Result<&RwLock<Directory>> {
        match &self.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn data(&self) -> Result<&RwLock<Data>> {
        match &self.content {
            Content::Regular { data, .. } => Ok(data),
            Content::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// One of the seals is set.
    fn sealed(&self, seals: u32) -> bool {
        match &self.content {
            Content::Regular {
                seals: Some(set), ..
            } => set.load(Ordering::Relaxed) & seals != 0,
            _ => false,
        }
    }

    /// One more name, or one less.
    pub(super) fn add_links(&self, change: i32) {
        let now = clock::now();
        let mut attributes = self.attributes.write();
        attributes.nlink = attributes.nlink.saturating_add_signed(change);
        attributes.ctime = now;
    }

    /// As [`Self::add_links`], for a file of the image, whose times stay.
    pub(super) fn add_measured_link(&self) {
        self.attributes.write().nlink += 1;
    }

    /// Sets the content of a file of the image.
    pub(super) fn set_measured_data(&self, content: Data) {
        if let Content::Regular { data, .. } = &self.content {
            *data.write() = content;
        }
    }

    fn set_unlinked(&self) {
        self.attributes.write().nlink = 0;
    }

    fn modified(&self) {
        let now = clock::now();
        let mut attributes = self.attributes.write();
        attributes.mtime = now;
        attributes.ctime = now;
    }

    /// The inode of this file system behind a name; mounted ones are of another.
    fn own<'a>(&self, dentry: &'a Dentry) -> Result<&'a RamInode> {
        match dentry.inode.as_any().downcast_ref::<RamInode>() {
            Some(inode) if Arc::ptr_eq(&inode.fs, &self.fs) => Ok(inode),
            _ => Err(Errno::EBUSY),
        }
    }

    fn check_name(name: &[u8]) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(())
    }

    /// The inode for a new file in this directory; set-group-ID directories hand on their group.
    fn inherit(&self, mut new: NewFile) -> Arc<RamInode> {
        let attributes = *self.attributes.read();
        if attributes.permissions & mode::S_ISGID != 0 {
            new.gid = attributes.gid;
            if matches!(new.what, What::Directory) {
                new.mode |= mode::S_ISGID;
            }
        }
        RamInode::new(&self.fs, new)
    }

    /// The name is gone from its directory.
    fn forget(&self, dentry: &Arc<Dentry>) {
        dentry.set_removed();
        if let Ok(inode) = self.own(dentry) {
            match &inode.content {
                Content::Directory(names) => {
                    names.write().removed = true;
                    inode.set_unlinked();
                }
                _ => inode.add_links(-1),
            }
        }
    }
}

impl Inode for RamInode {
    fn stat(&self) -> Result<Stat> {
        let attributes = *self.attributes.read();
        let (nlink, size, blocks, rdev) = match &self.content {
            Content::Regular { data, .. } => {
                let data = data.read();
                (attributes.nlink.into(), data.size(), data.blocks(), 0)
            }
            Content::Directory(names) => {
                let names = names.read();
                let nlink = match names.removed {
                    true => 0,
                    false => 2 + names.subdirectories,
                };
                (nlink, PAGE as u64, PAGE as u64 / 512, 0)
            }
            Content::Symlink(to) => (attributes.nlink.into(), to.len() as u64, 0, 0),
            Content::Device(device) => (attributes.nlink.into(), 0, 0, *device),
            Content::Fifo(_) | Content::Socket => (attributes.nlink.into(), 0, 0, 0),
        };
        Ok(Stat {
            dev: self.fs.info.dev,
            ino: self.ino,
            mode: self.kind.format() | attributes.permissions,
            nlink,
            uid: attributes.uid,
            gid: attributes.gid,
            rdev,
            size,
            blksize: PAGE as u64,
            blocks,
            atime: attributes.atime,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
        })
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn fs(&self) -> &'static FsInfo {
        self.fs.info
    }

    fn lookup(&self, _here: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>> {
        let names = self.directory()?;
        Self::check_name(name)?;
        // Looking takes so little time that sharing the lock, which costs another locked instruction, would not pay.
        names.write().get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn create(&self, here: &Arc<Dentry>, name: &[u8], new: NewFile) -> Result<Arc<Dentry>> {
        let names = self.directory()?;
        Self::check_name(name)?;
        let _changing = self.fs.changes.lock();
        if names.read().removed {
            return Err(Errno::ENOENT);
        }
        if names.read().get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let inode = self.inherit(new);
        let is_directory = inode.kind == Kind::Directory;
        let dentry = Dentry::new(here.clone(), name, inode);
        {
            let mut names = names.write();
            names.insert(name, dentry.clone())?;
            names.subdirectories += u64::from(is_directory);
        }
        self.modified();
        Ok(dentry)
    }

    fn create_unnamed(
        &self,
        here: &Arc<Dentry>,
        new: NewFile,
        linkable: bool,
    ) -> Result<Arc<Dentry>> {
        let inode = self.inherit(new);
        inode.set_unlinked();
        inode.attributes.write().linkable = linkable;
        let name = alloc::format!("#{}", inode.ino);
        let dentry = Dentry::new(here.clone(), name.as_bytes(), inode);
        dentry.set_removed();
        Ok(dentry)
    }

    fn link(&self, here: &Arc<Dentry>, name: &[u8], old: &Arc<Dentry>) -> Result<()> {
        let names = self.directory()?;
        Self::check_name(name)?;
        let inode = self.own(old).map_err(|_| Errno::EXDEV)?;
        let _changing = self.fs.changes.lock();
        if names.read().removed {
            return Err(Errno::ENOENT);
        }
        if names.read().get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        if inode.kind == Kind::Directory {
            return Err(Errno::EPERM);
        }
        {
            let attributes = inode.attributes.read();
            match attributes.nlink {
                0 if !attributes.linkable => return Err(Errno::ENOENT),
                u32::MAX => return Err(Errno::EMLINK),
                _ => {}
            }
        }
        let dentry = Dentry::new(here.clone(), name, old.inode.clone());
        names.write().insert(name, dentry)?;
        inode.add_links(1);
        self.modified();
        Ok(())
    }

    fn unlink(&self, here: &Arc<Dentry>, name: &[u8], directory: bool) -> Result<()> {
        let names = self.directory()?;
        let _changing = self.fs.changes.lock();
        let dentry = self.lookup(here, name)?;
        match (directory, dentry.inode.kind() == Kind::Directory) {
            (true, false) => return Err(Errno::ENOTDIR),
            (false, true) => return Err(Errno::EISDIR),
            _ => {}
        }
        if let Content::Directory(inner) = &self.own(&dentry)?.content {
            let mut inner = inner.write();
            if !inner.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            inner.removed = true;
        }
        {
            let mut names = names.write();
            names.remove(name);
            names.subdirectories -= u64::from(directory);
        }
        self.forget(&dentry);
        self.modified();
        Ok(())
    }

    fn rename(
        &self,
        here: &Arc<Dentry>,
        name: &[u8],
        to: &Arc<Dentry>,
        to_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.rename_to(here, name, to, to_name, flags)
    }

    fn list(&self, _here: &Arc<Dentry>, from: u64, to: &mut Lister<'_>) -> Result<()> {
        for (name, dentry, next) in self.directory()?.read().from(from) {
            let ino = match dentry.inode.as_any().downcast_ref::<RamInode>() {
                Some(inode) => inode.ino,
                None => dentry.inode.stat()?.ino,
            };
            let listed = Listed {
                name,
                ino,
                kind: dentry.inode.kind(),
                next,
            };
            if !to(listed)? {
                break;
            }
        }
        Ok(())
    }

    fn target(&self) -> Result<Target> {
        match &self.content {
            Content::Symlink(to) => Ok(Target::Path(to.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, here: &Arc<Dentry>, flags: u32) -> Result<Arc<dyn File>> {
        match &self.content {
            Content::Regular { .. } | Content::Directory(_) => Ok(here.clone()),
            Content::Symlink(_) => Err(Errno::ELOOP),
            Content::Device(device) => dev::open(self.kind, *device, flags),
            Content::Fifo(fifo) => fifo.open(flags),
            Content::Socket => Err(Errno::ENXIO),
        }
    }

    fn change(&self, changes: Changes) -> Result<()> {
        let now = clock::now();
        let mut attributes = self.attributes.write();
        if let Some(permissions) = changes.mode {
            attributes.permissions = permissions & 0o7777;
        }
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        attributes.atime = changes.atime.unwrap_or(attributes.atime);
        attributes.mtime = changes.mtime.unwrap_or(attributes.mtime);
        attributes.ctime = now;
        Ok(())
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.data()?.read().read(offset, sink)
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        let data = self.data()?;
        if source.remaining() == 0 {
            return Ok(0);
        }
        if self.sealed(seal::WRITE | seal::FUTURE_WRITE) {
            return Err(Errno::EPERM);
        }
        let n = {
            let mut data = data.write();
            let end = offset.saturating_add(source.remaining() as u64);
            if end > data.size() && self.sealed(seal::GROW) {
                return Err(Errno::EPERM);
            }
            data.write(offset, source)?
        };
        self.modified();
        Ok(n)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(u64, usize)> {
        let data = self.data()?;
        if self.sealed(seal::WRITE | seal::FUTURE_WRITE | seal::GROW) && source.remaining() > 0 {
            return Err(Errno::EPERM);
        }
        let (end, n) = {
            let mut data = data.write();
            let end = data.size();
            let n = data.write(end, source)?;
            (end + n as u64, n)
        };
        if n > 0 {
            self.modified();
        }
        Ok((end, n))
    }

    fn truncate(&self, size: u64) -> Result<()> {
        {
            let mut data = self.data()?.write();
            let sealed = match size.cmp(&data.size()) {
                core::cmp::Ordering::Less => self.sealed(seal::SHRINK),
                core::cmp::Ordering::Greater => self.sealed(seal::GROW),
                core::cmp::Ordering::Equal => false,
            };
            if sealed {
                return Err(Errno::EPERM);
            }
            data.truncate(size)?;
        }
        self.modified();
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, size: u64) -> Result<()> {
        const KEEP_SIZE: u32 = 1;
        const PUNCH_HOLE: u32 = 2;
        const ZERO_RANGE: u32 = 16;
        {
            let mut data = self.data()?.write();
            let end = offset.saturating_add(size);
            if self.sealed(seal::GROW) && mode & KEEP_SIZE == 0 && end > data.size() {
                return Err(Errno::EPERM);
            }
            if mode & (PUNCH_HOLE | ZERO_RANGE) != 0
                && self.sealed(seal::WRITE | seal::FUTURE_WRITE)
            {
                return Err(Errno::EPERM);
            }
            if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 {
                data.punch(offset, size)?;
            }
            if mode & PUNCH_HOLE == 0 {
                data.allocate(offset, size, mode & KEEP_SIZE != 0)?;
            }
        }
        self.modified();
        Ok(())
    }

    fn seek_data(&self, offset: u64, hole: bool) -> Result<u64> {
        match &self.content {
            Content::Regular { data, .. } => data.read().seek(offset, hole),
            _ => Err(Errno::EINVAL),
        }
    }

    fn image_offset(&self) -> Option<u64> {
        match &self.content {
            Content::Regular { data, .. } => data.read().image_offset(),
            _ => None,
        }
    }

    fn map_shared(&self, range: Arc<dyn SharedRange>) -> Result<()> {
        match &self.content {
            Content::Regular { data, .. } => data.write().map_shared(range),
            _ => Err(Errno::ENODEV),
        }
    }

    fn unmap_shared(&self, range: &Arc<dyn SharedRange>) -> Result<()> {
        self.data()?.write().unmap_shared(range)
    }

    fn is_mapped_shared(&self) -> bool {
        match &self.content {
            Content::Regular { data, .. } => data.read().is_mapped_shared(),
            _ => false,
        }
    }

    fn size(&self) -> Result<u64> {
        match &self.content {
            Content::Regular { data, .. } => Ok(data.read().size()),
            // Directories have no end that a position could be counted from; theirs is after every entry.
            Content::Directory(_) => Ok(i64::MAX as u64),
            _ => Ok(0),
        }
    }

    fn seals(&self) -> Option<&AtomicU32> {
        match &self.content {
            Content::Regular { seals, .. } => seals.as_deref(),
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
