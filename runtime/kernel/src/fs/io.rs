//! Where data goes to and comes from: application memory (vectored) or a kernel buffer. A file moves its bytes straight
//! from or to the place where they stay; nothing is copied twice.

use alloc::vec::Vec;

use mystikos_platform::user;

use crate::{Errno, Result};

/// Takes the bytes that a file delivers.
pub trait Sink {
    /// Bytes that still fit.
    fn remaining(&self) -> usize;
    /// Takes as many bytes as fit and returns how many; EFAULT only when not a single one could be stored.
    fn put(&mut self, bytes: &[u8]) -> Result<usize>;
}

/// Gives the bytes that a file takes.
pub trait Source {
    /// Bytes that are left.
    fn remaining(&self) -> usize;
    /// Fills `to` as far as there are bytes and returns how many; EFAULT only when not a single one could be read.
    fn take(&mut self, to: &mut [u8]) -> Result<usize>;
}

/// A kernel buffer to be filled.
pub struct BufferSink<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

impl<'a> BufferSink<'a> {
    /// Fills `buffer` from its start.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        BufferSink { buffer, filled: 0 }
    }

    /// Bytes stored so far.
    pub fn filled(&self) -> usize {
        self.filled
    }
}

impl Sink for BufferSink<'_> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.filled
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = bytes.len().min(self.remaining());
        self.buffer[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        Ok(n)
    }
}

/// A kernel buffer to be read.
pub struct BufferSource<'a>(pub &'a [u8]);

impl Source for BufferSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, to: &mut [u8]) -> Result<usize> {
        let n = to.len().min(self.0.len());
        to[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// A run of application memory (`struct iovec`).
#[derive(Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
pub struct IoVec {
    /// Address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

/// IOV_MAX.
const IOVEC_MAX: u64 = 1024;

/// MAX_RW_COUNT: more is not moved in one call (read(2)).
const COUNT_MAX: u64 = 0x7fff_f000;

/// Application memory to be read or filled.
pub struct UserBuffers {
    vectors: Vec<IoVec>,
    next: usize,
    remaining: usize,
}

impl UserBuffers {
    /// One run.
    pub fn single(base: u64, len: u64) -> Self {
        let len = len.min(COUNT_MAX);
        UserBuffers {
            vectors: alloc::vec![IoVec { base, len }],
            next: 0,
            remaining: len as usize,
        }
    }

    /// The runs of an iovec array in application memory (readv(2) for the errors).
    pub fn vectored(address: u64, count: u64) -> Result<Self> {
        if count > IOVEC_MAX {
            return Err(Errno::EINVAL);
        }
        let mut vectors: Vec<IoVec> = user::read_array(address, count as usize)?;
        let mut total = 0u64;
        for vector in &mut vectors {
            if vector.len > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            vector.len = vector.len.min(COUNT_MAX - total);
            total += vector.len;
        }
        Ok(UserBuffers {
            vectors,
            next: 0,
            remaining: total as usize,
        })
    }

    // Moves up to `most` bytes run by run; `step(address, done, n)` moves `n` bytes and says how many it could.
    fn advance(
        &mut self,
        most: usize,
        mut step: impl FnMut(u64, usize, usize) -> usize,
    ) -> Result<usize> {
        let mut done = 0;
        while done < most && self.next < self.vectors.len() {
            let vector = &mut self.vectors[self.next];
            let n = (most - done).min(vector.len as usize);
            let moved = step(vector.base, done, n);
            vector.base += moved as u64;
            vector.len -= moved as u64;
            done += moved;
            self.remaining -= moved;
            if moved < n {
                self.next = self.vectors.len();
                self.remaining = 0;
                break;
            }
            if vector.len == 0 {
                self.next += 1;
            }
        }
        if done == 0 && most > 0 {
            return Err(Errno::EFAULT);
        }
        Ok(done)
    }
}

impl Sink for UserBuffers {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let most = bytes.len().min(self.remaining);
        self.advance(most, |address, done, n| {
            user::copy_out_partly(address, &bytes[done..done + n])
        })
    }
}

impl Source for UserBuffers {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn take(&mut self, to: &mut [u8]) -> Result<usize> {
        let most = to.len().min(self.remaining);
        self.advance(most, |address, done, n| {
            match user::copy_in(address, &mut to[done..done + n]) {
                Ok(()) => n,
                Err(_) => 0,
            }
        })
    }
}
