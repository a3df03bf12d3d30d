//! futex(2): threads that wait for a word of application memory.
//!
//! Waiters stand in buckets by the address of their word, first come, first served. The word is compared, and the waiter
//! queued, under the bucket's lock, so that a wake cannot fall between. All memory is one address space: private and
//! shared futexes are the same. (Two mappings of one shared file page would be two futexes.)

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linux_raw_sys::general as raw;
use mystikos_platform::sync::{Mutex, MutexGuard};
use mystikos_platform::{control, host, user};

use super::wait::{self, Interrupted};
use super::Thread;
use crate::signal::{ERESTARTNOHAND, ERESTARTNOINTR};
use crate::{Errno, Result};

/// The bitset that matches every waiter.
pub const ANY: u32 = u32::MAX;

/// A thread that waits.
struct Waiter {
    slot: usize,
    tid: u32,
    address: AtomicU64,
    bitset: u32,
    /// It has been taken out of its bucket by a wake.
    woken: AtomicBool,
    /// It waits for a lock with an owner (FUTEX_LOCK_PI).
    lock: bool,
}

type Bucket = VecDeque<Arc<Waiter>>;

const BUCKETS: usize = 256;

struct Table([Mutex<Bucket>; BUCKETS]);

static TABLE: Table = Table([const { Mutex::new(VecDeque::new()) }; BUCKETS]);

fn index(address: u64) -> usize {
    // Fibonacci hashing of the word's number.
    ((address >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % BUCKETS
}

impl Table {
    fn bucket(&self, address: u64) -> MutexGuard<'_, Bucket> {
        self.0[index(address)].lock()
    }

    /// The buckets of two addresses, locked in the order of their indices; `None` for the second when it is the same.
    fn two(&self, a: u64, b: u64) -> (MutexGuard<'_, Bucket>, Option<MutexGuard<'_, Bucket>>) {
        match (index(a), index(b)) {
            (i, j) if i == j => (self.0[i].lock(), None),
            (i, j) if i < j => {
                let first = self.0[i].lock();
                let second = self.0[j].lock();
                (first, Some(second))
            }
            (i, j) => {
                let second = self.0[j].lock();
                let first = self.0[i].lock();
                (first, Some(second))
            }
        }
    }
}

/// Takes up to `count` waiters for `address` that match out of a bucket, in order.
fn take(bucket: &mut Bucket, address: u64, count: usize, bitset: u32) -> VecDeque<Arc<Waiter>> {
    let mut taken = VecDeque::new();
    let mut at = 0;
    while taken.len() < count && at < bucket.len() {
        let waiter = &bucket[at];
        let here = waiter.address.load(Ordering::Relaxed) == address;
        if here && waiter.bitset & bitset != 0 && !waiter.lock {
            taken.extend(bucket.remove(at));
        } else {
            at += 1;
        }
    }
    taken
}

/// Lets waiters that were taken out of their buckets go. The buckets' locks have been given up.
fn release(taken: VecDeque<Arc<Waiter>>) -> usize {
    let count = taken.len();
    for waiter in taken {
        waiter.woken.store(true, Ordering::SeqCst);
        host::wake(waiter.slot);
    }
    count
}

/// The address of a futex: EINVAL unless aligned.
fn aligned(address: u64) -> Result<u64> {
    match address % 4 {
        0 => Ok(address),
        _ => Err(Errno::EINVAL),
    }
}

impl Waiter {
    fn new(thread: &Thread, address: u64, bitset: u32, lock: bool) -> Arc<Self> {
        Arc::new(Waiter {
            slot: control::slot(),
            tid: thread.tid,
            address: AtomicU64::new(address),
            bitset,
            woken: AtomicBool::new(false),
            lock,
        })
    }

    /// Sleeps until woken; otherwise takes itself out of its bucket. A wake that comes in between counts.
    fn sleep(self: &Arc<Self>, deadline: Option<u64>) -> core::result::Result<(), Interrupted> {
        let woken = || self.woken.load(Ordering::SeqCst).then_some(());
        match wait::wait_until(&[], deadline, woken) {
            Ok(()) => Ok(()),
            Err(reason) if self.withdraw() => Err(reason),
            Err(_) => Ok(()),
        }
    }

    /// Takes itself out of its bucket; false when a wake has done so before.
    fn withdraw(self: &Arc<Self>) -> bool {
        loop {
            let address = self.address.load(Ordering::SeqCst);
            let mut bucket = TABLE.bucket(address);
            // Requeueing changes the address under both buckets' locks.
            if self.address.load(Ordering::SeqCst) != address {
                continue;
            }
            let at = bucket.iter().position(|w| Arc::ptr_eq(w, self));
            return at.and_then(|at| bucket.remove(at)).is_some();
        }
    }
}

/// FUTEX_WAIT, FUTEX_WAIT_BITSET: EAGAIN when the word does not hold `expected`, ETIMEDOUT, ERESTARTSYS,
/// or ERESTARTNOHAND when there is a deadline.
pub fn wait(
    thread: &Thread,
    address: u64,
    expected: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let address = aligned(address)?;
    let waiter = Waiter::new(thread, address, bitset, false);
    {
        let mut bucket = TABLE.bucket(address);
        if user::load_u32(address)? != expected {
            return Err(Errno::EAGAIN);
        }
        bucket.push_back(waiter.clone());
    }
    waiter.sleep(deadline).map_err(|reason| match reason {
        Interrupted::Signal if deadline.is_some() => ERESTARTNOHAND,
        reason => reason.into(),
    })
}

/// FUTEX_WAKE, FUTEX_WAKE_BITSET: number of threads woken.
pub fn wake(address: u64, count: usize, bitset: u32) -> usize {
    let taken = take(&mut TABLE.bucket(address), address, count, bitset);
    release(taken)
}

/// FUTEX_WAKE as called by the application: the address is checked.
pub fn wake_checked(address: u64, count: usize, bitset: u32) -> Result<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let address = aligned(address)?;
    if !mystikos_platform::memory::is_user(address, 4) {
        return Err(Errno::EFAULT);
    }
    Ok(wake(address, count, bitset))
}

/// FUTEX_REQUEUE, FUTEX_CMP_REQUEUE: wakes `wake` waiters and moves up to `move_count` others to the second word.
pub fn requeue(
    from: u64,
    to: u64,
    wake: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result<usize> {
    let (from, to) = (aligned(from)?, aligned(to)?);
    let (taken, moved) = {
        let (mut first, mut second) = TABLE.two(from, to);
        if let Some(expected) = expected {
            if user::load_u32(from)? != expected {
                return Err(Errno::EAGAIN);
            }
        }
        let taken = take(&mut first, from, wake, ANY);
        let moved = take(&mut first, from, move_count, ANY);
        for waiter in &moved {
            waiter.address.store(to, Ordering::SeqCst);
        }
        let count = moved.len();
        second.as_deref_mut().unwrap_or(&mut first).extend(moved);
        (taken, count)
    };
    let woken = release(taken);
    Ok(woken + moved)
}

/// FUTEX_WAKE_OP: changes the second word, wakes waiters of the first, and of the second if its old value compares true.
pub fn wake_op(
    first: u64,
    second: u64,
    wake_first: usize,
    wake_second: usize,
    encoded: u32,
) -> Result<usize> {
    let (first, second) = (aligned(first)?, aligned(second)?);
    let operation = Operation::decode(encoded)?;
    let (one, two) = {
        let (mut a, mut b) = TABLE.two(first, second);
        let old = update(second, |value| operation.apply(value))?;
        let one = take(&mut a, first, wake_first, ANY);
        let two = match operation.compare(old) {
            true => take(b.as_deref_mut().unwrap_or(&mut a), second, wake_second, ANY),
            false => VecDeque::new(),
        };
        (one, two)
    };
    Ok(release(one) + release(two))
}

/// Changes a word of application memory at once; returns what it held.
fn update(address: u64, change: impl Fn(u32) -> u32) -> Result<u32> {
    let mut value = user::load_u32(address)?;
    loop {
        match user::compare_exchange_u32(address, value, change(value))? {
            before if before == value => return Ok(value),
            before => value = before,
        }
    }
}

/// `val3` of FUTEX_WAKE_OP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    op: u32,
    comparison: u32,
    argument: u32,
    compared: i32,
}

impl Operation {
    fn decode(encoded: u32) -> Result<Operation> {
        // Both 12-bit arguments are signed.
        let signed = |value: u32| ((value << 20) as i32) >> 20;
        let shifted = encoded >> 28 & raw::FUTEX_OP_OPARG_SHIFT != 0;
        let argument = signed(encoded >> 12);
        let operation = Operation {
            op: encoded >> 28 & 7,
            comparison: encoded >> 24 & 0xf,
            argument: match shifted {
                true => 1u32.wrapping_shl(argument as u32 & 31),
                false => argument as u32,
            },
            compared: signed(encoded),
        };
        match operation {
            o if o.op > raw::FUTEX_OP_XOR || o.comparison > raw::FUTEX_OP_CMP_GE => {
                Err(Errno::ENOSYS)
            }
            o => Ok(o),
        }
    }

    fn apply(&self, value: u32) -> u32 {
        match self.op {
            raw::FUTEX_OP_SET => self.argument,
            raw::FUTEX_OP_ADD => value.wrapping_add(self.argument),
            raw::FUTEX_OP_OR => value | self.argument,
            raw::FUTEX_OP_ANDN => value & !self.argument,
            _ => value ^ self.argument,
        }
    }

    fn compare(&self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            raw::FUTEX_OP_CMP_EQ => old == self.compared,
            raw::FUTEX_OP_CMP_NE => old != self.compared,
            raw::FUTEX_OP_CMP_LT => old < self.compared,
            raw::FUTEX_OP_CMP_LE => old <= self.compared,
            raw::FUTEX_OP_CMP_GT => old > self.compared,
            _ => old >= self.compared,
        }
    }
}

const TID_MASK: u32 = raw::FUTEX_TID_MASK;
const WAITERS: u32 = raw::FUTEX_WAITERS;
const OWNER_DIED: u32 = raw::FUTEX_OWNER_DIED;

/// FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI: never interrupted for good. The lock is handed to the first waiter; there are no priorities to inherit.
pub fn lock(thread: &Thread, address: u64, wait: bool, deadline: Option<u64>) -> Result<()> {
    let address = aligned(address)?;
    let waiter = Waiter::new(thread, address, ANY, true);
    {
        let mut bucket = TABLE.bucket(address);
        if try_lock(thread, address, wait)? {
            return Ok(());
        }
        bucket.push_back(waiter.clone());
    }
    waiter.sleep(deadline).map_err(|reason| match reason {
        Interrupted::TimedOut => Errno::ETIMEDOUT,
        Interrupted::Signal => ERESTARTNOINTR,
    })
}

/// Takes the lock if it has no owner, else marks that there are waiters. The bucket is locked.
fn try_lock(thread: &Thread, address: u64, wait: bool) -> Result<bool> {
    let mut value = user::load_u32(address)?;
    loop {
        let owner = value & TID_MASK;
        if owner == thread.tid {
            return Err(Errno::EDEADLK);
        }
        let new = match owner {
            0 => thread.tid | value & (WAITERS | OWNER_DIED),
            _ if !wait => return Err(Errno::EAGAIN),
            _ if thread.process.thread(owner).is_none() => return Err(Errno::ESRCH),
            _ => value | WAITERS,
        };
        match user::compare_exchange_u32(address, value, new)? {
            before if before == value => return Ok(owner == 0),
            before => value = before,
        }
    }
}

/// FUTEX_UNLOCK_PI: EPERM unless the caller owns the lock.
pub fn unlock(thread: &Thread, address: u64) -> Result<()> {
    let address = aligned(address)?;
    if user::load_u32(address)? & TID_MASK != thread.tid {
        return Err(Errno::EPERM);
    }
    hand_on(address, 0)
}

/// Gives a lock to its first waiter, or to nobody. `mark` is OWNER_DIED or 0.
pub(super) fn hand_on(address: u64, mark: u32) -> Result<()> {
    let taken = {
        let mut bucket = TABLE.bucket(address);
        let waits = |w: &Arc<Waiter>| w.lock && w.address.load(Ordering::Relaxed) == address;
        let first = bucket.iter().position(waits);
        let next = first.and_then(|at| bucket.remove(at));
        let more = bucket.iter().any(waits);
        let new = match &next {
            Some(next) => next.tid | mark | if more { WAITERS } else { 0 },
            None => mark,
        };
        if let Err(errno) = update(address, |_| new) {
            if let Some(next) = next {
                bucket.push_front(next);
            }
            return Err(errno);
        }
        next
    };
    release(taken.into_iter().collect());
    Ok(())
}

/// One futex of futex_waitv(2).
pub struct Waited {
    /// Address.
    pub address: u64,
    /// Value it must hold.
    pub expected: u32,
}

/// futex_waitv(2): index of one that was woken.
pub fn wait_any(thread: &Thread, futexes: &[Waited], deadline: Option<u64>) -> Result<usize> {
    let mut waiters = alloc::vec::Vec::new();
    let mut failed = None;
    for futex in futexes {
        let queued = aligned(futex.address).and_then(|address| {
            let waiter = Waiter::new(thread, address, ANY, false);
            let mut bucket = TABLE.bucket(address);
            if user::load_u32(address)? != futex.expected {
                return Err(Errno::EAGAIN);
            }
            bucket.push_back(waiter.clone());
            Ok(waiter)
        });
        match queued {
            Ok(waiter) => waiters.push(waiter),
            Err(errno) => {
                failed = Some(errno);
                break;
            }
        }
    }
    let woken =
        |waiters: &[Arc<Waiter>]| waiters.iter().position(|w| w.woken.load(Ordering::SeqCst));
    let outcome = match failed {
        Some(errno) => Err(errno),
        None => wait::wait_until(&[], deadline, || woken(&waiters)).map_err(Errno::from),
    };
    for waiter in &waiters {
        waiter.withdraw();
    }
    // A wake that came until now counts.
    match woken(&waiters) {
        Some(index) => Ok(index),
        None => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(slot: usize, address: u64, bitset: u32) -> Arc<Waiter> {
        Arc::new(Waiter {
            slot,
            tid: slot as u32,
            address: AtomicU64::new(address),
            bitset,
            woken: AtomicBool::new(false),
            lock: false,
        })
    }

    fn slots(taken: &VecDeque<Arc<Waiter>>) -> Vec<usize> {
        taken.iter().map(|w| w.slot).collect()
    }

    #[test]
    fn waiters_are_woken_in_the_order_in_which_they_came() {
        let mut bucket = Bucket::new();
        for slot in 0..5 {
            bucket.push_back(waiter(slot, 0x1000, ANY));
        }
        assert_eq!(slots(&take(&mut bucket, 0x1000, 2, ANY)), [0, 1]);
        assert_eq!(
            slots(&take(&mut bucket, 0x1000, usize::MAX, ANY)),
            [2, 3, 4]
        );
    }

    #[test]
    fn only_the_address_and_the_bits_asked_for_are_woken() {
        let mut bucket = Bucket::new();
        bucket.push_back(waiter(0, 0x1000, 1));
        bucket.push_back(waiter(1, 0x2000, 2));
        bucket.push_back(waiter(2, 0x1000, 2));
        assert_eq!(slots(&take(&mut bucket, 0x1000, 10, 2)), [2]);
        assert_eq!(bucket.len(), 2);
    }

    #[test]
    fn a_waiter_that_was_requeued_finds_its_way_out() {
        let waiter = waiter(0, 0x1000, ANY);
        waiter.address.store(0x7654_3210, Ordering::SeqCst);
        TABLE.bucket(0x7654_3210).push_back(waiter.clone());
        assert!(waiter.withdraw());
        assert!(!waiter.withdraw());
    }

    #[test]
    fn wake_op_is_decoded_with_signed_arguments() {
        // FUTEX_OP(FUTEX_OP_ADD, -1, FUTEX_OP_CMP_GT, -2)
        let encoded = 1 << 28 | 4 << 24 | 0xfff << 12 | 0xffe;
        let operation = Operation::decode(encoded).unwrap();
        assert_eq!(operation.apply(5), 4);
        assert!(operation.compare(-1i32 as u32));
        assert!(!operation.compare(-2i32 as u32));
        // The argument as a shift count.
        let shifted = Operation::decode((8 | 2) << 28 | 4 << 12).unwrap();
        assert_eq!(shifted.apply(1), 17);
        assert_eq!(Operation::decode(5 << 28), Err(Errno::ENOSYS));
        assert_eq!(Operation::decode(6 << 24), Err(Errno::ENOSYS));
    }

    #[test]
    fn a_word_that_is_not_aligned_is_invalid() {
        assert_eq!(aligned(0x1002), Err(Errno::EINVAL));
        assert_eq!(aligned(0x1004), Ok(0x1004));
    }
}
