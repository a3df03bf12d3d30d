//! How a thread sleeps in the kernel, and what wakes it.
//!
//! Everything that a thread can wait for has a [`WaitQueue`]. A sleeper first puts itself into the queues, then looks
//! whether it is ready, then sleeps by a host call; whoever makes it ready changes the state first and wakes the queue
//! afterwards. A wake that falls between looking and sleeping is not lost: the host remembers it.
//!
//! No lock may be held while sleeping, and `ready` must not sleep.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use mystikos_platform::control;
use mystikos_platform::host::{self, PollFd};
use mystikos_platform::sync::Mutex;

use crate::fs::file::Readiness;
use crate::{process, signal, time, Errno, Result};

/// A thread that sleeps.
struct Sleeper {
    slot: usize,
    /// Woken since it last looked whether it is ready: no need to wake it again.
    woken: AtomicBool,
}

/// Something other than a sleeping thread that is told when a queue is woken: an epoll instance.
pub trait Observer: Send + Sync {
    /// The queue was woken because of `events`. No lock of the queue or of its owner's waker is held.
    fn woken(self: Arc<Self>, events: Readiness);
}

/// Threads that wait for something to change, and observers of it.
#[derive(Default)]
pub struct WaitQueue {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    sleepers: Vec<Arc<Sleeper>>,
    observers: Vec<Arc<dyn Observer>>,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        WaitQueue {
            entries: Mutex::new(Entries {
                sleepers: Vec::new(),
                observers: Vec::new(),
            }),
        }
    }

    /// Wakes every sleeper and tells every observer; each looks for itself whether it is ready now.
    pub fn wake_all(&self) {
        self.wake(Readiness::all());
    }

    /// As [`wake_all`](Self::wake_all), and tells observers that only `events` can have come true.
    pub fn wake(&self, events: Readiness) {
        let (slots, observers) = {
            let entries = self.entries.lock();
            // A sleeper that is marked was woken by someone else, and looks after it has taken the mark away.
            let slots: Vec<usize> = entries
                .sleepers
                .iter()
                .filter(|sleeper| !sleeper.woken.swap(true, Ordering::AcqRel))
                .map(|sleeper| sleeper.slot)
                .collect();
            (slots, entries.observers.clone())
        };
        for slot in slots {
            host::wake(slot);
        }
        for observer in observers {
            observer.woken(events);
        }
    }

    /// Tells `observer` of every wake from now on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.entries.lock().observers.push(observer);
    }

    /// Takes [`observe`](Self::observe) back; a wake under way may still tell the observer.
    pub fn forget(&self, observer: &Arc<dyn Observer>) {
        let mut entries = self.entries.lock();
        let place = entries
            .observers
            .iter()
            .position(|o| core::ptr::addr_eq(Arc::as_ptr(o), Arc::as_ptr(observer)));
        let removed = place.map(|place| entries.observers.swap_remove(place));
        // Dropping an observer may drop much else: not under the lock.
        drop(entries);
        drop(removed);
    }

    fn add(&self, sleeper: &Arc<Sleeper>) {
        self.entries.lock().sleepers.push(sleeper.clone());
    }

    fn remove(&self, sleeper: &Arc<Sleeper>) {
        let mut entries = self.entries.lock();
        entries.sleepers.retain(|s| !Arc::ptr_eq(s, sleeper));
    }
}

/// Why a sleep ended other than by being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The deadline has passed.
    TimedOut,
    /// A signal is to be delivered.
    Signal,
}

impl From<Interrupted> for Errno {
    fn from(reason: Interrupted) -> Errno {
        match reason {
            Interrupted::TimedOut => Errno::ETIMEDOUT,
            Interrupted::Signal => Errno::ERESTARTSYS,
        }
    }
}

/// Sleeps until `ready` gives something, the deadline (monotonic nanoseconds, [`time::monotonic`]) has passed, or a signal
/// is to be delivered to the calling thread.
pub fn wait_until<T>(
    queues: &[&WaitQueue],
    deadline: Option<u64>,
    ready: impl FnMut() -> Option<T>,
) -> core::result::Result<T, Interrupted> {
    wait_with_host(queues, &[], deadline, ready)
}

/// As [`wait_until`], and also wakes when one of the host's standard streams is ready as asked.
pub fn wait_with_host<T>(
    queues: &[&WaitQueue],
    host_fds: &[PollFd],
    deadline: Option<u64>,
    mut ready: impl FnMut() -> Option<T>,
) -> core::result::Result<T, Interrupted> {
    if let Some(value) = ready() {
        return Ok(value);
    }
    let sleeper = Arc::new(Sleeper {
        slot: control::slot(),
        woken: AtomicBool::new(false),
    });
    for queue in queues {
        queue.add(&sleeper);
    }
    let outcome = sleep(&sleeper, host_fds, deadline, &mut ready);
    for queue in queues {
        queue.remove(&sleeper);
    }
    outcome
}

fn sleep<T>(
    sleeper: &Sleeper,
    host_fds: &[PollFd],
    deadline: Option<u64>,
    ready: &mut dyn FnMut() -> Option<T>,
) -> core::result::Result<T, Interrupted> {
    let thread = process::thread::current();
    loop {
        sleeper.woken.swap(false, Ordering::AcqRel);
        if let Some(value) = ready() {
            return Ok(value);
        }
        if thread.signals.is_deliverable(&thread) {
            control::set_pending(thread.slot);
            return Err(Interrupted::Signal);
        }
        let left = match deadline {
            Some(deadline) => match deadline.saturating_sub(time::monotonic()) {
                0 => return Err(Interrupted::TimedOut),
                left => Some(left),
            },
            None => None,
        };
        let woken = if host_fds.is_empty() {
            host::wait(left) == host::Woken::BySignals
        } else {
            let mut fds = host_fds.to_vec();
            match host::poll(&mut fds, left) {
                Ok(_) => false,
                Err(Errno::EINTR) => true,
                // A host that does not poll is a host that does not let anything happen: look again later.
                Err(_) => {
                    host::yield_now();
                    false
                }
            }
        };
        // A signal from outside wakes a thread without there being anything else to see for it.
        if woken {
            signal::send::take_from_host(&thread.process);
        }
    }
}

/// Sleeps until `deadline`, or a signal (ERESTARTSYS).
pub fn sleep_until(deadline: u64) -> Result<()> {
    match wait_until(&[], Some(deadline), || None::<()>) {
        Err(Interrupted::Signal) => Err(Errno::ERESTARTSYS),
        _ => Ok(()),
    }
}
