//! Open files: /proc/PID/fd and /proc/PID/fdinfo.

use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use super::number;
use crate::fs::dentry::Dentry;
use crate::fs::file::{File, OpenFile, Stat};
use crate::fs::inode::{FsInfo, Inode, Kind, Target};
use crate::fs::open::flag;
use crate::fs::pseudo::{Content, Directory, Link, Name, Node, What};
use crate::fs::stream::Stream;
use crate::fs::PIPE_FS;
use crate::process::Process;
use crate::{Errno, Result};

/// /proc/PID/fd or /proc/PID/fdinfo.
pub struct Descriptors {
    process: Weak<Process>,
    facts: bool,
}

impl Descriptors {
    /// /proc/PID/fd.
    pub fn links(process: Weak<Process>) -> Self {
        Descriptors {
            process,
            facts: false,
        }
    }

    /// /proc/PID/fdinfo.
    pub fn facts(process: Weak<Process>) -> Self {
        Descriptors {
            process,
            facts: true,
        }
    }
}

/// The directory itself, which only the owner may list.
pub fn node(directory: Descriptors) -> Node {
    Node {
        mode: if directory.facts { 0o555 } else { 0o500 },
        what: What::Directory(Arc::new(directory)),
    }
}

impl Directory for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let process = self.process.upgrade().ok_or(Errno::ENOENT)?;
        let fd = i32::try_from(number(name)?).map_err(|_| Errno::ENOENT)?;
        let description = process.files.read().get(fd).map_err(|_| Errno::ENOENT)?;
        let descriptor = Arc::new(Descriptor {
            process: self.process.clone(),
            fd,
        });
        Ok(match self.facts {
            true => Node {
                mode: 0o444,
                what: What::Content(descriptor),
            },
            false => Node {
                // The permissions of the link are those of the description (proc(5)).
                mode: 0o100
                    | if description.is_readable() { 0o400 } else { 0 }
                    | if description.is_writable() { 0o200 } else { 0 },
                what: What::Link(descriptor),
            },
        })
    }

    fn list(&self) -> Result<Vec<Name>> {
        let process = self.process.upgrade().ok_or(Errno::ENOENT)?;
        let files = process.files.read();
        let names = files.open().map(|(fd, _)| Name {
            position: fd as u64,
            name: format!("{fd}").into_bytes().into(),
            kind: match self.facts {
                true => Kind::Regular,
                false => Kind::Symlink,
            },
        });
        Ok(names.collect())
    }
}

struct Descriptor {
    process: Weak<Process>,
    fd: i32,
}

impl Descriptor {
    fn description(&self) -> Result<Arc<OpenFile>> {
        let process = self.process.upgrade().ok_or(Errno::ENOENT)?;
        let files = process.files.read();
        files.get(self.fd).map_err(|_| Errno::ENOENT)
    }
}

impl Link for Descriptor {
    fn target(&self) -> Result<Target> {
        let description = self.description()?;
        Ok(Target::Jump(match &description.dentry {
            Some(dentry) => dentry.clone(),
            None => Dentry::detached(&shown(&description), Arc::new(Unnamed(description))),
        }))
    }

    fn text(&self) -> Result<Vec<u8>> {
        let description = self.description()?;
        Ok(match &description.dentry {
            Some(dentry) => dentry.path(),
            None => shown(&description),
        })
    }
}

/// How a file without a name is shown.
pub fn shown(description: &OpenFile) -> Vec<u8> {
    let Ok(stat) = description.file.stat() else {
        return b"anon_inode:[unknown]".to_vec();
    };
    let host = description.file.as_any().is::<Stream>();
    match Kind::of(stat.mode) {
        // The host's terminal has no name in here.
        Some(Kind::CharDevice) if host => b"/dev/tty".to_vec(),
        Some(Kind::Regular) if host => format!("host:[{}]", stat.ino).into_bytes(),
        Some(Kind::Fifo) => format!("pipe:[{}]", stat.ino).into_bytes(),
        Some(Kind::Socket) => format!("socket:[{}]", stat.ino).into_bytes(),
        _ => description.file.anonymous_name().map_or_else(
            || b"anon_inode:[file]".to_vec(),
            |name| format!("anon_inode:[{name}]").into_bytes(),
        ),
    }
}

impl Content for Descriptor {
    fn read(&self) -> Result<Vec<u8>> {
        let description = self.description()?;
        let position = *description.position.lock();
        let close_on_exec = match self.process.upgrade() {
            Some(process) => process.files.read().close_on_exec(self.fd)?,
            None => false,
        };
        let flags = description.flags() | if close_on_exec { flag::CLOEXEC } else { 0 };
        let stat = description.stat()?;
        let mount = super::mounts::number_of(stat.dev);
        Ok(format!(
            "pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{}\n",
            stat.ino
        )
        .into_bytes())
    }
}

/// A file without a name, reached through /proc: opening it gives another description of the same file.
struct Unnamed(Arc<OpenFile>);

impl Inode for Unnamed {
    fn stat(&self) -> Result<Stat> {
        self.0.file.stat()
    }

    fn kind(&self) -> Kind {
        let mode = self.0.file.stat().map(|stat| stat.mode);
        mode.ok().and_then(Kind::of).unwrap_or(Kind::Anonymous)
    }

    fn fs(&self) -> &'static FsInfo {
        &PIPE_FS
    }

    fn open(&self, _here: &Arc<Dentry>, flags: u32) -> Result<Arc<dyn File>> {
        // The end of a pipe, and what the host gives, cannot be opened for more than it is.
        let reads = flags & flag::ACCMODE != flag::WRONLY;
        let writes = flags & flag::ACCMODE != 0;
        if self.kind() == Kind::Socket {
            return Err(Errno::ENXIO);
        }
        if reads && !self.0.is_readable() || writes && !self.0.is_writable() {
            return Err(Errno::EACCES);
        }
        Ok(self.0.file.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
