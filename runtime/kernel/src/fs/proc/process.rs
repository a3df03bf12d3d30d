//! What /proc/PID and /proc/PID/task/TID tell.

use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use super::descriptors::{self, Descriptors};
use super::{mounts, number, status};
use crate::fs::dentry::Dentry;
use crate::fs::inode::{Kind, Target};
use crate::fs::path::FsContext;
use crate::fs::pseudo::{Content, Directory, Link, Name, Node, What};
use crate::process::thread::NAME_SIZE;
use crate::process::{Process, Thread};
use crate::{Errno, Result};

/// /proc/PID, or /proc/PID/task/TID with a thread.
pub struct ProcessDirectory {
    process: Weak<Process>,
    thread: Option<Weak<Thread>>,
}

/// What a text is about: the process, and the thread whose directory it is in (the first one in /proc/PID).
pub struct Subject {
    /// The process.
    pub process: Arc<Process>,
    /// The thread; `None` when the first thread has ended and the process goes on.
    pub thread: Option<Arc<Thread>>,
}

type Make = fn(&Subject) -> Result<Vec<u8>>;

/// The texts, with their permissions.
const TEXTS: &[(&str, u32, Make)] = &[
    ("auxv", 0o400, |s| Ok(auxv(&s.process))),
    ("cgroup", 0o444, |_| Ok(b"0::/\n".to_vec())),
    ("cmdline", 0o444, |s| {
        Ok(strings(&s.process.program.read().arguments))
    }),
    ("comm", 0o644, comm),
    ("environ", 0o400, |s| {
        Ok(strings(&s.process.program.read().environment))
    }),
    ("limits", 0o444, |s| Ok(status::limits(&s.process))),
    ("loginuid", 0o644, |_| Ok(b"4294967295".to_vec())),
    ("maps", 0o444, |_| Ok(status::maps())),
    ("mountinfo", 0o444, |_| Ok(mounts::mountinfo())),
    ("mounts", 0o444, |_| Ok(mounts::mounts())),
    ("mountstats", 0o400, |_| Ok(mounts::mountstats())),
    ("oom_adj", 0o644, |_| Ok(b"0\n".to_vec())),
    ("oom_score", 0o444, |_| Ok(b"0\n".to_vec())),
    ("oom_score_adj", 0o644, |_| Ok(b"0\n".to_vec())),
    ("personality", 0o400, |_| Ok(b"00000000\n".to_vec())),
    ("sessionid", 0o444, |_| Ok(b"4294967295".to_vec())),
    ("stat", 0o444, status::stat),
    ("statm", 0o444, |_| Ok(status::statm())),
    ("status", 0o444, status::status),
];

type Find = fn(&Process) -> Result<Arc<Dentry>>;

/// The links of a process.
const LINKS: &[(&str, Find)] = &[
    ("cwd", |process| Ok(process.fs.read().cwd.clone())),
    ("exe", executable),
    ("root", |process| Ok(process.fs.read().root.clone())),
];

/// The directories of a process; `task` is only in that of the process itself.
const DIRECTORIES: [&str; 4] = ["fd", "fdinfo", "net", "task"];

/// Where texts and links stand in the listing, after the directories.
const FIRST_LINK: u64 = 16;
const FIRST_TEXT: u64 = 32;

impl ProcessDirectory {
    /// /proc/PID.
    pub fn of_process(process: &Arc<Process>) -> Node {
        directory(ProcessDirectory {
            process: Arc::downgrade(process),
            thread: None,
        })
    }

    fn process(&self) -> Result<Arc<Process>> {
        self.process.upgrade().ok_or(Errno::ESRCH)
    }

    fn inner(&self, name: &str) -> Result<Node> {
        let process = self.process.clone();
        Ok(match name {
            "fd" => descriptors::node(Descriptors::links(process)),
            "fdinfo" => descriptors::node(Descriptors::facts(process)),
            "net" => directory(Net),
            _ => directory(Tasks(process)),
        })
    }
}

fn directory(directory: impl Directory + 'static) -> Node {
    Node {
        mode: 0o555,
        what: What::Directory(Arc::new(directory)),
    }
}

impl Directory for ProcessDirectory {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        if DIRECTORIES.contains(&name) && (name != "task" || self.thread.is_none()) {
            return self.inner(name);
        }
        if let Some((_, find)) = LINKS.iter().find(|(link, _)| *link == name) {
            return Ok(Node {
                mode: 0o777,
                what: What::Link(Arc::new(ProcessLink {
                    process: self.process.clone(),
                    find: *find,
                })),
            });
        }
        let text = TEXTS.iter().find(|(text, ..)| *text == name);
        let (name, mode, make) = *text.ok_or(Errno::ENOENT)?;
        Ok(Node {
            mode,
            what: What::Content(Arc::new(Text {
                name,
                process: self.process.clone(),
                thread: self.thread.clone(),
                make,
            })),
        })
    }

    fn list(&self) -> Result<Vec<Name>> {
        self.process()?;
        let fixed = |(name, position): (&'static str, u64), kind| Name {
            position,
            name: name.as_bytes().into(),
            kind,
        };
        let directories = DIRECTORIES.into_iter().zip(0..);
        let links = LINKS.iter().map(|(name, _)| *name).zip(FIRST_LINK..);
        let texts = TEXTS.iter().map(|(name, ..)| *name).zip(FIRST_TEXT..);
        Ok(directories
            .filter(|(name, _)| *name != "task" || self.thread.is_none())
            .map(|entry| fixed(entry, Kind::Directory))
            .chain(links.map(|entry| fixed(entry, Kind::Symlink)))
            .chain(texts.map(|entry| fixed(entry, Kind::Regular)))
            .collect())
    }

    fn nlink(&self) -> u64 {
        2 + DIRECTORIES.len() as u64
    }
}

struct ProcessLink {
    process: Weak<Process>,
    find: Find,
}

impl Link for ProcessLink {
    fn target(&self) -> Result<Target> {
        let process = self.process.upgrade().ok_or(Errno::ENOENT)?;
        (self.find)(&process).map(Target::Jump)
    }
}

/// The program's file, by the name it was started with.
fn executable(process: &Process) -> Result<Arc<Dentry>> {
    let path = process.program.read().path.clone();
    let context = FsContext::default();
    context.find(&context.root, &path, true)
}

struct Text {
    name: &'static str,
    process: Weak<Process>,
    thread: Option<Weak<Thread>>,
    make: Make,
}

impl Text {
    fn subject(&self) -> Result<Subject> {
        let process = self.process.upgrade().ok_or(Errno::ESRCH)?;
        let thread = match &self.thread {
            Some(thread) => Some(thread.upgrade().ok_or(Errno::ESRCH)?),
            None => process.thread(process.pid),
        };
        Ok(Subject { process, thread })
    }
}

impl Content for Text {
    fn read(&self) -> Result<Vec<u8>> {
        (self.make)(&self.subject()?)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        match self.name {
            "comm" => {
                let thread = self.subject()?.thread.ok_or(Errno::ESRCH)?;
                let mut name = [0; NAME_SIZE];
                let bytes = bytes.split(|&b| b == b'\n' || b == 0).next().unwrap_or(&[]);
                let size = bytes.len().min(NAME_SIZE - 1);
                name[..size].copy_from_slice(&bytes[..size]);
                *thread.name.lock() = name;
                Ok(())
            }
            // There is no killer of processes that these could guide.
            "oom_adj" | "oom_score_adj" => Ok(()),
            "loginuid" => Err(Errno::EPERM),
            _ => Err(Errno::EACCES),
        }
    }
}

/// A name without its padding.
pub fn trimmed(name: &[u8; NAME_SIZE]) -> &[u8] {
    let size = name.iter().position(|&b| b == 0).unwrap_or(NAME_SIZE);
    &name[..size]
}

fn comm(subject: &Subject) -> Result<Vec<u8>> {
    let thread = subject.thread.as_ref().ok_or(Errno::ESRCH)?;
    let mut text = trimmed(&thread.name.lock()).to_vec();
    text.push(b'\n');
    Ok(text)
}

fn strings(strings: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes
}

fn auxv(process: &Process) -> Vec<u8> {
    let program = process.program.read();
    let words = program.auxv.iter().flat_map(|&(key, value)| [key, value]);
    words.flat_map(u64::to_le_bytes).collect()
}

/// /proc/PID/task.
struct Tasks(Weak<Process>);

impl Directory for Tasks {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let process = self.0.upgrade().ok_or(Errno::ENOENT)?;
        let thread = process.thread(number(name)?).ok_or(Errno::ENOENT)?;
        Ok(directory(ProcessDirectory {
            process: self.0.clone(),
            thread: Some(Arc::downgrade(&thread)),
        }))
    }

    fn list(&self) -> Result<Vec<Name>> {
        let process = self.0.upgrade().ok_or(Errno::ENOENT)?;
        let names = process.live_threads().into_iter().map(|thread| Name {
            position: thread.tid.into(),
            name: format!("{}", thread.tid).into_bytes().into(),
            kind: Kind::Directory,
        });
        Ok(names.collect())
    }

    fn nlink(&self) -> u64 {
        let process = self.0.upgrade();
        2 + process.map_or(0, |process| process.live_threads().len() as u64)
    }
}

/// /proc/PID/net: there is no network to tell of.
struct Net;

impl Directory for Net {
    fn lookup(&self, _name: &[u8]) -> Result<Node> {
        Err(Errno::ENOENT)
    }

    fn list(&self) -> Result<Vec<Name>> {
        Ok(Vec::new())
    }
}
