//! Threads that nobody asked for, interrupts for no reason, and exceptions that are told again or not at all.

use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_abi::sgx;

use super::random::Random;
use super::report::{count, counts};
use super::{reply, settings};
use crate::threads::{Enclave, Seat, Thread};

/// Now and then interrupts some thread, and enters a block that is not in use.
pub fn disturb(enclave: &'static Enclave, random: &mut Random) {
    if random.in_256(24) {
        let live = enclave.live().count() as u64;
        if let Some((_, thread)) = enclave.live().nth(random.below(live) as usize) {
            count(&counts().interrupts);
            thread.interrupt();
        }
    }
    if settings::get().visit && random.in_256(16) {
        visit(enclave, random.below(enclave.slots()));
    }
}

/// Enters a block that is not in use. That of the first thread always is.
fn visit(enclave: &'static Enclave, slot: u64) {
    let Some(thread) = enclave.thread(slot) else {
        return;
    };
    if slot == 0 || thread.claim().is_err() {
        return;
    }
    thread.conduct.visitor.store(true, Ordering::SeqCst);
    match enclave.start_thread(slot, thread) {
        0 => count(&counts().visits),
        _ => thread.conduct.visitor.store(false, Ordering::SeqCst),
    }
}

/// A thread that is started while the kernel may be told that it was not: what it finds in its slot is not what it was
/// started for.
pub fn expect(enclave: &Enclave, slot: u64) {
    if let Some(thread) = enclave.thread(slot) {
        thread.conduct.visitor.store(true, Ordering::SeqCst);
    }
}

/// Whether a slot is taken by a visitor, which may have become the thread that the kernel asks for. Only the kernel knows
/// that, so the answer is that there is no thread to be had.
pub fn is_visited(thread: &Thread) -> bool {
    let visited = thread.conduct.visitor.load(Ordering::SeqCst);
    if visited {
        count(&counts().visited);
    }
    visited
}

/// Now and then a thread that has ended enters again.
pub fn comes_again(seat: &Seat) -> bool {
    let Some(thread) = seat.enclave.thread(seat.slot) else {
        return false;
    };
    reply::let_go(seat.slot);
    let mut random = Random::resume(thread.conduct.random.load(Ordering::Relaxed));
    let again = settings::get().visit && random.in_256(64);
    thread
        .conduct
        .random
        .store(random.state(), Ordering::Relaxed);
    if again {
        count(&counts().visits);
    }
    thread.conduct.visitor.store(again, Ordering::SeqCst);
    again
}

/// The kernel's exception entry is entered again before the thread is resumed.
pub fn tells_again() -> bool {
    let again = now_and_then(48);
    if again {
        count(&counts().repeats);
    }
    again
}

/// Every second time the kernel is told of a stack fault, whatever it was.
pub fn told_vector(vector: u16) -> u64 {
    match now_and_then(128) {
        true => sgx::vector::SS.into(),
        false => vector.into(),
    }
}

/// The thread is resumed at once, where it raises the exception again.
pub fn tells_nothing() -> bool {
    let nothing = now_and_then(24);
    if nothing {
        count(&counts().untold);
    }
    nothing
}

/// Without the random numbers of the thread, which a signal handler must not touch.
fn now_and_then(n: u64) -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let settings = settings::get();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    settings.rate != 0 && Random::new(settings.seed ^ count << 32).in_256(n)
}
