//! futex(2) and its relatives.

use linux_raw_sys::general as raw;
use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use core::sync::atomic::Ordering;

use super::table::{Arg, Entry};
use crate::process::{futex, robust, Thread};
use crate::signal::ERESTARTNOHAND;
use crate::time::{self, TimeSpec};
use crate::{Errno, Result};

const OPERATIONS: &[(u64, &str)] = &[
    (0, "FUTEX_WAIT"),
    (1, "FUTEX_WAKE"),
    (3, "FUTEX_REQUEUE"),
    (4, "FUTEX_CMP_REQUEUE"),
    (5, "FUTEX_WAKE_OP"),
    (6, "FUTEX_LOCK_PI"),
    (7, "FUTEX_UNLOCK_PI"),
    (8, "FUTEX_TRYLOCK_PI"),
    (9, "FUTEX_WAIT_BITSET"),
    (10, "FUTEX_WAKE_BITSET"),
    (13, "FUTEX_LOCK_PI2"),
    (128, "FUTEX_WAIT_PRIVATE"),
    (129, "FUTEX_WAKE_PRIVATE"),
    (131, "FUTEX_REQUEUE_PRIVATE"),
    (132, "FUTEX_CMP_REQUEUE_PRIVATE"),
    (133, "FUTEX_WAKE_OP_PRIVATE"),
    (134, "FUTEX_LOCK_PI_PRIVATE"),
    (135, "FUTEX_UNLOCK_PI_PRIVATE"),
    (136, "FUTEX_TRYLOCK_PI_PRIVATE"),
    (137, "FUTEX_WAIT_BITSET_PRIVATE"),
    (138, "FUTEX_WAKE_BITSET_PRIVATE"),
    (265, "FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME"),
    (393, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"),
];

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(raw::__NR_futex, "futex", &[Arg::Ptr,
            Arg::Enum(OPERATIONS),
            Arg::Int,
            Arg::Ptr,
            Arg::Ptr,
            Arg::Hex,], futex).partial("Priority-inheriting locks work, without priorities; FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI and FUTEX_FD give ENOSYS. Two mappings of one shared file page are two futexes."),
    Entry::full(raw::__NR_set_robust_list, "set_robust_list", &[Arg::Ptr, Arg::Uint], set_robust_list),
    Entry::full(raw::__NR_get_robust_list, "get_robust_list", &[Arg::Int, Arg::Ptr, Arg::Ptr], get_robust_list),
    Entry::full(raw::__NR_futex_waitv, "futex_waitv", &[Arg::Ptr, Arg::Uint, Arg::Hex, Arg::Ptr, Arg::Int], futex_waitv),
];

fn count(value: u64) -> usize {
    // As on Linux a negative count is one: the loop ends after the first.
    match value as i32 {
        n if n <= 0 => 1,
        n => n as usize,
    }
}

fn bounded(value: u64) -> Result<usize> {
    usize::try_from(value as i32).map_err(|_| Errno::EINVAL)
}

fn futex(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [address, operation, value, timeout, second, third] = args;
    let command = operation as u32 & !(raw::FUTEX_PRIVATE_FLAG | raw::FUTEX_CLOCK_REALTIME);
    let wall = operation as u32 & raw::FUTEX_CLOCK_REALTIME != 0;
    let waits = matches!(
        command,
        raw::FUTEX_WAIT_BITSET | raw::FUTEX_WAIT | raw::FUTEX_LOCK_PI2
    );
    if wall && (!waits || command == raw::FUTEX_WAIT) {
        return Err(Errno::ENOSYS);
    }
    let woken = |n: usize| n as u64;
    match command {
        raw::FUTEX_WAIT => {
            let deadline = relative(timeout)?;
            futex::wait(thread, address, value as u32, futex::ANY, deadline)
                .map(|()| 0)
                .map_err(|errno| match (errno, deadline) {
                    // Not restarted: the time that is left would have to be counted.
                    (ERESTARTNOHAND, Some(_)) => Errno::EINTR,
                    _ => errno,
                })
        }
        raw::FUTEX_WAIT_BITSET => {
            let deadline = absolute(timeout, wall)?;
            futex::wait(thread, address, value as u32, third as u32, deadline).map(|()| 0)
        }
        raw::FUTEX_WAKE => futex::wake_checked(address, count(value), futex::ANY).map(woken),
        raw::FUTEX_WAKE_BITSET => {
            futex::wake_checked(address, count(value), third as u32).map(woken)
        }
        raw::FUTEX_REQUEUE => {
            let (wake, moved) = (bounded(value)?, bounded(timeout)?);
            futex::requeue(address, second, wake, moved, None).map(woken)
        }
        raw::FUTEX_CMP_REQUEUE => {
            let (wake, moved) = (bounded(value)?, bounded(timeout)?);
            futex::requeue(address, second, wake, moved, Some(third as u32)).map(woken)
        }
        raw::FUTEX_WAKE_OP => {
            let (first, other) = (count(value), count(timeout));
            futex::wake_op(address, second, first, other, third as u32).map(woken)
        }
        raw::FUTEX_LOCK_PI => {
            futex::lock(thread, address, true, absolute(timeout, true)?).map(|()| 0)
        }
        raw::FUTEX_LOCK_PI2 => {
            futex::lock(thread, address, true, absolute(timeout, wall)?).map(|()| 0)
        }
        raw::FUTEX_TRYLOCK_PI => futex::lock(thread, address, false, None).map(|()| 0),
        raw::FUTEX_UNLOCK_PI => futex::unlock(thread, address).map(|()| 0),
        _ => Err(Errno::ENOSYS),
    }
}

fn relative(timeout: u64) -> Result<Option<u64>> {
    if timeout == 0 {
        return Ok(None);
    }
    let ns = user::read::<TimeSpec>(timeout)?.to_ns()?;
    Ok(Some(time::after(ns)))
}

fn absolute(timeout: u64, wall: bool) -> Result<Option<u64>> {
    if timeout == 0 {
        return Ok(None);
    }
    let ns = user::read::<TimeSpec>(timeout)?.to_ns()?;
    let clock = match wall {
        true => time::Clock::Wall(raw::CLOCK_REALTIME),
        false => time::Clock::Steady(raw::CLOCK_MONOTONIC),
    };
    clock.deadline(ns, true).map(Some)
}

fn set_robust_list(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    if args[1] != robust::HEAD_SIZE {
        return Err(Errno::EINVAL);
    }
    thread.robust_list.store(args[0], Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let head = match args[0] as u32 {
        0 => thread.robust_list.load(Ordering::Relaxed),
        tid => {
            let other = thread.process.thread(tid).ok_or(Errno::ESRCH)?;
            other.robust_list.load(Ordering::Relaxed)
        }
    };
    user::write(args[2], &robust::HEAD_SIZE)?;
    user::write(args[1], &head)?;
    Ok(0)
}

/// `struct futex_waitv`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct WaitV {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

const FUTEX_32: u32 = 2;

fn futex_waitv(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [waiters, count, flags, timeout, clock, _] = args;
    if flags as u32 != 0 || count as u32 == 0 || count as u32 > raw::FUTEX_WAITV_MAX || waiters == 0
    {
        return Err(Errno::EINVAL);
    }
    let deadline = match timeout {
        0 => None,
        _ if clock as u32 > raw::CLOCK_MONOTONIC => return Err(Errno::EINVAL),
        _ => absolute(timeout, clock as u32 == raw::CLOCK_REALTIME)?,
    };
    let mut futexes = alloc::vec::Vec::new();
    for given in user::read_array::<WaitV>(waiters, count as u32 as usize)? {
        let known = FUTEX_32 | raw::FUTEX_PRIVATE_FLAG;
        if given.flags & !known != 0 || given.flags & FUTEX_32 == 0 || given.reserved != 0 {
            return Err(Errno::EINVAL);
        }
        futexes.push(futex::Waited {
            address: given.address,
            expected: given.value as u32,
        });
    }
    futex::wait_any(thread, &futexes, deadline).map(|index| index as u64)
}
