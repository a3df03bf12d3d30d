//! Filling the root file system from its image.

use alloc::sync::Arc;

use hashbrown::HashMap;

use super::data::Data;
use super::{RamFs, RamInode, NAME_MAX};
use crate::fs::cpio::{Corrupt, Entries, Entry};
use crate::fs::dentry::Dentry;
use crate::fs::inode::{FsInfo, Kind, NewFile, What};
use crate::Errno;

/// The tree that an archive describes. The image is measured, so an error is a defect of the packager.
pub fn mount(info: &'static FsInfo, image: &'static [u8]) -> Result<Arc<Dentry>, Corrupt> {
    let fs = RamFs::new(info);
    let root = Dentry::detached(b"", RamInode::from_image(&fs, (0o755, 0, 0), 0, None));
    // An empty image (the root file system is elsewhere) is zeros.
    if image.iter().take(512).all(|&byte| byte == 0) {
        return Ok(root);
    }
    let mut filling = Filling {
        fs,
        root,
        links: HashMap::default(),
        last_directory: None,
    };
    for entry in Entries::new(image) {
        let entry = entry?;
        filling.add(&entry).map_err(|what| Corrupt {
            offset: entry.offset,
            what,
        })?;
    }
    Ok(filling.root)
}

struct Filling {
    fs: Arc<RamFs>,
    root: Arc<Dentry>,
    /// Files with several names, by the number that these share.
    links: HashMap<u32, Arc<RamInode>>,
    /// Entries are sorted, so that many in a row are in one directory.
    last_directory: Option<(&'static [u8], Arc<Dentry>)>,
}

impl Filling {
    fn add(&mut self, entry: &Entry<'static>) -> Result<(), &'static str> {
        let owner = (entry.mode & 0o7777, entry.uid, entry.gid);
        let mtime = i128::from(entry.mtime) * 1_000_000_000;
        let kind = Kind::of(entry.mode);
        if entry.path == b"." {
            let inode = RamInode::from_image(&self.fs, owner, mtime, None);
            if kind != Some(Kind::Directory) {
                return Err("the root is not a directory");
            }
            if !self.root.inode.as_any().is::<RamInode>() || self.has_names() {
                return Err("the root comes after other entries");
            }
            self.root = Dentry::detached(b"", inode);
            return Ok(());
        }
        let (directory, name) = match entry.path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&entry.path[..slash], &entry.path[slash + 1..]),
            None => (&b""[..], entry.path),
        };
        if entry.path.starts_with(b"/")
            || name.is_empty()
            || name == b"."
            || name == b".."
            || name.len() > NAME_MAX
        {
            return Err("a path that is not in its plain form");
        }
        let parent = self.directory(directory)?;
        let inode = match kind {
            Some(Kind::Regular) => self.regular(entry, owner, mtime),
            Some(Kind::Directory) => RamInode::from_image(&self.fs, owner, mtime, None),
            Some(Kind::Symlink) => {
                let inode = RamInode::from_image(&self.fs, owner, mtime, Some(entry.data));
                inode.add_measured_link();
                inode
            }
            _ => return Err("neither a file nor a directory nor a symbolic link"),
        };
        if parent.inode.lookup(&parent, name).is_ok() {
            return Err("a path that was there before");
        }
        let dentry = Dentry::new(parent.clone(), name, inode);
        graft(&parent, name, &dentry).map_err(|_| "no memory for the root file system")
    }

    fn has_names(&self) -> bool {
        let root = self.root.inode.as_any().downcast_ref::<RamInode>();
        root.and_then(|inode| inode.directory().ok())
            .is_some_and(|names| !names.read().is_empty())
    }

    /// A regular file. Of its names, the last carries the content.
    fn regular(
        &mut self,
        entry: &Entry<'static>,
        owner: (u32, u32, u32),
        mtime: i128,
    ) -> Arc<RamInode> {
        let data = Data::measured(entry.data, entry.data_offset as u64);
        if entry.nlink < 2 {
            let inode = RamInode::measured(&self.fs, owner, mtime, data);
            inode.add_measured_link();
            return inode;
        }
        let fs = &self.fs;
        let inode = self
            .links
            .entry(entry.ino)
            .or_insert_with(|| RamInode::measured(fs, owner, mtime, Data::default()));
        if !entry.data.is_empty() {
            inode.set_measured_data(data);
        }
        inode.add_measured_link();
        inode.clone()
    }

    fn directory(&mut self, path: &'static [u8]) -> Result<Arc<Dentry>, &'static str> {
        match &self.last_directory {
            Some((last, dentry)) if *last == path => return Ok(dentry.clone()),
            _ => {}
        }
        let mut at = self.root.clone();
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|_| !path.is_empty())
        {
            at = at
                .inode
                .lookup(&at, name)
                .map_err(|_| "a path in a directory that does not come before it")?;
            if at.inode.kind() != Kind::Directory {
                return Err("a path below something that is not a directory");
            }
        }
        self.last_directory = Some((path, at.clone()));
        Ok(at)
    }
}

/// Puts the root of another file system where the image has a directory for it, or nothing, or anything else.
pub fn mount_over(parent: &Arc<Dentry>, name: &[u8], root: &Arc<Dentry>) {
    graft(parent, name, root).expect("no memory for the mount points");
}

/// Makes a directory that programs expect, unless the name is there already, whatever it is.
pub fn ensure_directory(parent: &Arc<Dentry>, name: &[u8], permissions: u32) {
    let new = NewFile {
        what: What::Directory,
        mode: permissions,
        uid: 0,
        gid: 0,
    };
    match parent.inode.create(parent, name, new) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(error) => panic!("a directory of the root file system cannot be made: {error:?}"),
    }
}

/// Adds a name while the tree is being built, before anything else can see it.
fn graft(parent: &Arc<Dentry>, name: &[u8], child: &Arc<Dentry>) -> crate::Result<()> {
    let Some(directory) = parent.inode.as_any().downcast_ref::<RamInode>() else {
        return Err(Errno::ENOTDIR);
    };
    let mut names = directory.directory()?.write();
    if child.inode.kind() == Kind::Directory {
        names.subdirectories += 1;
    }
    match names.get(name) {
        Some(_) => {
            names.subdirectories -= u64::from(child.inode.kind() == Kind::Directory);
            names.replace(name, child.clone());
            Ok(())
        }
        None => names.insert(name, child.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::cpio::tests::Writer;
    use crate::fs::io::BufferSink;
    use crate::fs::ROOT_FS;

    fn tree(writer: Writer) -> Result<Arc<Dentry>, Corrupt> {
        mount(&ROOT_FS, writer.finish().leak())
    }

    fn child(at: &Arc<Dentry>, name: &str) -> Arc<Dentry> {
        at.inode.lookup(at, name.as_bytes()).unwrap()
    }

    fn content(of: &Arc<Dentry>) -> Vec<u8> {
        let mut buffer = [0; 100];
        let mut sink = BufferSink::new(&mut buffer);
        let n = of.inode.read_at(0, &mut sink).unwrap();
        buffer[..n].to_vec()
    }

    #[test]
    fn hard_links_share_the_content_that_the_last_of_them_carries() {
        let root = tree(
            Writer::default()
                .directory(".")
                .add("a", 0o100755, 2, 3, b"")
                .add("b", 0o100755, 2, 3, b"")
                .add("c", 0o100755, 2, 3, b"content"),
        )
        .unwrap();
        let (a, c) = (child(&root, "a"), child(&root, "c"));
        assert_eq!(content(&a), b"content");
        assert!(Arc::ptr_eq(&a.inode, &c.inode));
        assert_eq!(a.inode.stat().unwrap().nlink, 3);
        assert!(a.inode.image_offset().is_some());
    }

    #[test]
    fn directories_know_their_links_and_paths() {
        let root = tree(
            Writer::default()
                .directory(".")
                .directory("x")
                .directory("x/y")
                .file("x/y/f", b"1"),
        )
        .unwrap();
        let x = child(&root, "x");
        assert_eq!(x.inode.stat().unwrap().nlink, 3);
        assert_eq!(child(&child(&x, "y"), "f").path(), b"/x/y/f");
    }

    #[test]
    fn an_empty_image_is_an_empty_root() {
        let root = mount(&ROOT_FS, Vec::leak(vec![0; 4096])).unwrap();
        assert!(root.inode.lookup(&root, b"a").is_err());
    }

    #[test]
    fn hostile_paths_are_refused() {
        let refused = [
            Writer::default().file("../a", b""),
            Writer::default().file("/a", b""),
            Writer::default().file("a/b", b""),
            Writer::default().file("a", b"").file("a", b""),
            Writer::default().file("a", b"").file("a/b", b""),
            Writer::default().file("", b""),
            Writer::default().directory("a").file("a/", b""),
            Writer::default().directory("a").file("a//b", b""),
            Writer::default().directory("a").file("a/..", b""),
            Writer::default()
                .link("l", "a")
                .directory("a")
                .file("l/b", b""),
            Writer::default().file(".", b""),
            Writer::default().file("a", b"").directory("."),
            Writer::default().add("dev", 0o020644, 1, 1, b""),
            Writer::default().file(&"n".repeat(256), b""),
        ];
        for (index, writer) in refused.into_iter().enumerate() {
            assert!(tree(writer).is_err(), "archive {index}");
        }
    }
}
