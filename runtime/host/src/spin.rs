//! A lock for what is hardly ever used by two threads at once.

use core::sync::atomic::{AtomicBool, Ordering};

/// A test-and-set lock; waiting means giving the CPU away.
pub struct Spin(AtomicBool);

// SAFETY: a test-and-set lock with acquire and release ordering.
unsafe impl lock_api::RawMutex for Spin {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Spin = Spin(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            rustix::thread::sched_yield();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}
