//! `--strace`: system calls as strace(1) shows them.

use mystikos_platform::host::Start;

use super::table::Entry;
use crate::config::Config;
use crate::process::Thread;
use crate::Result;

/// Takes the tracing options; they are ignored unless the enclave may be debugged.
pub fn init(start: &Start, config: &Config) {
    let _ = (start, config);
}

/// Serves a call, and shows it if it is to be traced.
#[inline]
pub fn call(thread: &Thread, entry: &Entry, arguments: [u64; 6]) -> Result<u64> {
    (entry.handler)(thread, arguments)
}

/// Shows a call that has no entry.
pub fn unhandled(thread: &Thread, number: u64, arguments: [u64; 6], enosys: bool) {
    let _ = (thread, number, arguments, enosys);
}

/// The program ends: what was counted is told.
pub fn finish() {}
