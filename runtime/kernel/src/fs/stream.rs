//! The host's standard streams as files.
//!
//! They are the only files of the host that a program has from the start: what it reads there and writes there is, by
//! its own choice, not secret from the host. Position, O_APPEND and sharing with other processes are the host's;
//! blocking and O_NONBLOCK are the kernel's, so that a signal gets through to a thread that waits for input.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use mystikos_platform::host::{self, PollFd};
use mystikos_platform::sync::Mutex;

use super::dentry::Dentry;
use super::fd::FdTable;
use super::file::{File, OpenFile, Readiness, Stat, Unqueued};
use super::inode::Kind;
use super::io::{Sink, Source};
use super::path::FsContext;
use super::{pipe, terminal};
use crate::process::wait::{wait_with_host, WaitQueue};
use crate::process::Thread;
use crate::{Errno, Result};

const S_IFMT: u32 = 0o170000;
const S_IFIFO: u32 = 0o010000;
const S_IFCHR: u32 = 0o020000;
const S_IFREG: u32 = 0o100000;
const S_IFSOCK: u32 = 0o140000;

const O_APPEND: u32 = 0o2000;

const SEEK_SET: u32 = 0;
const SEEK_CUR: u32 = 1;
const SEEK_END: u32 = 2;

/// Events that reading changes.
const READ: Readiness = Readiness::IN
    .union(Readiness::RDNORM)
    .union(Readiness::RDHUP)
    .union(Readiness::HUP);
/// Events that writing changes.
const WRITE: Readiness = Readiness::OUT
    .union(Readiness::WRNORM)
    .union(Readiness::ERR);

/// Most bytes moved by one host call.
const CHUNK: usize = mystikos_abi::hostcall::BUFFER_SIZE;
/// What fits for certain into a pipe that is ready for writing (PIPE_BUF).
const CERTAIN: usize = 4096;

/// Device number under which the streams appear in fstat(2); no file system of the kernel has it.
const DEVICE: u64 = 0x16;

/// A standard stream of the host.
pub struct Stream {
    /// 0, 1 or 2.
    fd: u32,
    /// Woken when something was read or written, and for what [`File::refresh`] finds.
    queue: WaitQueue,
    /// What the queue was woken for since the last reading (events to read) or writing (events to write).
    told: AtomicU32,
    /// Held while the host's offset is moved for a read or write at another one.
    offset: Mutex<()>,
}

/// Opens the streams that the host has open.
pub fn standard_streams(table: &mut FdTable) {
    for fd in 0..3 {
        if let Some(description) = open(fd) {
            // Descriptors 0 to 2 fit into every table.
            let _ = table.replace(fd as i32, description, false);
        }
    }
}

/// A fresh description of a standard stream with the host's access mode; `None` when the host has it closed. A terminal
/// has the name under which the program can open it (ttyname(3)), whatever the host calls it.
pub fn open(fd: u32) -> Option<Arc<OpenFile>> {
    let flags = host::getfl(fd).ok()?;
    let stream = Stream::new(fd);
    let name = match stream.is_terminal() {
        true => terminal_name(),
        false => None,
    };
    Some(match name {
        Some(name) => OpenFile::named(name, stream, flags),
        None => OpenFile::new(stream, flags),
    })
}

// /dev/tty, unless the package has put something else there.
fn terminal_name() -> Option<Arc<Dentry>> {
    let context = FsContext::default();
    let found = context.find(&context.root, b"/dev/tty", true).ok()?;
    (found.inode.kind() == Kind::CharDevice).then_some(found)
}

/// The standard stream that is a terminal, for opening /dev/tty: the first one that is.
pub fn terminal() -> Option<Arc<Stream>> {
    (0..3).map(Stream::new).find(|s| s.is_terminal())
}

impl Stream {
    /// The stream of a host descriptor (0, 1, 2).
    pub fn new(fd: u32) -> Arc<Stream> {
        Arc::new(Stream {
            fd,
            queue: WaitQueue::new(),
            told: AtomicU32::new(0),
            offset: Mutex::new(()),
        })
    }

    /// The host has a terminal there.
    pub fn is_terminal(&self) -> bool {
        terminal::is_terminal(self.fd)
    }

    fn is_regular(&self) -> bool {
        host::fstat(self.fd).is_ok_and(|stat| stat.mode & S_IFMT == S_IFREG)
    }

    // Whether the stream is ready for any of `events` (POLL*). A wake that ends this look is consumed by it, so callers
    // look at everything else they wait for afterwards.
    fn is_ready(&self, events: i16) -> bool {
        poll_now(self.fd, events) != 0
    }

    fn look(&self) -> Readiness {
        Readiness::from_bits_truncate(poll_now(self.fd, (READ | WRITE).bits() as i16) as u16 as u32)
    }

    // After data was moved: what was told of it may be told again.
    fn moved(&self, events: Readiness) {
        self.told.fetch_and(!events.bits(), Ordering::AcqRel);
        self.queue.wake(events);
    }

    // Waits until the stream is ready for `events`: at once EAGAIN when it is not to block.
    fn wait(&self, description: &OpenFile, events: i16) -> Result<()> {
        if description.is_nonblocking() {
            return match self.is_ready(events) {
                true => Ok(()),
                false => Err(Errno::EAGAIN),
            };
        }
        let fds = [PollFd {
            fd: self.fd as i32,
            events,
            revents: 0,
        }];
        wait_with_host(&[], &fds, None, || self.is_ready(events).then_some(())).map_err(Errno::from)
    }

    // Runs a host call that moves data, waiting before it. What a host with a stream in O_NONBLOCK mode or with other
    // readers answers in the meantime (EAGAIN, EINTR) means to wait again.
    fn transfer(
        &self,
        description: &OpenFile,
        events: i16,
        mut call: impl FnMut() -> Result<usize>,
    ) -> Result<usize> {
        loop {
            self.wait(description, events)?;
            match call() {
                Err(Errno::EAGAIN) if !description.is_nonblocking() => {}
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    // Runs `act` with the host's offset at `offset`, and puts it back.
    fn at(&self, offset: u64, act: impl FnOnce() -> Result<usize>) -> Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let _guard = self.offset.lock();
        let before = host::lseek(self.fd, 0, SEEK_CUR)?;
        host::lseek(self.fd, offset, SEEK_SET)?;
        let result = act();
        host::lseek(self.fd, before as i64, SEEK_SET)?;
        result
    }

    // Writes what `source` has, in pieces of at most `piece`; an error counts only when nothing was written.
    fn write_pieces(
        &self,
        source: &mut dyn Source,
        piece: usize,
        mut write: impl FnMut(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mut buffer = buffer(source.remaining().min(piece))?;
        let mut done = 0;
        while source.remaining() > 0 {
            let size = source.remaining().min(piece);
            let step = source
                .take(&mut buffer[..size])
                .and_then(|n| write(&buffer[..n]).map(|written| (n, written)));
            match step {
                Ok((n, written)) => {
                    done += written;
                    if written < n {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

/// POLL* events of a standard stream at this moment.
pub fn poll_now(fd: u32, events: i16) -> i16 {
    let mut fds = [PollFd {
        fd: fd as i32,
        events,
        revents: 0,
    }];
    // The first look may be ended by a wake that came before it; the second one is not.
    for _ in 0..2 {
        match host::poll(&mut fds, Some(0)) {
            Err(Errno::EINTR) => {}
            Ok(_) => return fds[0].revents,
            Err(_) => break,
        }
    }
    0
}

/// /dev/null, /dev/zero and their like, which are always ready and cannot be watched.
fn is_memory(rdev: u64) -> bool {
    rdev >> 8 & 0xfff == 1 && !matches!(rdev & 0xff, 8 | 9)
}

fn buffer(size: usize) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(size, 0);
    Ok(buffer)
}

impl File for Stream {
    fn stat(&self) -> Result<Stat> {
        let host = host::fstat(self.fd)?;
        // What the host calls a directory or a disk is not to be taken for one.
        let mode = match host.mode & S_IFMT {
            kind @ (S_IFIFO | S_IFCHR | S_IFREG | S_IFSOCK) => kind | host.mode & 0o777,
            _ => S_IFCHR | host.mode & 0o777,
        };
        Ok(Stat {
            dev: DEVICE,
            ino: 1 + self.fd as u64,
            mode,
            nlink: 1,
            rdev: if mode & S_IFMT == S_IFCHR {
                host.rdev
            } else {
                0
            },
            size: host.size,
            blksize: host.blksize,
            blocks: host.size.div_ceil(512),
            ..Stat::default()
        })
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        let mut buffer = buffer(sink.remaining().min(CHUNK))?;
        if buffer.is_empty() {
            return Ok(0);
        }
        let result = self.transfer(description, Readiness::IN.bits() as i16, || {
            host::read(self.fd, &mut buffer)
        });
        self.moved(READ);
        match result? {
            0 => Ok(0),
            n => sink.put(&buffer[..n]),
        }
    }

    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        if self.is_regular() {
            let host_appends = host::getfl(self.fd).is_ok_and(|flags| flags & O_APPEND != 0);
            if description.flags() & O_APPEND != 0 && !host_appends {
                host::lseek(self.fd, 0, SEEK_END)?;
            }
            return self.write_pieces(source, CHUNK, |bytes| host::write(self.fd, bytes));
        }
        // In pieces that are certain to fit, so that the thread never waits in a write, where no signal reaches it.
        let result = self.write_pieces(source, CERTAIN, |bytes| {
            self.transfer(description, Readiness::OUT.bits() as i16, || {
                host::write(self.fd, bytes)
            })
        });
        self.moved(WRITE);
        match result {
            Err(Errno::EPIPE) => Err(pipe::broken()),
            result => result,
        }
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if !self.is_regular() {
            return Err(Errno::ESPIPE);
        }
        let mut buffer = buffer(sink.remaining().min(CHUNK))?;
        let n = self.at(offset, || host::read(self.fd, &mut buffer))?;
        match n {
            0 => Ok(0),
            n => sink.put(&buffer[..n]),
        }
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        if !self.is_regular() {
            return Err(Errno::ESPIPE);
        }
        let mut buffer = buffer(source.remaining().min(CHUNK))?;
        let n = source.take(&mut buffer)?;
        self.at(offset, || host::write(self.fd, &buffer[..n]))
    }

    fn seek(&self, _description: &OpenFile, offset: i64, whence: u32) -> Result<u64> {
        let _guard = self.offset.lock();
        host::lseek(self.fd, offset, whence)
    }

    fn readiness(&self) -> Readiness {
        let ready = self.look();
        // What is no longer true may be told again when it comes true again.
        self.told.fetch_and(ready.bits(), Ordering::AcqRel);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn is_pollable(&self) -> bool {
        match host::fstat(self.fd) {
            Ok(stat) => {
                stat.mode & S_IFMT != S_IFREG
                    && !(stat.mode & S_IFMT == S_IFCHR && is_memory(stat.rdev))
            }
            Err(_) => false,
        }
    }

    fn unqueued(&self, events: Readiness) -> Option<Unqueued> {
        // The host reports POLLERR and POLLHUP always; who asks only for POLLPRI, which the streams do not have, would
        // be woken by them for ever.
        let mut unqueued = Unqueued::default();
        if events.intersects(READ | WRITE) {
            unqueued.streams[self.fd as usize] = (events | Readiness::ERR).bits() as i16;
        }
        Some(unqueued)
    }

    fn unqueued_edges(&self, events: Readiness) -> Option<Unqueued> {
        let told = Readiness::from_bits_truncate(self.told.load(Ordering::Acquire));
        if told.intersects(Readiness::ERR | Readiness::HUP) {
            return Some(Unqueued::default());
        }
        self.unqueued(events - told)
    }

    fn refresh(&self) {
        let ready = self.look();
        let told = self.told.fetch_or(ready.bits(), Ordering::AcqRel);
        let news = ready - Readiness::from_bits_truncate(told);
        if !news.is_empty() {
            self.queue.wake(news);
        }
    }

    fn ioctl(&self, thread: &Thread, request: u32, argument: u64) -> Result<u64> {
        terminal::ioctl(thread, self.fd, request, argument)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
