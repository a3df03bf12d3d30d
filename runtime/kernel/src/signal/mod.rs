//! Signals: actions, masks, what is pending, delivery, faults.
//!
//! * [`set`]: numbers, names, sets.
//! * [`info`]: why a signal was sent (`siginfo_t`).
//! * [`queue`]: what is pending.
//! * [`action`]: what a process does about a signal.
//! * [`send`]: how a signal gets to a thread.
//! * [`delivery`]: what happens on the way back to the application.
//! * [`frame`]: the frame on the application's stack that a handler runs on and returns through.
//! * [`fault`]: faults of the application become signals.
//!
//! Locks: `actions`, then a queue; none of them is held while application memory is copied or the host is called.

pub mod action;
pub mod delivery;
pub mod fault;
pub mod frame;
pub mod info;
pub mod queue;
pub mod send;
pub mod set;

use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_platform::sync::Mutex;

use crate::process::wait::WaitQueue;
use crate::process::Thread;
use crate::{Errno, Result};
use action::{Action, Actions};
use frame::AltStack;
use info::SigInfo;
use queue::Queue;
use set::SigSet;

pub use send::{raise, send_to_process, send_to_thread};

/// Always restarted, after a handler too: FUTEX_LOCK_PI.
pub const ERESTARTNOINTR: Errno = Errno::from_raw(513);
/// Restarted when no handler was called, EINTR when one was: pause, sigsuspend, ppoll, select.
pub const ERESTARTNOHAND: Errno = Errno::from_raw(514);
/// As [`ERESTARTNOHAND`], and restarted with what is left of the time: nanosleep.
pub const ERESTART_RESTARTBLOCK: Errno = Errno::from_raw(516);

/// The error asks for a restart; applications never see it.
pub fn is_restart(errno: Errno) -> bool {
    const RESTARTS: [Errno; 4] = [
        Errno::ERESTARTSYS,
        ERESTARTNOINTR,
        ERESTARTNOHAND,
        ERESTART_RESTARTBLOCK,
    ];
    RESTARTS.contains(&errno)
}

/// Pending signals with their set readable without the lock.
#[derive(Default)]
struct Pending {
    queue: Mutex<Queue>,
    set: AtomicU64,
}

impl Pending {
    fn set(&self) -> SigSet {
        SigSet(self.set.load(Ordering::SeqCst))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Queue) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = change(&mut queue);
        self.set.store(queue.set().0, Ordering::SeqCst);
        result
    }
}

/// Actions and process-wide pending signals.
#[derive(Default)]
pub struct ProcessSignals {
    actions: Mutex<Actions>,
    ignored: AtomicU64,
    pending: Pending,
    /// Woken whenever a signal has been queued to the process or to one of its threads (signalfd).
    pub arrival: WaitQueue,
}

impl ProcessSignals {
    /// The actions of a new program: all default, but for those it is to ignore from the start.
    pub fn new(ignored: SigSet) -> Self {
        let signals = ProcessSignals::default();
        signals.change_actions(|actions| {
            for signal in (1..=set::MAX).filter(|&signal| ignored.contains(signal)) {
                let handler = action::IGNORE;
                actions.set(
                    signal,
                    Action {
                        handler,
                        ..Action::default()
                    },
                );
            }
        });
        signals
    }

    /// The action for a signal.
    pub fn action(&self, signal: u32) -> Action {
        self.actions.lock().get(signal)
    }

    /// Sets the action for a signal and returns the one before.
    pub fn set_action(&self, signal: u32, action: Action) -> Action {
        self.change_actions(|actions| {
            let before = actions.get(signal);
            actions.set(signal, action);
            before
        })
    }

    fn change_actions<R>(&self, change: impl FnOnce(&mut Actions) -> R) -> R {
        let mut actions = self.actions.lock();
        let result = change(&mut actions);
        self.ignored.store(actions.ignored().0, Ordering::SeqCst);
        result
    }

    /// Signals that are ignored, by choice or by default.
    pub fn ignored(&self) -> SigSet {
        SigSet(self.ignored.load(Ordering::SeqCst))
    }

    /// Signals with a handler.
    pub fn caught(&self) -> SigSet {
        self.actions.lock().caught()
    }

    /// Signals that are pending for the process as a whole.
    pub fn pending(&self) -> SigSet {
        self.pending.set()
    }
}

/// A thread's mask, alternate stack and pending signals.
#[derive(Default)]
pub struct ThreadSignals {
    mask: AtomicU64,
    // Mask to be put back when the signal that ended a wait with a temporary mask has been delivered. Bit 8
    // (SIGKILL, which no mask contains) tells that there is one.
    saved_mask: AtomicU64,
    // What rt_sigtimedwait waits for.
    waiting_for: AtomicU64,
    pending: Pending,
    /// sigaltstack(2).
    pub alt_stack: Mutex<AltStack>,
    /// The last fault, as signal frames tell it (trapno, err, cr2).
    pub fault: Mutex<fault::FaultState>,
}

const SAVED: u64 = SigSet::of(linux_raw_sys::general::SIGKILL).0;

impl ThreadSignals {
    /// Signals of a thread made by a thread with this mask.
    pub fn inheriting(mask: SigSet) -> Self {
        ThreadSignals {
            mask: AtomicU64::new(mask.0),
            ..ThreadSignals::default()
        }
    }

    /// Blocked signals.
    pub fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::SeqCst))
    }

    fn store_mask(&self, mask: SigSet) {
        self.mask.store(mask.blockable().0, Ordering::SeqCst);
    }

    /// Signals pending for this thread in particular.
    pub fn pending(&self) -> SigSet {
        self.pending.set()
    }

    /// A signal that is not blocked is pending for the thread or its process, and its action is not to be ignored.
    pub fn is_deliverable(&self, thread: &Thread) -> bool {
        let pending = self.pending().union(thread.process.signals.pending());
        if pending.is_empty() {
            return false;
        }
        let held_back = self.mask().union(thread.process.signals.ignored());
        !pending.without(held_back).is_empty()
    }

    fn wants(&self, signal: u32) -> bool {
        !self.mask().contains(signal) || self.waits_for(signal)
    }

    fn waits_for(&self, signal: u32) -> bool {
        SigSet(self.waiting_for.load(Ordering::SeqCst)).contains(signal)
    }

    fn take_saved_mask(&self) -> Option<SigSet> {
        let saved = self.saved_mask.swap(0, Ordering::SeqCst);
        (saved & SAVED != 0).then_some(SigSet(saved & !SAVED))
    }
}

/// Sets the calling thread's mask; signals that are let through by it are delivered on the way back.
pub fn set_mask(thread: &Thread, mask: SigSet) {
    thread.signals.store_mask(mask);
    if thread.signals.is_deliverable(thread) {
        mystikos_platform::control::set_pending(thread.slot);
    }
}

/// Runs `wait` with the calling thread's mask replaced, as ppoll, pselect, epoll_pwait and sigsuspend do.
///
/// When `wait` was interrupted, the temporary mask stays until the signal is delivered: its handler runs and returns to
/// the mask as it was.
pub fn with_temporary_mask<R>(
    thread: &Thread,
    mask: Option<SigSet>,
    wait: impl FnOnce() -> Result<R>,
) -> Result<R> {
    let Some(mask) = mask else {
        return wait();
    };
    let before = thread.signals.mask();
    thread.signals.store_mask(mask);
    let result = wait();
    let interrupted = matches!(result, Err(e) if e == Errno::EINTR || is_restart(e));
    if interrupted && thread.signals.is_deliverable(thread) {
        let saved = before.0 | SAVED;
        thread.signals.saved_mask.store(saved, Ordering::SeqCst);
        mystikos_platform::control::set_pending(thread.slot);
    } else {
        set_mask(thread, before);
    }
    result
}

/// Signals of `wanted` that are pending for the thread or its process.
pub fn pending_of(thread: &Thread, wanted: SigSet) -> SigSet {
    let pending = thread.signals.pending();
    pending
        .union(thread.process.signals.pending())
        .intersection(wanted)
}

/// Takes a pending signal of `wanted` away, without its action (sigtimedwait, signalfd): the thread's before the
/// process's.
pub fn take_pending(thread: &Thread, wanted: SigSet) -> Option<SigInfo> {
    if pending_of(thread, wanted).is_empty() {
        return None;
    }
    let own = thread.signals.pending.change(|q| q.take(wanted));
    let mut info = own.or_else(|| thread.process.signals.pending.change(|q| q.take(wanted)))?;
    crate::time::posix::collected(&thread.process, &mut info);
    Some(info)
}

/// Sets an action; pending signals that are to be ignored from now on are forgotten (POSIX, 2.4.3).
pub fn set_action(thread: &Thread, signal: u32, action: Action) -> Action {
    let process = &thread.process;
    let before = process.signals.set_action(signal, action.accepted());
    if process.signals.ignored().contains(signal) {
        let signals = SigSet::of(signal);
        process.signals.pending.change(|q| q.discard(signals));
        for thread in process.live_threads() {
            thread.signals.pending.change(|q| q.discard(signals));
        }
    }
    before
}

/// Waits for one of the signals (sigtimedwait(2)): EAGAIN when the deadline passes, EINTR when another was delivered.
pub fn wait_for(thread: &Thread, wanted: SigSet, deadline: Option<u64>) -> Result<SigInfo> {
    let wanted = wanted.blockable();
    let waiting = &thread.signals.waiting_for;
    waiting.store(wanted.0, Ordering::SeqCst);
    let outcome = crate::process::wait::wait_until(&[], deadline, || take_pending(thread, wanted));
    waiting.store(0, Ordering::SeqCst);
    outcome.map_err(|reason| match reason {
        crate::process::wait::Interrupted::TimedOut => Errno::EAGAIN,
        crate::process::wait::Interrupted::Signal => Errno::EINTR,
    })
}
