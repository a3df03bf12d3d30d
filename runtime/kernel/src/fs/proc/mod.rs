//! /proc.
//!
//! * [`system`]: what is about the system as a whole.
//! * [`process`]: what is about a process or thread; [`status`]: its longer texts.
//! * [`descriptors`]: its open files.
//! * [`mounts`]: what is mounted.

pub mod descriptors;
pub mod mounts;
pub mod process;
pub mod status;
pub mod system;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use self::process::ProcessDirectory;
use super::dentry::Dentry;
use super::inode::{Kind, Target};
use super::pseudo::{mount_at, Directory, FixedDirectory, Link, Name, Node, What};
use super::ramfs::image::mount_over;
use super::PROC_FS;
use crate::process::{first, thread, Process};
use crate::{Errno, Result};

/// Mounts /proc.
pub fn mount(root: &Arc<Dentry>) {
    let proc = mount_at(&PROC_FS, Arc::new(Root), root, b"proc");
    mount_over(root, b"proc", &proc);
}

/// The process that asks.
fn own_process() -> Arc<Process> {
    thread::current().process.clone()
}

/// The process of an ID, or that of a thread of that ID.
fn process_of(id: u32) -> Result<Arc<Process>> {
    match first() {
        Some(process) if process.pid == id || process.thread(id).is_some() => Ok(process.clone()),
        _ => Err(Errno::ENOENT),
    }
}

/// A number written as Linux writes it: without sign or leading zeros.
fn number(name: &[u8]) -> Result<u32> {
    let text = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
    let plain = text == "0" || !text.starts_with(['0', '+']);
    match text.parse() {
        Ok(number) if plain => Ok(number),
        _ => Err(Errno::ENOENT),
    }
}

struct Root;

const FIXED: FixedDirectory = FixedDirectory(system::FILES);

/// Where processes stand in the listing: after everything else, each at its ID.
const PROCESSES: u64 = 1 << 16;

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        match name {
            b"self" => Ok(link(Own::Process)),
            b"thread-self" => Ok(link(Own::Thread)),
            _ => match FIXED.lookup(name) {
                Err(Errno::ENOENT) => {
                    let process = process_of(number(name)?)?;
                    Ok(ProcessDirectory::of_process(&process))
                }
                found => found,
            },
        }
    }

    fn list(&self) -> Result<Vec<Name>> {
        let mut names = FIXED.list()?;
        let next = names.len() as u64;
        for (name, position) in [("self", next), ("thread-self", next + 1)] {
            names.push(Name {
                position,
                name: name.as_bytes().into(),
                kind: Kind::Symlink,
            });
        }
        names.extend(first().map(|process| Name {
            position: PROCESSES + u64::from(process.pid),
            name: format!("{}", process.pid).into_bytes().into(),
            kind: Kind::Directory,
        }));
        Ok(names)
    }

    fn nlink(&self) -> u64 {
        FIXED.nlink() + 1
    }
}

fn link(own: Own) -> Node {
    Node {
        mode: 0o777,
        what: What::Link(Arc::new(own)),
    }
}

/// /proc/self and /proc/thread-self.
enum Own {
    Process,
    Thread,
}

impl Link for Own {
    fn target(&self) -> Result<Target> {
        let thread = thread::current();
        let pid = thread.process.pid;
        let path = match self {
            Own::Process => format!("{pid}"),
            Own::Thread => format!("{pid}/task/{}", thread.tid),
        };
        Ok(Target::Path(path.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_name_processes() {
        assert_eq!(number(b"101"), Ok(101));
        for name in [
            &b"+1"[..],
            b"01",
            b"-1",
            b"",
            b"1a",
            b"99999999999",
            b"\xff",
        ] {
            assert_eq!(number(name), Err(Errno::ENOENT));
        }
    }
}
