//! One application thread, one TCS, one host thread.

use alloc::sync::Arc;

use mystikos_platform::control;

use crate::process::Process;
use crate::signal;

/// A thread of the application.
pub struct Thread {
    /// Thread ID.
    pub tid: u32,
    /// Number of its thread block.
    pub slot: usize,
    /// The process it belongs to.
    pub process: Arc<Process>,
    /// Signal mask, alternate stack, and what is pending for this thread.
    pub signals: signal::ThreadSignals,
}

/// The calling thread.
pub fn current() -> control::Current<Thread> {
    control::current::<Thread>()
}

/// First entry of a thread that `clone` made: take up its registers.
pub fn enter_new() {
    unimplemented!("K3")
}
