//! Signals: actions, masks, what is pending, delivery, faults.

pub mod delivery;
pub mod fault;

use crate::process::Thread;

/// Actions and process-wide pending signals.
#[derive(Default)]
pub struct ProcessSignals {}

/// A thread's mask, alternate stack and pending signals.
#[derive(Default)]
pub struct ThreadSignals {}

impl ThreadSignals {
    /// A signal that is not blocked is pending for the thread or its process, and its action is not to be ignored.
    pub fn is_deliverable(&self, thread: &Thread) -> bool {
        let _ = thread;
        false
    }
}
