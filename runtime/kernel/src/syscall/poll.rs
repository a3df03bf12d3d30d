//! poll(2), select(2) and their variants with a signal mask.

use alloc::vec::Vec;

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry, Support};
use super::timeout::Timeout;
use crate::fs::fd::{FdTable, FD_MAX};
use crate::fs::file::Readiness;
use crate::fs::poll::{self, Question};
use crate::process::Thread;
use crate::signal::{self, set::SigSet};
use crate::{Errno, Result};

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 7,
        name: "poll",
        args: &[Arg::Ptr, Arg::Uint, Arg::Int],
        support: Support::Full,
        note: "",
        handler: sys_poll,
    },
    Entry {
        number: 271,
        name: "ppoll",
        args: &[Arg::Ptr, Arg::Uint, Arg::Ptr, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: sys_ppoll,
    },
    Entry {
        number: 23,
        name: "select",
        args: &[Arg::Int, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: sys_select,
    },
    Entry {
        number: 270,
        name: "pselect6",
        args: &[Arg::Int, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: sys_pselect6,
    },
];

/// poll reports these whether asked for or not.
const ALWAYS: Readiness = Readiness::ERR.union(Readiness::HUP);

/// `struct pollfd`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

fn sys_poll(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let timeout = Timeout::milliseconds(args[2] as i32);
    poll_files(thread, args[0], args[1] as u32, &timeout)
}

fn sys_ppoll(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let timeout = Timeout::timespec(args[2])?;
    let mask = read_mask(args[3], args[4])?;
    let result = signal::with_temporary_mask(thread, mask, || {
        poll_files(thread, args[0], args[1] as u32, &timeout)
    });
    timeout.write_back(result)
}

fn poll_files(thread: &Thread, address: u64, count: u32, timeout: &Timeout) -> Result<u64> {
    let count = count as usize;
    if count > FD_MAX {
        return Err(Errno::EINVAL);
    }
    let mut fds: Vec<PollFd> = user::read_array(address, count)?;

    let questions: Vec<Question> = {
        let files = thread.process.files.read();
        let question = |fd: &PollFd| Question {
            file: files.usable(fd.fd).ok(),
            events: Readiness::from_bits_truncate(fd.events as u32) | ALWAYS,
        };
        fds.iter().map(question).collect()
    };
    let mut answers = alloc::vec![Readiness::empty(); count];
    let closed = mark_closed(&mut fds, &questions);
    let ready = match closed {
        0 => wait(&questions, timeout, &mut answers)?,
        _ => poll::look(&questions, &mut answers),
    };

    for (i, (fd, answer)) in fds.iter().zip(&answers).enumerate() {
        let revents = fd.revents | answer.bits() as u16;
        user::write(address + i as u64 * 8 + 6, &revents)?;
    }
    Ok((ready + closed) as u64)
}

// Sets `revents` to POLLNVAL for what is not open and to nothing for the others; a negative descriptor only keeps its
// place. Returns how many are not open.
fn mark_closed(fds: &mut [PollFd], questions: &[Question]) -> usize {
    let mut closed = 0;
    for (fd, question) in fds.iter_mut().zip(questions) {
        let invalid = fd.fd >= 0 && question.file.is_none();
        fd.revents = if invalid {
            Readiness::NVAL.bits() as u16
        } else {
            0
        };
        closed += usize::from(invalid);
    }
    closed
}

// poll and select are not restarted when a handler ran.
fn wait(questions: &[Question], timeout: &Timeout, answers: &mut [Readiness]) -> Result<usize> {
    if timeout.is_zero() {
        return Ok(poll::look(questions, answers));
    }
    poll::wait(questions, timeout.deadline(), answers).map_err(|_| signal::ERESTARTNOHAND)
}

/// A signal mask argument; a null pointer keeps the mask.
pub fn read_mask(address: u64, size: u64) -> Result<Option<SigSet>> {
    match (address, size) {
        (0, _) => Ok(None),
        (_, 8) => user::read(address).map(|bits| Some(SigSet(bits))),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_select(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let timeout = Timeout::timeval(args[4])?;
    let result = select(
        thread,
        args[0] as i32,
        [args[1], args[2], args[3]],
        &timeout,
    );
    timeout.write_back(result)
}

fn sys_pselect6(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (mask, size) = match args[5] {
        0 => (0, 0),
        address => (user::read::<u64>(address)?, user::read::<u64>(address + 8)?),
    };
    let timeout = Timeout::timespec(args[4])?;
    let mask = read_mask(mask, size)?;
    let result = signal::with_temporary_mask(thread, mask, || {
        select(
            thread,
            args[0] as i32,
            [args[1], args[2], args[3]],
            &timeout,
        )
    });
    timeout.write_back(result)
}

/// What a bit in each of the three sets asks for; a bit in the result says that one of these came true.
const SETS: [Readiness; 3] = [
    Readiness::IN
        .union(Readiness::RDNORM)
        .union(Readiness::HUP)
        .union(Readiness::ERR),
    Readiness::OUT
        .union(Readiness::WRNORM)
        .union(Readiness::ERR),
    Readiness::PRI,
];

fn select(thread: &Thread, count: i32, addresses: [u64; 3], timeout: &Timeout) -> Result<u64> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let files = thread.process.files.read();
    let count = count.min(table_size(&files));
    drop(files);
    let words = count.div_ceil(64);
    let mut sets: [Vec<u64>; 3] = Default::default();
    for (set, address) in sets.iter_mut().zip(addresses) {
        *set = match address {
            0 => alloc::vec![0; words],
            address => user::read_array(address, words)?,
        };
    }

    let fds = wanted(&sets, count);
    let questions: Vec<Question> = {
        let files = thread.process.files.read();
        let question = |&(fd, events): &(usize, Readiness)| {
            files.usable(fd as i32).map(|file| Question {
                file: Some(file),
                events,
            })
        };
        fds.iter().map(question).collect::<Result<_>>()?
    };
    let mut answers = alloc::vec![Readiness::empty(); fds.len()];
    wait(&questions, timeout, &mut answers)?;

    let found = keep_ready(&mut sets, &fds, &answers);
    for (set, address) in sets.iter().zip(addresses) {
        if address != 0 {
            user::copy_out(address, set.as_bytes())?;
        }
    }
    Ok(found)
}

// Linux looks at no more descriptors than its table has room for: 64 at first, then a power of two.
fn table_size(files: &FdTable) -> usize {
    match files.open().map(|(fd, _)| fd as usize + 1).last() {
        Some(size) if size > 64 => size.next_power_of_two().max(256),
        _ => 64,
    }
}

// Descriptors that are in a set, with what is asked about each.
fn wanted(sets: &[Vec<u64>; 3], count: usize) -> Vec<(usize, Readiness)> {
    (0..count)
        .map(|fd| (fd, events_of(sets, fd)))
        .filter(|(_, events)| !events.is_empty())
        .collect()
}

fn events_of(sets: &[Vec<u64>; 3], fd: usize) -> Readiness {
    sets.iter()
        .zip(SETS)
        .filter(|(set, _)| set[fd / 64] >> (fd % 64) & 1 != 0)
        .fold(Readiness::empty(), |all, (_, events)| all | events)
}

// Leaves only the bits in the sets whose descriptors are ready; returns how many are left.
fn keep_ready(sets: &mut [Vec<u64>; 3], fds: &[(usize, Readiness)], answers: &[Readiness]) -> u64 {
    let mut found = 0;
    for (&(fd, _), answer) in fds.iter().zip(answers) {
        for (set, events) in sets.iter_mut().zip(SETS) {
            let bit = 1 << (fd % 64);
            if !answer.intersects(events) {
                set[fd / 64] &= !bit;
            } else if set[fd / 64] & bit != 0 {
                found += 1;
            }
        }
    }
    found
}
