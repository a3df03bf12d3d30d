//! Locks. A thread that does not get one soon gives its CPU away: another thread of the application may hold it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The lock behind [`Mutex`].
pub struct RawMutex(AtomicBool);

const SPINS: u32 = 100;

fn wait_a_little(spins: &mut u32) {
    if *spins < SPINS {
        *spins += 1;
        core::hint::spin_loop();
    } else {
        crate::host::give_way();
    }
}

// SAFETY: a test-and-set lock with acquire and release ordering.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawMutex = RawMutex(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        let mut spins = 0;
        while !self.try_lock() {
            while self.0.load(Ordering::Relaxed) {
                wait_a_little(&mut spins);
            }
        }
    }

    fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The lock behind [`RwLock`]: number of readers, or [`WRITER`].
pub struct RawRwLock(AtomicU32);

const WRITER: u32 = u32::MAX;

// SAFETY: readers are counted and a writer holds the only value that excludes them, with acquire and release ordering.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawRwLock = RawRwLock(AtomicU32::new(0));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock_shared(&self) {
        let mut spins = 0;
        while !self.try_lock_shared() {
            wait_a_little(&mut spins);
        }
    }

    fn try_lock_shared(&self) -> bool {
        self.0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |n| {
                (n < WRITER - 1).then_some(n + 1)
            })
            .is_ok()
    }

    unsafe fn unlock_shared(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    fn lock_exclusive(&self) {
        let mut spins = 0;
        while !self.try_lock_exclusive() {
            wait_a_little(&mut spins);
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        self.0
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    unsafe fn unlock_exclusive(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Mutual exclusion.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// Guard of a [`Mutex`].
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
/// Many readers or one writer.
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
/// Guard of a reader.
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
/// Guard of the writer.
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

pub use spin::Once;
