//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! As on Linux a pipe is a queue of pages: a write begins in the last page when all of its odd part fits there, and in
//! a fresh page otherwise. This is what makes writes up to PIPE_BUF atomic, and what decides when a pipe is full.

mod fifo;

pub use fifo::Fifo;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use linux_raw_sys::general::SIGPIPE;
use mystikos_platform::sync::Mutex;
use mystikos_platform::user;

use super::file::{File, OpenFile, Readiness, Stat};
use super::io::{Sink, Source};
use crate::process::wait::{wait_until, WaitQueue};
use crate::process::{thread, Thread};
use crate::{signal, Errno, Result};

/// PIPE_BUF, and the size of a page of a pipe.
const PAGE: usize = 4096;
/// Pages of a fresh pipe: 64 KiB.
const PAGES: usize = 16;
/// /proc/sys/fs/pipe-max-size.
pub const SIZE_MAX: usize = 1 << 20;
/// Emptied pages kept for the next write.
const SPARE: usize = 2;

const O_ACCMODE: u32 = 3;
const O_RDONLY: u32 = 0;
const O_WRONLY: u32 = 1;
const O_NONBLOCK: u32 = 0o4000;
const O_DIRECT: u32 = 0o40000;

const S_IFIFO: u32 = 0o010000;
const FIONREAD: u32 = 0x541b;

/// Device number of pipes in fstat(2); no file system of the kernel has it.
const DEVICE: u64 = 0xe;

const READABLE: Readiness = Readiness::IN.union(Readiness::RDNORM);
const WRITABLE: Readiness = Readiness::OUT.union(Readiness::WRNORM);

/// What a writer gets whose last reader is gone: EPIPE, after SIGPIPE.
pub fn broken() -> Errno {
    signal::raise(&thread::current(), SIGPIPE);
    Errno::EPIPE
}

/// Some bytes in a page.
struct Chunk {
    page: Vec<u8>,
    start: usize,
    end: usize,
    /// Written with O_DIRECT: read by itself, and what a read leaves of it is lost.
    packet: bool,
}

/// Content of a pipe, and who has it open.
struct State {
    chunks: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    pages: usize,
    readers: usize,
    writers: usize,
    /// How many readers and writers there have ever been.
    readers_ever: u64,
    writers_ever: u64,
}

/// How far a write came, and what ended it early.
struct Written {
    bytes: usize,
    stopped: Option<Errno>,
}

impl State {
    fn new() -> Self {
        State {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            pages: PAGES,
            readers: 0,
            writers: 0,
            readers_ever: 0,
            writers_ever: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.chunks.len() >= self.pages
    }

    fn len(&self) -> usize {
        self.chunks.iter().map(|c| c.end - c.start).sum()
    }

    fn page(&mut self) -> Result<Vec<u8>> {
        if let Some(page) = self.spare.pop() {
            return Ok(page);
        }
        let mut page = Vec::new();
        page.try_reserve_exact(PAGE).map_err(|_| Errno::ENOMEM)?;
        page.resize(PAGE, 0);
        Ok(page)
    }

    fn pop(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            if self.spare.len() < SPARE {
                self.spare.push(chunk.page);
            }
        }
    }

    // Moves what there is and fits; an error counts only when nothing was moved. A packet is read by itself.
    fn read(&mut self, sink: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        while sink.remaining() > 0 {
            let Some(chunk) = self.chunks.front_mut() else {
                break;
            };
            let n = match sink.put(&chunk.page[chunk.start..chunk.end]) {
                Ok(n) => n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done += n;
            chunk.start += n;
            let packet = chunk.packet;
            if packet || chunk.start == chunk.end {
                self.pop();
            }
            if packet {
                break;
            }
        }
        Ok(done)
    }

    // Puts the odd part of a write behind what is in the last page, when all of it fits there.
    fn merge(&mut self, source: &mut dyn Source) -> Result<usize> {
        let odd = source.remaining() % PAGE;
        match self.chunks.back_mut() {
            Some(last) if odd > 0 && !last.packet && last.end + odd <= PAGE => {
                let n = source.take(&mut last.page[last.end..last.end + odd])?;
                last.end += n;
                Ok(n)
            }
            _ => Ok(0),
        }
    }

    // Fills fresh pages until the pipe is full or the source is empty.
    fn fill(&mut self, source: &mut dyn Source, packet: bool) -> Result<usize> {
        let mut done = 0;
        while source.remaining() > 0 && !self.is_full() {
            let mut page = self.page()?;
            let size = source.remaining().min(PAGE);
            match source.take(&mut page[..size]) {
                Ok(end) => {
                    done += end;
                    self.chunks.push_back(Chunk {
                        page,
                        start: 0,
                        end,
                        packet,
                    });
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

/// What the two ends of a pipe share.
struct Pipe {
    ino: u64,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Pipe {
    fn new() -> Arc<Pipe> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Pipe {
            ino: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(State::new()),
            queue: WaitQueue::new(),
        })
    }

    fn read(&self, nonblocking: bool, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        loop {
            {
                let mut state = self.state.lock();
                if !state.chunks.is_empty() {
                    let was_full = state.is_full();
                    let result = state.read(sink);
                    let wake = was_full && !state.is_full();
                    drop(state);
                    if wake {
                        self.queue.wake(WRITABLE);
                    }
                    return result;
                }
                if state.writers == 0 {
                    return Ok(0);
                }
            }
            if nonblocking {
                return Err(Errno::EAGAIN);
            }
            wait_until(&[&self.queue], None, || {
                let state = self.state.lock();
                (!state.chunks.is_empty() || state.writers == 0).then_some(())
            })?;
        }
    }

    fn write(&self, nonblocking: bool, packet: bool, source: &mut dyn Source) -> Written {
        let mut written = Written {
            bytes: 0,
            stopped: None,
        };
        let mut first = !packet;
        while source.remaining() > 0 {
            let step = self.write_step(core::mem::take(&mut first), packet, source);
            let waited = match step {
                Ok(0) if nonblocking => Err(Errno::EAGAIN),
                Ok(0) => self.wait_for_room(),
                Ok(n) => {
                    written.bytes += n;
                    self.queue.wake(READABLE);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = waited {
                written.stopped = Some(error);
                break;
            }
        }
        written
    }

    fn write_step(&self, merge: bool, packet: bool, source: &mut dyn Source) -> Result<usize> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let merged = if merge { state.merge(source)? } else { 0 };
        match state.fill(source, packet) {
            Err(_) if merged > 0 => Ok(merged),
            result => Ok(merged + result?),
        }
    }

    fn wait_for_room(&self) -> Result<()> {
        wait_until(&[&self.queue], None, || {
            let state = self.state.lock();
            (!state.is_full() || state.readers == 0).then_some(())
        })
        .map_err(Errno::from)
    }
}

/// One open description of a pipe or FIFO.
pub struct PipeFile {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// Writers there had been when a FIFO without a writer was opened: until there is another one, its reader is not
    /// told of a hang-up.
    writers_before: u64,
    /// A FIFO: its facts are those of its inode.
    named: bool,
}

impl PipeFile {
    // Counts itself in; `Drop` counts it out.
    fn new(pipe: &Arc<Pipe>, access: u32, named: bool) -> PipeFile {
        let file = PipeFile {
            pipe: pipe.clone(),
            reads: access != O_WRONLY,
            writes: access != O_RDONLY,
            writers_before: 0,
            named,
        };
        let mut state = pipe.state.lock();
        if file.reads {
            state.readers += 1;
            state.readers_ever += 1;
        }
        if file.writes {
            state.writers += 1;
            state.writers_ever += 1;
        }
        drop(state);
        file
    }

    /// F_GETPIPE_SZ.
    pub fn size(&self) -> usize {
        self.pipe.state.lock().pages * PAGE
    }

    /// F_SETPIPE_SZ; returns the size that the pipe has now.
    pub fn set_size(&self, size: usize) -> Result<usize> {
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = size.max(PAGE).next_power_of_two();
        if size > SIZE_MAX {
            return Err(Errno::EPERM);
        }
        let mut state = self.pipe.state.lock();
        if size / PAGE < state.chunks.len() {
            return Err(Errno::EBUSY);
        }
        let was_full = state.is_full();
        state.pages = size / PAGE;
        let wake = was_full && !state.is_full();
        drop(state);
        if wake {
            self.pipe.queue.wake(WRITABLE);
        }
        Ok(size)
    }

    /// Number by which /proc/self/fd names the pipe (`pipe:[1]`); `None` for a FIFO.
    pub fn number(&self) -> Option<u64> {
        (!self.named).then_some(self.pipe.ino)
    }
}

impl Drop for PipeFile {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.reads);
        state.writers -= usize::from(self.writes);
        drop(state);
        self.pipe.queue.wake_all();
    }
}

impl File for PipeFile {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: DEVICE,
            ino: self.pipe.ino,
            mode: S_IFIFO | 0o600,
            nlink: 1,
            blksize: PAGE as u64,
            ..Stat::default()
        })
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        self.pipe.read(description.is_nonblocking(), sink)
    }

    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        let packet = description.flags() & O_DIRECT != 0;
        let written = self
            .pipe
            .write(description.is_nonblocking(), packet, source);
        let stopped = match written.stopped {
            // The signal comes even when some bytes were written before.
            Some(Errno::EPIPE) => Some(broken()),
            other => other,
        };
        match stopped {
            Some(error) if written.bytes == 0 => Err(error),
            _ => Ok(written.bytes),
        }
    }

    fn readiness(&self) -> Readiness {
        let state = self.pipe.state.lock();
        let mut ready = Readiness::empty();
        if self.reads {
            if !state.chunks.is_empty() {
                ready |= READABLE;
            }
            if state.writers == 0 && state.writers_ever != self.writers_before {
                ready |= Readiness::HUP;
            }
        }
        if self.writes {
            if !state.is_full() {
                ready |= WRITABLE;
            }
            if state.readers == 0 {
                ready |= Readiness::ERR;
            }
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn ioctl(&self, _thread: &Thread, request: u32, argument: u64) -> Result<u64> {
        match request {
            FIONREAD => {
                let len = self.pipe.state.lock().len() as u32;
                user::write(argument, &len).map(|()| 0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A pipe: the end to read from and the end to write to. `flags`: O_NONBLOCK, O_DIRECT.
pub fn pair(flags: u32) -> (Arc<OpenFile>, Arc<OpenFile>) {
    let pipe = Pipe::new();
    let reader = Arc::new(PipeFile::new(&pipe, O_RDONLY, false));
    let writer = Arc::new(PipeFile::new(&pipe, O_WRONLY, false));
    (
        OpenFile::new(reader, O_RDONLY | flags & O_NONBLOCK),
        OpenFile::new(writer, O_WRONLY | flags & (O_NONBLOCK | O_DIRECT)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::io::{BufferSink, BufferSource};
    use super::*;

    fn write(file: &OpenFile, bytes: &[u8]) -> Result<usize> {
        file.file.write(file, &mut BufferSource(bytes))
    }

    fn read(file: &OpenFile, size: usize) -> Result<Vec<u8>> {
        let mut buffer = alloc::vec![0; size];
        let n = file.file.read(file, &mut BufferSink::new(&mut buffer))?;
        buffer.truncate(n);
        Ok(buffer)
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (reader, writer) = pair(O_NONBLOCK);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut seed = 12345u64;
        let mut next = move || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        for round in 0..2000 {
            let size = next() % 9000 + 1;
            if next() % 2 == 0 {
                let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + round) as u8).collect();
                match write(&writer, &bytes) {
                    Ok(n) => {
                        assert!(n == size || size > PAGE, "a small write is not divided");
                        model.extend(&bytes[..n]);
                    }
                    Err(error) => assert_eq!(error, Errno::EAGAIN),
                }
            } else {
                match read(&reader, size) {
                    Ok(bytes) => {
                        assert_eq!(bytes.len(), size.min(model.len()));
                        assert!(bytes.iter().all(|&b| model.pop_front() == Some(b)));
                    }
                    Err(error) => assert!(error == Errno::EAGAIN && model.is_empty()),
                }
            }
        }
    }

    #[test]
    fn a_fresh_pipe_takes_64_kib() {
        let (_reader, writer) = pair(O_NONBLOCK);
        assert_eq!(write(&writer, &[0; 100_000]), Ok(65536));
        assert_eq!(write(&writer, &[0]), Err(Errno::EAGAIN));
        assert_eq!(writer.file.readiness(), Readiness::empty());
    }

    #[test]
    fn a_full_pipe_has_room_only_when_a_page_is_free() {
        let (reader, writer) = pair(O_NONBLOCK);
        write(&writer, &[0; 65536]).unwrap();
        read(&reader, PAGE - 1).unwrap();
        assert_eq!(write(&writer, &[1]), Err(Errno::EAGAIN));
        read(&reader, 1).unwrap();
        assert_eq!(writer.file.readiness(), WRITABLE);
        assert_eq!(write(&writer, &[1; 5000]), Ok(PAGE));
    }

    #[test]
    fn the_end_is_read_after_the_last_writer() {
        let (reader, writer) = pair(O_NONBLOCK);
        assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
        write(&writer, b"xy").unwrap();
        drop(writer);
        assert_eq!(reader.file.readiness(), READABLE | Readiness::HUP);
        assert_eq!(read(&reader, 8).unwrap(), b"xy");
        assert_eq!(read(&reader, 8).unwrap(), b"");
    }

    #[test]
    fn writers_without_readers_are_told() {
        let (reader, writer) = pair(0);
        drop(reader);
        assert_eq!(writer.file.readiness(), WRITABLE | Readiness::ERR);
        let pipe = writer.file.as_any().downcast_ref::<PipeFile>().unwrap();
        let written = pipe.pipe.write(false, false, &mut BufferSource(b"x"));
        assert_eq!(written.stopped, Some(Errno::EPIPE));
        assert_eq!(write(&writer, b""), Ok(0));
    }

    #[test]
    fn packets_are_read_one_by_one_and_their_rest_is_lost() {
        let (reader, writer) = pair(O_NONBLOCK | O_DIRECT);
        write(&writer, b"abc").unwrap();
        write(&writer, b"de").unwrap();
        assert_eq!(read(&reader, 2).unwrap(), b"ab");
        assert_eq!(read(&reader, 8).unwrap(), b"de");
        assert_eq!(read(&reader, 8), Err(Errno::EAGAIN));
    }

    #[test]
    fn the_size_follows_the_rules_of_fcntl() {
        let (_reader, writer) = pair(O_NONBLOCK);
        let pipe = writer.file.as_any().downcast_ref::<PipeFile>().unwrap();
        assert_eq!(pipe.size(), 65536);
        assert_eq!(pipe.set_size(5000), Ok(8192));
        assert_eq!(write(&writer, &[0; 10000]), Ok(8192));
        assert_eq!(pipe.set_size(0), Err(Errno::EBUSY));
        assert_eq!(pipe.set_size(SIZE_MAX + 1), Err(Errno::EPERM));
        assert_eq!(pipe.set_size(1 << 32), Err(Errno::EINVAL));
    }

    #[test]
    fn a_fifo_opened_before_its_writer_has_not_hung_up() {
        let fifo = Fifo::default();
        let open = |flags| fifo.open(flags | O_NONBLOCK);
        assert_eq!(open(O_WRONLY).err(), Some(Errno::ENXIO));
        let reader = open(O_RDONLY).unwrap();
        assert_eq!(reader.readiness(), Readiness::empty());
        let writer = open(O_WRONLY).unwrap();
        drop(writer);
        assert_eq!(reader.readiness(), Readiness::HUP);
    }
}
