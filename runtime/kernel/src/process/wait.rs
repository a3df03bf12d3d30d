//! How a thread sleeps in the kernel, and what wakes it.
//!
//! Everything that a thread can wait for has a [`WaitQueue`]. A sleeper first puts itself into the queues, then looks
//! whether it is ready, then sleeps by a host call; whoever makes it ready changes the state first and wakes the queue
//! afterwards. A wake that falls between looking and sleeping is not lost: the host remembers it.
//!
//! No lock may be held while sleeping, and `ready` must not sleep.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mystikos_platform::control;
use mystikos_platform::host::{self, PollFd};
use mystikos_platform::sync::Mutex;

use crate::{process, time, Errno, Result};

/// A thread that sleeps.
struct Waiter {
    slot: usize,
}

/// Threads that wait for something to change.
#[derive(Default)]
pub struct WaitQueue {
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        WaitQueue {
            waiters: Mutex::new(Vec::new()),
        }
    }

    /// Wakes every sleeper; each looks for itself whether it is ready now.
    pub fn wake_all(&self) {
        let slots: Vec<usize> = self.waiters.lock().iter().map(|w| w.slot).collect();
        for slot in slots {
            host::wake(slot);
        }
    }

    fn add(&self, waiter: &Arc<Waiter>) {
        self.waiters.lock().push(waiter.clone());
    }

    fn remove(&self, waiter: &Arc<Waiter>) {
        self.waiters.lock().retain(|w| !Arc::ptr_eq(w, waiter));
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
    let waiter = Arc::new(Waiter {
        slot: control::slot(),
    });
    for queue in queues {
        queue.add(&waiter);
    }
    let outcome = sleep(host_fds, deadline, &mut ready);
    for queue in queues {
        queue.remove(&waiter);
    }
    outcome
}

fn sleep<T>(
    host_fds: &[PollFd],
    deadline: Option<u64>,
    ready: &mut dyn FnMut() -> Option<T>,
) -> core::result::Result<T, Interrupted> {
    let thread = process::thread::current();
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if thread.signals.is_deliverable(&thread) {
            return Err(Interrupted::Signal);
        }
        let left = match deadline {
            Some(deadline) => match deadline.saturating_sub(time::monotonic()) {
                0 => return Err(Interrupted::TimedOut),
                left => Some(left),
            },
            None => None,
        };
        if host_fds.is_empty() {
            host::wait(left);
        } else {
            let mut fds = host_fds.to_vec();
            match host::poll(&mut fds, left) {
                Ok(_) | Err(Errno::EINTR) => {}
                // A host that does not poll is a host that does not let anything happen: look again later.
                Err(_) => host::yield_now(),
            }
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
