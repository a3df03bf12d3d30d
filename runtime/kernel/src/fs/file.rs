//! What an open file can do, whatever it is: regular file, directory, pipe, terminal, event, socket.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use mystikos_platform::host::PollFd;
use mystikos_platform::sync::Mutex;

use super::dentry::Dentry;
use super::io::{Sink, Source};
use crate::process::wait::WaitQueue;
use crate::process::Thread;
use crate::{Errno, Result};

bitflags::bitflags! {
    /// Readiness, as poll(2) and epoll(7) name it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Readiness: u32 {
        /// There is data to read, or the end of it.
        const IN = 0x1;
        /// Exceptional condition.
        const PRI = 0x2;
        /// Writing does not block.
        const OUT = 0x4;
        /// Error.
        const ERR = 0x8;
        /// The other end is closed.
        const HUP = 0x10;
        /// Not open (poll only).
        const NVAL = 0x20;
        /// Normal data to read.
        const RDNORM = 0x40;
        /// Normal data may be written.
        const WRNORM = 0x100;
        /// The peer has shut down its writing half.
        const RDHUP = 0x2000;
    }
}

/// What makes a file ready although nobody wakes its queue. Who sleeps until it is ready sleeps for these too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unqueued {
    /// A time (monotonic nanoseconds).
    pub deadline: Option<u64>,
    /// Events (POLL*) of the host's standard streams.
    pub streams: [i16; 3],
}

impl Unqueued {
    /// The earlier time, and the events of both.
    pub fn merge(&mut self, other: Unqueued) {
        self.deadline = match (self.deadline, other.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        for (mine, others) in self.streams.iter_mut().zip(other.streams) {
            *mine |= others;
        }
    }

    /// The streams with events, to sleep for.
    pub fn host_fds(&self) -> Vec<PollFd> {
        (0..)
            .zip(self.streams)
            .filter(|&(_, events)| events != 0)
            .map(|(fd, events)| PollFd {
                fd,
                events,
                revents: 0,
            })
            .collect()
    }
}

/// `struct stat` in the kernel's own terms.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    /// File type and permissions (S_IF*).
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    /// Nanoseconds since the epoch.
    pub atime: i128,
    pub mtime: i128,
    pub ctime: i128,
}

/// Behaviour of an open file. The default of each operation is the errno that Linux gives where it makes no sense.
///
/// Operations that may block look at [`OpenFile::is_nonblocking`] of the description they are called through.
pub trait File: Any + Send + Sync {
    /// Facts for fstat(2).
    fn stat(&self) -> Result<Stat>;

    /// Reads at the current position (stream-like files ignore positions). 0 is the end of the file.
    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize>;

    /// Writes at the current position, or at the end with O_APPEND.
    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize>;

    /// Reads at an offset without moving the position (pread(2)).
    fn read_at(&self, _offset: u64, _sink: &mut dyn Sink) -> Result<usize> {
        Err(Errno::ESPIPE)
    }

    /// Writes at an offset without moving the position (pwrite(2)).
    fn write_at(&self, _offset: u64, _source: &mut dyn Source) -> Result<usize> {
        Err(Errno::ESPIPE)
    }

    /// Moves the position (lseek(2)).
    fn seek(&self, _description: &OpenFile, _offset: i64, _whence: u32) -> Result<u64> {
        Err(Errno::ESPIPE)
    }

    /// Readiness now.
    fn readiness(&self) -> Readiness {
        Readiness::IN | Readiness::OUT | Readiness::RDNORM | Readiness::WRNORM
    }

    /// The queue that is woken whenever readiness may have changed; `None` when it never does.
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// epoll(7) can watch the file.
    fn is_pollable(&self) -> bool {
        self.wait_queue().is_some()
    }

    /// For a file of which one of `events` can come true without the queue being woken: what makes it so.
    fn unqueued(&self, _events: Readiness) -> Option<Unqueued> {
        None
    }

    /// As [`unqueued`](Self::unqueued), without what the queue was woken for already and nobody has looked after since:
    /// what edge-triggered watching sleeps for.
    fn unqueued_edges(&self, events: Readiness) -> Option<Unqueued> {
        self.unqueued(events)
    }

    /// For files with an answer to [`unqueued`](Self::unqueued): sees what has come true meanwhile, and wakes the queue
    /// for it.
    fn refresh(&self) {}

    /// ioctl(2), but for those that work on every descriptor (FIONBIO, FIOCLEX, FIONCLEX).
    fn ioctl(&self, _thread: &Thread, _request: u32, _argument: u64) -> Result<u64> {
        Err(Errno::ENOTTY)
    }

    /// ftruncate(2).
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// fsync(2), fdatasync(2).
    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Where the content lies in the root file system image, while it is still what was measured; binding tables
    /// name files by it.
    fn image_offset(&self) -> Option<u64> {
        None
    }

    /// From now on the bytes of the file in the range live in application memory (mmap(2) with MAP_SHARED): reading
    /// and writing the file go through the range. The caller has filled the range with what `read_at` gives, and calls
    /// this before the application may touch it. ENODEV for files that cannot be mapped so.
    ///
    /// No lock that the range needs for reading or writing may be held.
    fn map_shared(&self, _range: Arc<dyn SharedRange>) -> Result<()> {
        Err(Errno::ENODEV)
    }

    /// Takes the content of a mapped range back into the file; called while the range can still be read, before it is
    /// unmapped. ENOSPC when there is no memory to keep it (the bytes are lost then).
    fn unmap_shared(&self, _range: &Arc<dyn SharedRange>) -> Result<()> {
        Ok(())
    }

    /// What proc(5) calls a file that is neither on a file system nor a pipe or socket (`eventfd`).
    fn anonymous_name(&self) -> Option<&'static str> {
        None
    }

    /// The last description of this file was closed.
    fn closed(&self, _description: &OpenFile) {}

    /// For downcasts to a particular kind of file.
    fn as_any(&self) -> &dyn Any;
}

/// Part of a file that lives in application memory. Where two ranges of one file overlap, reading takes the younger
/// one and writing changes both; what the application itself writes to one is seen in the other only after unmapping,
/// because an enclave cannot map one page at two addresses.
pub trait SharedRange: Send + Sync {
    /// Offset of the first byte in the file, a multiple of the page size.
    fn offset(&self) -> u64;
    /// Bytes, a multiple of the page size.
    fn size(&self) -> u64;
    /// Reads bytes at an offset of the file that lies in the range.
    fn read(&self, offset: u64, to: &mut [u8]) -> Result<()>;
    /// Writes bytes at an offset of the file that lies in the range, whatever the page permissions are.
    fn write(&self, offset: u64, from: &[u8]) -> Result<()>;
}

/// An open file description (open(2)): what `dup` shares.
pub struct OpenFile {
    /// The file.
    pub file: Arc<dyn File>,
    /// The name it was opened by; `None` for what never had one (pipes, sockets, events).
    pub dentry: Option<Arc<Dentry>>,
    /// Access mode and file status flags (O_*), without the creation flags.
    flags: AtomicU32,
    /// Position.
    pub position: Mutex<u64>,
    /// Who is told when the description is closed.
    watchers: Mutex<Vec<Arc<dyn Watcher>>>,
}

/// Something that is to be told when a description is closed: an entry of an epoll instance.
pub trait Watcher: Send + Sync {
    /// The description of `file` is closed.
    fn closed(self: Arc<Self>, file: &dyn File);
}

const O_ACCMODE: u32 = 3;
const O_NONBLOCK: u32 = 0o4000;
const O_PATH: u32 = 0o10000000;

impl OpenFile {
    /// A fresh description at position 0.
    pub fn new(file: Arc<dyn File>, flags: u32) -> Arc<OpenFile> {
        Arc::new(OpenFile {
            file,
            dentry: None,
            flags: AtomicU32::new(flags),
            position: Mutex::new(0),
            watchers: Mutex::new(Vec::new()),
        })
    }

    /// A fresh description of a file that was opened by name.
    pub fn named(dentry: Arc<Dentry>, file: Arc<dyn File>, flags: u32) -> Arc<OpenFile> {
        Arc::new(OpenFile {
            file,
            dentry: Some(dentry),
            flags: AtomicU32::new(flags),
            position: Mutex::new(0),
            watchers: Mutex::new(Vec::new()),
        })
    }

    /// Facts for fstat(2).
    pub fn stat(&self) -> Result<Stat> {
        match &self.dentry {
            Some(dentry) => dentry.inode.stat(),
            None => self.file.stat(),
        }
    }

    /// Access mode and file status flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the file status flags.
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// O_NONBLOCK is set.
    pub fn is_nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// Reading is allowed.
    pub fn is_readable(&self) -> bool {
        self.flags() & O_PATH == 0 && self.flags() & O_ACCMODE != 1
    }

    /// Writing is allowed.
    pub fn is_writable(&self) -> bool {
        self.flags() & O_PATH == 0 && matches!(self.flags() & O_ACCMODE, 1 | 2)
    }
}

impl OpenFile {
    /// Tells `watcher` when the description is closed.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        self.watchers.lock().push(watcher);
    }

    /// Takes [`watch`](Self::watch) back.
    pub fn unwatch(&self, watcher: &Arc<dyn Watcher>) {
        let is_it = |w: &Arc<dyn Watcher>| core::ptr::addr_eq(Arc::as_ptr(w), Arc::as_ptr(watcher));
        let mut watchers = self.watchers.lock();
        let place = watchers.iter().position(is_it);
        let removed = place.map(|place| watchers.swap_remove(place));
        // Dropping a watcher may drop much else: not under the lock.
        drop(watchers);
        drop(removed);
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        for watcher in core::mem::take(self.watchers.get_mut()) {
            watcher.closed(&*self.file);
        }
        self.file.closed(self);
        super::lock::description_dropped(self);
    }
}
