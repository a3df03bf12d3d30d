//! Device files, and /dev.

use alloc::sync::Arc;
use core::any::Any;

use mystikos_platform::random;

use super::dentry::Dentry;
use super::file::{File, OpenFile, Stat};
use super::inode::{mode, Kind, NewFile, What};
use super::io::{Sink, Source};
use super::ramfs::{image, RamFs};
use super::{attestation, stream, DEV_FS, SHM_FS};
use crate::{Errno, Result};

/// Device number of a device.
pub const fn device(major: u64, minor: u64) -> u64 {
    (major & 0xfff) << 8 | (minor & 0xff) | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

const NULL: u64 = device(1, 3);
const ZERO: u64 = device(1, 5);
const FULL: u64 = device(1, 7);
const RANDOM: u64 = device(1, 8);
const URANDOM: u64 = device(1, 9);
const TTY: u64 = device(5, 0);
const CONSOLE: u64 = device(5, 1);

/// Mounts /dev, with /dev/shm and /dev/mqueue's place left out: there are no message queues.
pub fn mount(root: &Arc<Dentry>) {
    let dev = RamFs::mount_at(&DEV_FS, 0o755, root, b"dev");
    let make = |name: &str, what: What, permissions: u32| {
        let new = NewFile {
            what,
            mode: permissions,
            uid: 0,
            gid: 0,
        };
        dev.inode
            .create(&dev, name.as_bytes(), new)
            .expect("a device file cannot be made");
    };
    for (name, device) in [
        ("null", NULL),
        ("zero", ZERO),
        ("full", FULL),
        ("random", RANDOM),
        ("urandom", URANDOM),
        ("tty", TTY),
    ] {
        make(name, What::CharDevice(device), 0o666);
    }
    make("console", What::CharDevice(CONSOLE), 0o600);
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        make(name, What::Symlink(target.as_bytes().to_vec()), 0o777);
    }
    attestation::mount(&dev);
    let shm = RamFs::mount_at(&SHM_FS, 0o1777, &dev, b"shm");
    image::mount_over(&dev, b"shm", &shm);
    image::mount_over(root, b"dev", &dev);
}

/// Opens a device file.
pub fn open(kind: Kind, number: u64, _flags: u32) -> Result<Arc<dyn File>> {
    if kind != Kind::CharDevice {
        return Err(Errno::ENXIO);
    }
    let what = match number {
        NULL => Memory::Null,
        ZERO => Memory::Zero,
        FULL => Memory::Full,
        RANDOM | URANDOM => Memory::Random,
        TTY | CONSOLE => {
            let terminal = stream::terminal().ok_or(Errno::ENXIO)?;
            return Ok(terminal);
        }
        _ => return Err(Errno::ENXIO),
    };
    Ok(Arc::new(MemoryDevice { what, number }))
}

/// A device that is nothing but a rule (null(4), random(4)).
pub struct MemoryDevice {
    what: Memory,
    number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Null,
    Zero,
    Full,
    Random,
}

impl MemoryDevice {
    /// Mapping the device gives fresh zero pages (/dev/zero).
    pub fn is_zero(&self) -> bool {
        self.what == Memory::Zero
    }

    fn fill(&self, sink: &mut dyn Sink) -> Result<usize> {
        if self.what == Memory::Null {
            return Ok(0);
        }
        let mut chunk = [0; 256];
        let mut done = 0;
        while sink.remaining() > 0 {
            let n = chunk.len().min(sink.remaining());
            if self.what == Memory::Random {
                random::fill(&mut chunk[..n]);
            }
            match sink.put(&chunk[..n]) {
                Ok(moved) => done += moved,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn swallow(&self, source: &mut dyn Source) -> Result<usize> {
        match self.what {
            Memory::Full => Err(Errno::ENOSPC),
            // What is written is of no use to anyone: RDRAND needs no help.
            _ => Ok(source.remaining()),
        }
    }
}

impl File for MemoryDevice {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: DEV_FS.dev,
            mode: mode::S_IFCHR | 0o666,
            nlink: 1,
            rdev: self.number,
            blksize: 4096,
            ..Stat::default()
        })
    }

    fn read(&self, _description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        self.fill(sink)
    }

    fn write(&self, _description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        self.swallow(source)
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.fill(sink)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.swallow(source)
    }

    fn seek(&self, _description: &OpenFile, _offset: i64, _whence: u32) -> Result<u64> {
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fs::io::{BufferSink, BufferSource};

    /// /dev/null, as a file for tests that need any.
    pub(crate) fn null() -> Arc<dyn File> {
        open(Kind::CharDevice, NULL, 0).unwrap()
    }

    fn device(number: u64) -> Arc<OpenFile> {
        OpenFile::new(open(Kind::CharDevice, number, 2).unwrap(), 2)
    }

    #[test]
    fn devices_of_memory_keep_to_their_rules() {
        let mut buffer = [1; 1000];
        let read = |number, buffer: &mut [u8]| {
            let device = device(number);
            device.file.read(&device, &mut BufferSink::new(buffer))
        };
        let write = |number| {
            let device = device(number);
            device.file.write(&device, &mut BufferSource(b"text"))
        };
        assert_eq!(read(NULL, &mut buffer), Ok(0));
        assert_eq!(read(ZERO, &mut buffer), Ok(1000));
        assert_eq!(buffer, [0; 1000]);
        assert_eq!(read(RANDOM, &mut buffer), Ok(1000));
        assert!(buffer.iter().any(|&byte| byte != buffer[0]));
        assert_eq!((write(NULL), write(FULL)), (Ok(4), Err(Errno::ENOSPC)));
        assert!(open(Kind::CharDevice, super::device(250, 1), 0).is_err());
        assert!(open(Kind::BlockDevice, NULL, 0).is_err());
    }
}
