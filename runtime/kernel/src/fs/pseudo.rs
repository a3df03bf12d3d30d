//! File systems whose files are made when they are looked at: /proc and /sys.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use mystikos_platform::enclu;
use mystikos_platform::sync::Mutex;

use super::dentry::Dentry;
use super::file::{File, OpenFile, Stat};
use super::inode::{FsInfo, Inode, Kind, Listed, Lister, Target};
use super::io::{Sink, Source};
use super::{clock, open::flag};
use crate::{Errno, Result};

/// A directory that is made when it is looked at.
pub trait Directory: Send + Sync {
    /// What a name stands for, ENOENT if nothing.
    fn lookup(&self, name: &[u8]) -> Result<Node>;

    /// Names in ascending order of their positions; a name keeps its position.
    fn list(&self) -> Result<Vec<Name>>;

    /// Links of the directory.
    fn nlink(&self) -> u64 {
        2
    }
}

/// A name in a [`Directory`].
pub struct Name {
    /// Where it stands in the listing.
    pub position: u64,
    /// The name.
    pub name: Cow<'static, [u8]>,
    /// What it is.
    pub kind: Kind,
}

/// The text of a file.
pub trait Content: Send + Sync {
    /// All of it, as it is now.
    fn read(&self) -> Result<Vec<u8>>;

    /// Takes what the application writes in one piece.
    fn write(&self, _bytes: &[u8]) -> Result<()> {
        Err(Errno::EACCES)
    }

    /// Takes what the application writes at an offset, and returns how much of it. Most files take no notice of where.
    fn write_at(&self, _offset: u64, bytes: &[u8]) -> Result<usize> {
        self.write(bytes).map(|()| bytes.len())
    }

    /// Bytes, where they are always as many; else stat(2) tells 0.
    fn size(&self) -> Option<u64> {
        None
    }

    /// Each look sees what the file holds now, and not what it held when its start was read.
    fn is_live(&self) -> bool {
        false
    }

    /// Makes it so long. Where nothing is stored there is nothing to do: O_TRUNC before writing is what shells do.
    fn truncate(&self, _size: u64) -> Result<()> {
        Ok(())
    }
}

/// A text that depends on nothing but the state of the kernel.
impl Content for fn() -> Vec<u8> {
    fn read(&self) -> Result<Vec<u8>> {
        Ok(self())
    }
}

/// Where a link leads.
pub trait Link: Send + Sync {
    /// The file or the path.
    fn target(&self) -> Result<Target>;

    /// The text, where it is not the path of the target.
    fn text(&self) -> Result<Vec<u8>> {
        match self.target()? {
            Target::Path(path) => Ok(path),
            Target::Jump(dentry) => Ok(dentry.path()),
        }
    }
}

/// What a name stands for.
pub struct Node {
    /// Permissions.
    pub mode: u32,
    /// Directory, text or link.
    pub what: What,
}

/// The kinds of [`Node`].
#[allow(missing_docs)]
pub enum What {
    Directory(Arc<dyn Directory>),
    Content(Arc<dyn Content>),
    Link(Arc<dyn Link>),
}

impl What {
    fn kind(&self) -> Kind {
        match self {
            What::Directory(_) => Kind::Directory,
            What::Content(_) => Kind::Regular,
            What::Link(_) => Kind::Symlink,
        }
    }
}

/// An entry of a directory whose names are always the same.
pub struct Fixed {
    /// Name.
    pub name: &'static str,
    /// What it stands for.
    pub what: FixedWhat,
}

/// What a [`Fixed`] name stands for.
#[allow(missing_docs)]
pub enum FixedWhat {
    Directory(&'static [Fixed]),
    Text(fn() -> Vec<u8>),
    Link(&'static str),
}

impl Fixed {
    /// A directory.
    pub const fn directory(name: &'static str, entries: &'static [Fixed]) -> Self {
        Fixed {
            name,
            what: FixedWhat::Directory(entries),
        }
    }

    /// A file.
    pub const fn text(name: &'static str, make: fn() -> Vec<u8>) -> Self {
        Fixed {
            name,
            what: FixedWhat::Text(make),
        }
    }

    /// A symbolic link.
    pub const fn link(name: &'static str, target: &'static str) -> Self {
        Fixed {
            name,
            what: FixedWhat::Link(target),
        }
    }

    fn kind(&self) -> Kind {
        match self.what {
            FixedWhat::Directory(_) => Kind::Directory,
            FixedWhat::Text(_) => Kind::Regular,
            FixedWhat::Link(_) => Kind::Symlink,
        }
    }

    fn node(&self) -> Node {
        match self.what {
            FixedWhat::Directory(entries) => Node {
                mode: 0o555,
                what: What::Directory(Arc::new(FixedDirectory(entries))),
            },
            FixedWhat::Text(make) => Node {
                mode: 0o444,
                what: What::Content(Arc::new(make)),
            },
            FixedWhat::Link(target) => Node {
                mode: 0o777,
                what: What::Link(Arc::new(FixedLink(target))),
            },
        }
    }
}

/// A directory whose names are always the same.
pub struct FixedDirectory(pub &'static [Fixed]);

impl Directory for FixedDirectory {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let found = self.0.iter().find(|entry| entry.name.as_bytes() == name);
        found.map(Fixed::node).ok_or(Errno::ENOENT)
    }

    fn list(&self) -> Result<Vec<Name>> {
        let names = self.0.iter().zip(0..).map(|(entry, position)| Name {
            position,
            name: entry.name.as_bytes().into(),
            kind: entry.kind(),
        });
        Ok(names.collect())
    }

    fn nlink(&self) -> u64 {
        let directories = self.0.iter().filter(|e| e.kind() == Kind::Directory);
        2 + directories.count() as u64
    }
}

/// A link to a path that is always the same.
pub struct FixedLink(pub &'static str);

impl Link for FixedLink {
    fn target(&self) -> Result<Target> {
        Ok(Target::Path(self.0.as_bytes().to_vec()))
    }
}

/// A file of such a file system.
pub struct PseudoInode {
    info: &'static FsInfo,
    ino: u64,
    node: Node,
}

/// The root of such a file system at a name of another one.
pub fn mount_at(
    info: &'static FsInfo,
    root: Arc<dyn Directory>,
    parent: &Arc<Dentry>,
    name: &[u8],
) -> Arc<Dentry> {
    let inode = PseudoInode {
        info,
        ino: 1,
        node: Node {
            mode: 0o555,
            what: What::Directory(root),
        },
    };
    Dentry::new(parent.clone(), name, Arc::new(inode))
}

/// The inode number of a name: always the same for one path.
fn child_ino(parent: u64, name: &[u8]) -> u64 {
    const PRIME: u64 = 0x100_0000_01b3;
    let start = (0xcbf2_9ce4_8422_2325 ^ parent).wrapping_mul(PRIME);
    let hash = name.iter().fold(start, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    // Not negative for anyone, and neither 0 nor the root's.
    hash >> 1 | 2
}

impl Inode for PseudoInode {
    fn stat(&self) -> Result<Stat> {
        let now = clock::now();
        let (nlink, size) = match &self.node.what {
            What::Directory(directory) => (directory.nlink(), 0),
            What::Content(content) => (1, content.size().unwrap_or(0)),
            What::Link(_) => (1, 0),
        };
        Ok(Stat {
            dev: self.info.dev,
            ino: self.ino,
            mode: self.kind().format() | self.node.mode,
            nlink,
            size,
            blksize: 1024,
            atime: now,
            mtime: now,
            ctime: now,
            ..Stat::default()
        })
    }

    fn kind(&self) -> Kind {
        self.node.what.kind()
    }

    fn fs(&self) -> &'static FsInfo {
        self.info
    }

    fn lookup(&self, here: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>> {
        let What::Directory(directory) = &self.node.what else {
            return Err(Errno::ENOTDIR);
        };
        let inode = PseudoInode {
            info: self.info,
            ino: child_ino(self.ino, name),
            node: directory.lookup(name)?,
        };
        Ok(Dentry::new(here.clone(), name, Arc::new(inode)))
    }

    fn list(&self, _here: &Arc<Dentry>, from: u64, to: &mut Lister<'_>) -> Result<()> {
        const FIRST: u64 = 2;
        let What::Directory(directory) = &self.node.what else {
            return Err(Errno::ENOTDIR);
        };
        for entry in directory.list()? {
            let position = FIRST + entry.position;
            if position < from {
                continue;
            }
            let listed = Listed {
                name: &entry.name,
                ino: child_ino(self.ino, &entry.name),
                kind: entry.kind,
                next: position + 1,
            };
            if !to(listed)? {
                break;
            }
        }
        Ok(())
    }

    fn create(
        &self,
        _here: &Arc<Dentry>,
        _name: &[u8],
        _new: super::inode::NewFile,
    ) -> Result<Arc<Dentry>> {
        // As Linux answers in /proc, where no name can be made.
        Err(Errno::ENOENT)
    }

    fn target(&self) -> Result<Target> {
        match &self.node.what {
            What::Link(link) => link.target(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.node.what {
            What::Link(link) => link.text(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, here: &Arc<Dentry>, flags: u32) -> Result<Arc<dyn File>> {
        match &self.node.what {
            What::Directory(_) => Ok(here.clone()),
            What::Link(_) => Err(Errno::ELOOP),
            What::Content(content) => {
                if flags & flag::ACCMODE != 0 && self.node.mode & 0o222 == 0 {
                    return Err(Errno::EACCES);
                }
                Ok(Arc::new(Text {
                    inode: here.inode.clone(),
                    content: content.clone(),
                    made: Mutex::new(None),
                }))
            }
        }
    }

    fn truncate(&self, size: u64) -> Result<()> {
        match &self.node.what {
            What::Content(content) => content.truncate(size),
            _ => Ok(()),
        }
    }

    fn size(&self) -> Result<u64> {
        match &self.node.what {
            What::Directory(_) => Ok(i64::MAX as u64),
            What::Content(content) => Ok(content.size().unwrap_or(0)),
            What::Link(_) => Ok(0),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open file whose text is made when its start is read, so that what is read in pieces belongs together.
struct Text {
    inode: Arc<dyn Inode>,
    content: Arc<dyn Content>,
    made: Mutex<Option<Arc<Made>>>,
}

/// A text, which may be a secret: it leaves nothing in the heap.
struct Made(Vec<u8>);

impl Drop for Made {
    fn drop(&mut self) {
        enclu::wipe(&mut self.0);
    }
}

impl Text {
    fn text(&self, offset: u64) -> Result<Arc<Made>> {
        if offset > 0 && !self.content.is_live() {
            if let Some(made) = &*self.made.lock() {
                return Ok(made.clone());
            }
        }
        let text = Arc::new(Made(self.content.read()?));
        *self.made.lock() = Some(text.clone());
        Ok(text)
    }
}

impl File for Text {
    fn stat(&self) -> Result<Stat> {
        self.inode.stat()
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        let mut position = description.position.lock();
        let n = self.read_at(*position, sink)?;
        *position += n as u64;
        Ok(n)
    }

    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        let mut position = description.position.lock();
        let n = self.write_at(*position, source)?;
        *position += n as u64;
        Ok(n)
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let text = self.text(offset)?;
        let left = usize::try_from(offset)
            .ok()
            .and_then(|offset| text.0.get(offset..))
            .unwrap_or(&[]);
        match left.len().min(sink.remaining()) {
            0 => Ok(0),
            n => sink.put(&left[..n]),
        }
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        let mut bytes = [0; 512];
        let n = source.remaining().min(bytes.len());
        let n = source.take(&mut bytes[..n])?;
        self.content.write_at(offset, &bytes[..n])
    }

    fn truncate(&self, size: u64) -> Result<()> {
        match self.content.size() {
            Some(_) => self.content.truncate(size),
            None => Err(Errno::EINVAL),
        }
    }

    fn seek(&self, description: &OpenFile, offset: i64, whence: u32) -> Result<u64> {
        let mut position = description.position.lock();
        let from = match whence {
            0 => 0,
            1 => *position as i64,
            2 => self.content.size().ok_or(Errno::EINVAL)? as i64,
            _ => return Err(Errno::EINVAL),
        };
        let to = from.checked_add(offset).ok_or(Errno::EINVAL)?;
        *position = u64::try_from(to).map_err(|_| Errno::EINVAL)?;
        Ok(*position)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
