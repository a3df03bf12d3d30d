//! Path resolution (path_resolution(7)), working directory.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::dentry::Dentry;
use super::file::Stat;
use super::inode::{mode, Kind, Target};
use crate::{Errno, Result};

/// Bytes of a path with its NUL.
pub const PATH_MAX: usize = 4096;

/// Symbolic links followed in one resolution.
const LINKS_MAX: u32 = 40;

/// Working directory, root directory and umask of a process, and who it is to the file systems.
#[derive(Clone)]
pub struct FsContext {
    /// Root directory.
    pub root: Arc<Dentry>,
    /// Working directory.
    pub cwd: Arc<Dentry>,
    /// Mask of permissions not given to new files.
    pub umask: u32,
    /// File system user; 0 may do everything.
    pub uid: u32,
    /// File system group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Default for FsContext {
    fn default() -> Self {
        let root = super::root();
        FsContext {
            cwd: root.clone(),
            root,
            umask: 0o022,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        }
    }
}

/// Permissions to ask for: read, write, search or execute (as in access(2)).
pub mod permission {
    #![allow(missing_docs)]
    pub const READ: u32 = 4;
    pub const WRITE: u32 = 2;
    pub const EXECUTE: u32 = 1;
}

impl FsContext {
    /// At the root, with a working directory.
    pub fn new(cwd: &[u8]) -> Result<FsContext> {
        let mut context = FsContext::default();
        context.cwd = context.directory(cwd)?;
        Ok(context)
    }

    /// The directory that a path names.
    pub fn directory(&self, path: &[u8]) -> Result<Arc<Dentry>> {
        let found = self.find(&self.cwd, path, true)?;
        match found.inode.kind() {
            Kind::Directory => Ok(found),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The file that a path names, from `base` if it is relative.
    pub fn find(&self, base: &Arc<Dentry>, path: &[u8], follow: bool) -> Result<Arc<Dentry>> {
        let walked = self.walk(base, path, follow, Rules::empty())?;
        walked.existing()
    }

    /// Where a path leads: the directory of its last name, and what stands there. A final symbolic link is followed
    /// when `follow` says so or a slash comes after it.
    pub fn walk<'a>(
        &self,
        base: &Arc<Dentry>,
        path: &'a [u8],
        follow: bool,
        rules: Rules,
    ) -> Result<Walked<'a>> {
        Walk::start(self, base, path, rules)?.run(Final::Lookup { follow })
    }

    /// As [`Self::walk`], for a regular file that is made if it is not there (O_CREAT): EISDIR when a slash follows its
    /// name, whatever stands there.
    pub fn walk_to_create<'a>(
        &self,
        base: &Arc<Dentry>,
        path: &'a [u8],
        follow: bool,
        rules: Rules,
    ) -> Result<Walked<'a>> {
        Walk::start(self, base, path, rules)?.run(Final::Create { follow })
    }

    /// The directory in which a name is to be made, removed or renamed, and the name; nothing is looked up there.
    pub fn parent<'a>(&self, base: &Arc<Dentry>, path: &'a [u8]) -> Result<Walked<'a>> {
        Walk::start(self, base, path, Rules::empty())?.run(Final::Parent)
    }

    /// EACCES unless the permissions (of [`permission`]) are given.
    pub fn permits(&self, dentry: &Dentry, wanted: u32) -> Result<()> {
        if self.uid == 0 && (wanted & permission::EXECUTE == 0 || is_directory(dentry)) {
            return Ok(());
        }
        self.permits_on(&dentry.inode.stat()?, wanted)
    }

    /// As [`Self::permits`], from facts in hand.
    pub fn permits_on(&self, stat: &Stat, wanted: u32) -> Result<()> {
        if self.uid == 0 {
            let executable = stat.mode & 0o111 != 0 || stat.mode & mode::S_IFMT == mode::S_IFDIR;
            return match wanted & permission::EXECUTE != 0 && !executable {
                true => Err(Errno::EACCES),
                false => Ok(()),
            };
        }
        let given = if stat.uid == self.uid {
            stat.mode >> 6
        } else if self.is_in_group(stat.gid) {
            stat.mode >> 3
        } else {
            stat.mode
        };
        match wanted & !given & 7 {
            0 => Ok(()),
            _ => Err(Errno::EACCES),
        }
    }

    /// The group is the process's or one of its supplementary ones.
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// EPERM unless the process owns the file or may do as if.
    pub fn owns(&self, stat: &Stat) -> Result<()> {
        match self.uid == 0 || self.uid == stat.uid {
            true => Ok(()),
            false => Err(Errno::EPERM),
        }
    }

    /// Absolute path of a file as the process sees it, and whether it is below its root at all.
    pub fn path_of(&self, dentry: &Arc<Dentry>) -> (Vec<u8>, bool) {
        dentry.path_below(Some(&self.root))
    }
}

fn is_directory(dentry: &Dentry) -> bool {
    dentry.inode.kind() == Kind::Directory
}

bitflags::bitflags! {
    /// RESOLVE_* of openat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rules: u64 {
        /// Not across mount points.
        const NO_XDEV = 1;
        /// Not through the links below /proc/PID.
        const NO_MAGICLINKS = 2;
        /// Not through symbolic links.
        const NO_SYMLINKS = 4;
        /// Not out of the starting directory.
        const BENEATH = 8;
        /// The starting directory is the root.
        const IN_ROOT = 16;
    }
}

/// The last part of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name.
    Name,
    /// `.`, or nothing after the root.
    Here,
    /// `..`.
    Up,
}

/// Where a path leads.
pub struct Walked<'a> {
    /// The directory of the last name.
    pub directory: Arc<Dentry>,
    /// What the last part is.
    pub last: Last,
    /// What stands there; `None` when there is no such name or it was not looked up.
    pub found: Option<Arc<Dentry>>,
    /// A slash follows the last name.
    pub slash: bool,
    path: Cow<'a, [u8]>,
    name: (usize, usize),
}

impl Walked<'_> {
    /// The last name.
    pub fn name(&self) -> &[u8] {
        &self.path[self.name.0..self.name.1]
    }

    /// What stands there, ENOENT if nothing does.
    pub fn existing(self) -> Result<Arc<Dentry>> {
        self.found.ok_or(Errno::ENOENT)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Final {
    Lookup { follow: bool },
    Create { follow: bool },
    Parent,
}

impl Final {
    fn follows(self) -> bool {
        matches!(
            self,
            Final::Lookup { follow: true } | Final::Create { follow: true }
        )
    }
}

struct Walk<'a, 'c> {
    context: &'c FsContext,
    /// Neither `..` nor an absolute link leads above it.
    root: &'c Arc<Dentry>,
    /// Where it began.
    start: &'c Arc<Dentry>,
    /// Where it is, once that is elsewhere.
    moved: Option<Arc<Dentry>>,
    path: Cow<'a, [u8]>,
    next: usize,
    links: u32,
    rules: Rules,
}

impl<'a, 'c> Walk<'a, 'c> {
    fn start(
        context: &'c FsContext,
        base: &'c Arc<Dentry>,
        path: &'a [u8],
        rules: Rules,
    ) -> Result<Self> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let confined = rules.intersects(Rules::BENEATH | Rules::IN_ROOT);
        let root = if confined { base } else { &context.root };
        let absolute = path[0] == b'/';
        if absolute && rules.contains(Rules::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let start = if absolute { root } else { base };
        if !absolute && !is_directory(start) {
            return Err(Errno::ENOTDIR);
        }
        Ok(Walk {
            context,
            root,
            start,
            moved: None,
            path: Cow::Borrowed(path),
            next: 0,
            links: 0,
            rules,
        })
    }

    fn at(&self) -> &Arc<Dentry> {
        self.moved.as_ref().unwrap_or(self.start)
    }

    fn run(mut self, last: Final) -> Result<Walked<'a>> {
        loop {
            let Some((from, to)) = self.next_name() else {
                // Nothing but slashes: the root itself.
                let found = (last != Final::Parent).then(|| self.at().clone());
                let end = self.next;
                return Ok(self.walked(Last::Here, (end, end), found, true));
            };
            let name = &self.path[from..to];
            let rest = &self.path[to..];
            let slash = !rest.is_empty();
            let is_last = rest.iter().all(|&byte| byte == b'/');

            self.context.permits(self.at(), permission::EXECUTE)?;
            let kind = match name {
                b"." => Last::Here,
                b".." => Last::Up,
                _ => Last::Name,
            };
            if is_last && last == Final::Parent {
                return Ok(self.walked(kind, (from, to), None, slash));
            }
            let found = match kind {
                Last::Here => Ok(self.at().clone()),
                Last::Up => self.up(),
                Last::Name if is_last && slash && matches!(last, Final::Create { .. }) => {
                    return Err(Errno::EISDIR)
                }
                Last::Name => self.at().inode.lookup(self.at(), name),
            };
            let found = match found {
                Err(Errno::ENOENT) if is_last => {
                    return Ok(self.walked(kind, (from, to), None, slash))
                }
                found => found?,
            };
            self.next = to;
            if found.inode.kind() == Kind::Symlink && (!is_last || slash || last.follows()) {
                if self.follow(&found)? {
                    continue;
                }
                // A jump in the last place.
                let at = self.at().clone();
                if slash && !is_directory(&at) {
                    return Err(Errno::ENOTDIR);
                }
                return Ok(self.walked(kind, (from, to), Some(at), slash));
            }
            self.check_mount(&found)?;
            if is_last {
                if slash && !is_directory(&found) {
                    return Err(Errno::ENOTDIR);
                }
                return Ok(self.walked(kind, (from, to), Some(found), slash));
            }
            if !is_directory(&found) {
                return Err(Errno::ENOTDIR);
            }
            self.moved = Some(found);
        }
    }

    /// Where the next name lies in the path.
    fn next_name(&self) -> Option<(usize, usize)> {
        let skipped = self.path[self.next..].iter().position(|&b| b != b'/')?;
        let from = self.next + skipped;
        let size = self.path[from..].iter().position(|&b| b == b'/');
        Some((from, size.map_or(self.path.len(), |size| from + size)))
    }

    fn up(&self) -> Result<Arc<Dentry>> {
        if Arc::ptr_eq(self.at(), self.root) {
            return match self.rules.contains(Rules::BENEATH) {
                true => Err(Errno::EXDEV),
                false => Ok(self.at().clone()),
            };
        }
        Ok(self.at().parent().unwrap_or_else(|| self.at().clone()))
    }

    fn check_mount(&self, found: &Arc<Dentry>) -> Result<()> {
        if self.rules.contains(Rules::NO_XDEV) && found.inode.fs().dev != self.at().inode.fs().dev {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// Goes on with what a link leads to: true when there is a path to walk, false when the walk is at its end.
    fn follow(&mut self, link: &Arc<Dentry>) -> Result<bool> {
        self.links += 1;
        if self.links > LINKS_MAX || self.rules.contains(Rules::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        let rest = &self.path[self.next..];
        match link.inode.target()? {
            Target::Path(mut path) => {
                if path.is_empty() {
                    return Err(Errno::ENOENT);
                }
                if path[0] == b'/' {
                    if self.rules.contains(Rules::BENEATH) {
                        return Err(Errno::EXDEV);
                    }
                    self.moved = Some(self.root.clone());
                }
                path.extend_from_slice(rest);
                self.path = Cow::Owned(path);
                self.next = 0;
                Ok(true)
            }
            Target::Jump(to) => {
                let confined = Rules::NO_MAGICLINKS | Rules::BENEATH | Rules::IN_ROOT;
                if self.rules.intersects(confined) {
                    return Err(match self.rules.contains(Rules::NO_MAGICLINKS) {
                        true => Errno::ELOOP,
                        false => Errno::EXDEV,
                    });
                }
                self.check_mount(&to)?;
                let ends = rest.iter().all(|&byte| byte == b'/');
                if !ends && !is_directory(&to) {
                    return Err(Errno::ENOTDIR);
                }
                self.moved = Some(to);
                Ok(!ends)
            }
        }
    }

    fn walked(
        self,
        last: Last,
        name: (usize, usize),
        found: Option<Arc<Dentry>>,
        slash: bool,
    ) -> Walked<'a> {
        Walked {
            directory: self.moved.unwrap_or_else(|| self.start.clone()),
            last,
            found,
            slash,
            path: self.path,
            name,
        }
    }
}

#[cfg(test)]
mod tests;
