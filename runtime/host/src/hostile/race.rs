//! A thread that writes to a host area while the kernel reads the reply.
//!
//! It goes on until the thread of the area comes out again, or for a while. What it writes over a request that the kernel
//! has begun meanwhile is found by [`MARK`] in the number: each pass writes it first and last, so that a number without it
//! was written after everything else of the pass.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mystikos_abi::hostcall::{HostArea, BUFFER_OFFSET, BUFFER_SIZE, INTERRUPTED_OFFSET};

use super::random::Random;
use crate::{memory, sys, threads, Result};

/// Bit that every number has that this thread writes, and none that the kernel writes.
pub const MARK: u64 = 1 << 63;

/// Passes before it gives up by itself.
const PASSES: u32 = 100;

/// Address of the area that is to be written to, or 0.
static WANTED: AtomicU64 = AtomicU64::new(0);
/// Address of the area that is being written to, or 0.
static WRITING: AtomicU64 = AtomicU64::new(0);
/// What it sleeps on: counts how often it was wanted.
static CALLED: AtomicU32 = AtomicU32::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);

/// Starts the thread.
pub fn init() -> Result<()> {
    static TID: AtomicU32 = AtomicU32::new(0);
    const SIZE: usize = 64 * 1024;
    let base = memory::anonymous(SIZE)?;
    sys::set_signal_mask(u64::MAX);
    // SAFETY: a fresh stack that belongs to this thread for ever.
    let started = unsafe { sys::start_thread(base + SIZE as u64, &TID, run, 0) };
    sys::set_signal_mask(0);
    if started < 0 {
        return Err(crate::fail!("the racing thread: error {}", -started));
    }
    Ok(())
}

/// Begins to write to an area; false when it is busy with another.
pub fn start(area: u64, seed: u64) -> bool {
    if WANTED
        .compare_exchange(0, area, Ordering::SeqCst, Ordering::SeqCst)
        .is_err()
    {
        return false;
    }
    SEED.store(seed, Ordering::SeqCst);
    CALLED.fetch_add(1, Ordering::SeqCst);
    sys::futex_wake(&CALLED);
    while WRITING.load(Ordering::SeqCst) != area && WANTED.load(Ordering::SeqCst) == area {
        rustix::thread::sched_yield();
    }
    true
}

/// Ends it: when this returns, nobody else writes to the area.
pub fn stop(area: u64) {
    let _ = WANTED.compare_exchange(area, 0, Ordering::SeqCst, Ordering::SeqCst);
    while WRITING.load(Ordering::SeqCst) == area {
        rustix::thread::sched_yield();
    }
}

extern "C" fn run(_: u64) {
    loop {
        let called = CALLED.load(Ordering::SeqCst);
        let area = WANTED.load(Ordering::SeqCst);
        if area == 0 {
            sys::futex_wait(&CALLED, called, None);
            continue;
        }
        let mut random = Random::new(SEED.load(Ordering::SeqCst));
        WRITING.store(area, Ordering::SeqCst);
        for _ in 0..PASSES {
            if WANTED.load(Ordering::SeqCst) != area {
                break;
            }
            write(area, &mut random);
        }
        let _ = WANTED.compare_exchange(area, 0, Ordering::SeqCst, Ordering::SeqCst);
        WRITING.store(0, Ordering::SeqCst);
    }
}

fn write(area: u64, random: &mut Random) {
    let enclave = threads::enclave().map_or(0, |enclave| enclave.memory.base);
    let head = area as *mut HostArea;
    // SAFETY: a host area, which lives for ever once it was made; volatile, since others read and write it meanwhile.
    unsafe {
        (&raw mut (*head).nr).write_volatile(random.number() | MARK);
        for word in 0..6 {
            // No time that a clock could tell, which would have to be kept up with ([`super::clock`]).
            let value = random.nasty(0, enclave);
            let value = if value & 1 == 0 {
                value & 0xff
            } else {
                value | 1 << 40
            };
            (&raw mut (*head).args[word]).write_volatile(value);
        }
        (&raw mut (*head).result).write_volatile(random.nasty(0, enclave) as i64);
        let interrupted = (area as usize + INTERRUPTED_OFFSET) as *mut u32;
        interrupted.write_volatile(random.number() as u32);
        let at = random.below(BUFFER_SIZE as u64 / 8 - 64) as usize & random.number() as usize;
        let buffer = (area as usize + BUFFER_OFFSET) as *mut u64;
        for word in at..at + 64 {
            buffer.add(word).write_volatile(random.number());
        }
        (&raw mut (*head).nr).write_volatile(random.number() | MARK);
    }
}
