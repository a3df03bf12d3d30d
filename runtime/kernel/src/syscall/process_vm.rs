//! Memory of a process through its ID: there is one process, so it is always the caller's own.

use alloc::vec::Vec;

use mystikos_platform::user;

use super::table::{Arg, Entry, Support};
use crate::fs::io::IoVec;
use crate::process::Thread;
use crate::{Errno, Result};

const OWN: &str = "only of the process itself, as there is no other";
const ARGS: &[Arg] = &[Arg::Int, Arg::Ptr, Arg::Uint, Arg::Ptr, Arg::Uint, Arg::Hex];

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 310,
        name: "process_vm_readv",
        args: ARGS,
        support: Support::Partial,
        note: OWN,
        handler: |thread, arguments| transfer(thread, arguments, Direction::Read),
    },
    Entry {
        number: 311,
        name: "process_vm_writev",
        args: ARGS,
        support: Support::Partial,
        note: OWN,
        handler: |thread, arguments| transfer(thread, arguments, Direction::Write),
    },
    Entry {
        number: 440,
        name: "process_madvise",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint, Arg::Int, Arg::Hex],
        support: Support::Refused,
        note: "as Linux before 5.10",
        handler: |_, _| Err(Errno::ENOSYS),
    },
    Entry {
        number: 448,
        name: "process_mrelease",
        args: &[Arg::Fd, Arg::Hex],
        support: Support::Refused,
        note: "as Linux before 5.15",
        handler: |_, _| Err(Errno::ENOSYS),
    },
];

/// IOV_MAX.
const IOVEC_MAX: u64 = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

fn transfer(
    thread: &Thread,
    [pid, local, local_count, remote, remote_count, flags]: [u64; 6],
    direction: Direction,
) -> Result<u64> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let local = vectors(local, local_count)?;
    let total: u64 = local.iter().map(|v| v.len).sum();
    if total == 0 {
        return Ok(0);
    }
    let remote = vectors(remote, remote_count)?;
    let is_own = u32::try_from(pid as i32).is_ok_and(|pid| {
        pid == thread.process.pid || thread.process.threads.lock().contains_key(&pid)
    });
    if !is_own {
        return Err(Errno::ESRCH);
    }
    let moved = match direction {
        Direction::Read => copy(&remote, &local),
        Direction::Write => copy(&local, &remote),
    };
    match moved {
        0 if remote.iter().any(|v| v.len > 0) => Err(Errno::EFAULT),
        moved => Ok(moved),
    }
}

fn vectors(address: u64, count: u64) -> Result<Vec<IoVec>> {
    if count > IOVEC_MAX {
        return Err(Errno::EINVAL);
    }
    let vectors: Vec<IoVec> = user::read_array(address, count as usize)?;
    let mut total = 0u64;
    for vector in &vectors {
        total = total.checked_add(vector.len).ok_or(Errno::EINVAL)?;
    }
    match i64::try_from(total) {
        Ok(_) => Ok(vectors),
        Err(_) => Err(Errno::EINVAL),
    }
}

// Copies from one list of runs to another until one ends or something is not accessible; returns the bytes.
fn copy(from: &[IoVec], to: &[IoVec]) -> u64 {
    let mut chunk = [0u8; 2048];
    let (mut from, mut to) = (Runs::new(from), Runs::new(to));
    let mut moved = 0;
    while let (Some(source), Some(target)) = (from.run(), to.run()) {
        let n = source.len.min(target.len).min(chunk.len() as u64);
        let piece = &mut chunk[..n as usize];
        if user::copy_in(source.base, piece).is_err() {
            break;
        }
        let written = user::copy_out_partly(target.base, piece) as u64;
        moved += written;
        if written < n {
            break;
        }
        from.advance(n);
        to.advance(n);
    }
    moved
}

struct Runs<'a> {
    rest: core::slice::Iter<'a, IoVec>,
    now: Option<IoVec>,
}

impl<'a> Runs<'a> {
    fn new(runs: &'a [IoVec]) -> Self {
        Runs {
            rest: runs.iter(),
            now: None,
        }
    }

    // What is left of the run at hand; empty runs are passed over.
    fn run(&mut self) -> Option<IoVec> {
        while self.now.is_none_or(|run| run.len == 0) {
            self.now = Some(*self.rest.next()?);
        }
        self.now
    }

    fn advance(&mut self, by: u64) {
        if let Some(run) = &mut self.now {
            run.base += by;
            run.len -= by;
        }
    }
}
