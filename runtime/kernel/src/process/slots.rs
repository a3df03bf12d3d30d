//! Thread blocks: which are free, and what a new host thread is to become.
//!
//! A slot is given back by its thread right before it leaves for good. The host thread may then still be on its way
//! out; as long as it is, the host refuses to start another in its slot (and a processor refuses to enter a TCS that is
//! in use), so the taker goes on to the next free slot or tries again. Slots are reused in the order in which they became
//! free, which makes that rare.

use alloc::collections::{BTreeMap, VecDeque};

use mystikos_platform::host;
use mystikos_platform::sync::Mutex;

use super::thread::NewThread;
use crate::{Errno, Result};

struct Slots {
    free: VecDeque<usize>,
    /// What the host threads that are being started are to become.
    starting: BTreeMap<usize, NewThread>,
}

static SLOTS: Mutex<Slots> = Mutex::new(Slots {
    free: VecDeque::new(),
    starting: BTreeMap::new(),
});

/// All slots but the one of the first thread are free. That one is never given back (see `thread::exit`).
pub fn init(count: usize, first: usize) {
    SLOTS.lock().free = (0..count).filter(|&slot| slot != first).collect();
}

/// How often a slot whose last thread is still leaving is tried again.
const ATTEMPTS: usize = 1000;

/// Reserves a slot; EAGAIN when all are in use.
pub fn reserve() -> Result<usize> {
    SLOTS.lock().free.pop_front().ok_or(Errno::EAGAIN)
}

/// Gives a slot back.
pub fn release(slot: usize) {
    SLOTS.lock().free.push_back(slot);
}

/// Starts a host thread in a reserved slot; gives the slot back when that is not possible.
pub fn start(slot: usize, thread: NewThread) -> Result<()> {
    SLOTS.lock().starting.insert(slot, thread);
    let mut outcome = host::create_thread(slot);
    for _ in 0..ATTEMPTS {
        match outcome {
            Err(Errno::EBUSY) => host::yield_now(),
            _ => break,
        }
        outcome = host::create_thread(slot);
    }
    if outcome.is_ok() {
        return Ok(());
    }
    let unused = SLOTS.lock().starting.remove(&slot);
    match unused {
        // If the host starts a thread in spite of its answer, that thread finds nothing to become and ends.
        Some(_) => {
            release(slot);
            Err(Errno::EAGAIN)
        }
        // It has started one, and the thread runs: its stack must not be taken away.
        None => Ok(()),
    }
}

/// What the thread that was just started in `slot` is to become.
pub fn take_up(slot: usize) -> Option<NewThread> {
    SLOTS.lock().starting.remove(&slot)
}
