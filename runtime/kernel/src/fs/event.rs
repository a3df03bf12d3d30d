//! Event counters (eventfd(2)).

use alloc::sync::Arc;
use core::any::Any;

use mystikos_platform::sync::Mutex;

use super::anonymous;
use super::file::{File, OpenFile, Readiness, Stat};
use super::io::{Sink, Source};
use crate::process::wait::{wait_until, WaitQueue};
use crate::{Errno, Result};

/// Bytes of a value.
const SIZE: usize = 8;

/// A counter that is read and written as a file.
pub struct EventFd {
    count: Mutex<u64>,
    /// Reading takes one and not all.
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// A counter with a first value.
    pub fn new(count: u32, semaphore: bool) -> Arc<EventFd> {
        Arc::new(EventFd {
            count: Mutex::new(count.into()),
            semaphore,
            queue: WaitQueue::new(),
        })
    }

    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        let taken = match *count {
            0 => return None,
            _ if self.semaphore => 1,
            all => all,
        };
        *count -= taken;
        Some(taken)
    }

    // The counter never reaches u64::MAX, which would be an error condition.
    fn give(&self, value: u64) -> Option<()> {
        let mut count = self.count.lock();
        *count = count.checked_add(value).filter(|&sum| sum != u64::MAX)?;
        Some(())
    }

    // Tries `act`, waiting for the other side unless the description does not block.
    fn attempt<T>(&self, description: &OpenFile, mut act: impl FnMut() -> Option<T>) -> Result<T> {
        match act() {
            Some(value) => Ok(value),
            None if description.is_nonblocking() => Err(Errno::EAGAIN),
            None => Ok(wait_until(&[&self.queue], None, act)?),
        }
    }
}

impl File for EventFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::stat())
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < SIZE {
            return Err(Errno::EINVAL);
        }
        let value = self.attempt(description, || self.take())?;
        self.queue.wake(Readiness::OUT);
        match sink.put(&value.to_ne_bytes())? {
            SIZE => Ok(SIZE),
            _ => Err(Errno::EFAULT),
        }
    }

    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        let mut value = [0; SIZE];
        if source.remaining() < SIZE {
            return Err(Errno::EINVAL);
        }
        if source.take(&mut value)? < SIZE {
            return Err(Errno::EFAULT);
        }
        let value = u64::from_ne_bytes(value);
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        self.attempt(description, || self.give(value))?;
        self.queue.wake(Readiness::IN);
        Ok(SIZE)
    }

    fn seek(&self, _description: &OpenFile, _offset: i64, _whence: u32) -> Result<u64> {
        // Without a position, but no error.
        Ok(0)
    }

    fn readiness(&self) -> Readiness {
        let count = *self.count.lock();
        let mut ready = Readiness::empty();
        ready.set(Readiness::IN, count > 0);
        ready.set(Readiness::OUT, count < u64::MAX - 1);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("eventfd")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::{BufferSink, BufferSource};
    use super::*;

    const O_RDWR_NONBLOCK: u32 = 0o4002;

    fn write(file: &OpenFile, value: u64) -> Result<usize> {
        file.file
            .write(file, &mut BufferSource(&value.to_ne_bytes()))
    }

    fn read(file: &OpenFile) -> Result<u64> {
        let mut value = [0; 8];
        file.file.read(file, &mut BufferSink::new(&mut value))?;
        Ok(u64::from_ne_bytes(value))
    }

    #[test]
    fn reading_takes_all() {
        let file = OpenFile::new(EventFd::new(3, false), O_RDWR_NONBLOCK);
        write(&file, 4).unwrap();
        assert_eq!(read(&file), Ok(7));
        assert_eq!(read(&file), Err(Errno::EAGAIN));
    }

    #[test]
    fn reading_a_semaphore_takes_one() {
        let file = OpenFile::new(EventFd::new(2, true), O_RDWR_NONBLOCK);
        assert_eq!([read(&file), read(&file)], [Ok(1), Ok(1)]);
        assert_eq!(read(&file), Err(Errno::EAGAIN));
    }

    #[test]
    fn the_counter_stops_short_of_the_largest_number() {
        let file = OpenFile::new(EventFd::new(0, false), O_RDWR_NONBLOCK);
        assert_eq!(write(&file, u64::MAX), Err(Errno::EINVAL));
        write(&file, u64::MAX - 1).unwrap();
        assert_eq!(file.file.readiness(), Readiness::IN);
        assert_eq!(write(&file, 1), Err(Errno::EAGAIN));
        assert_eq!(write(&file, 0), Ok(8));
        assert_eq!(read(&file), Ok(u64::MAX - 1));
    }

    #[test]
    fn short_buffers_are_refused() {
        let file = OpenFile::new(EventFd::new(1, false), O_RDWR_NONBLOCK);
        let short = file.file.read(&file, &mut BufferSink::new(&mut [0; 7]));
        assert_eq!(short, Err(Errno::EINVAL));
        let short = file.file.write(&file, &mut BufferSource(&[0; 7]));
        assert_eq!(short, Err(Errno::EINVAL));
    }
}
