//! Processes, threads, waiting, futexes.
//!
//! * [`thread`]: one application thread, one TCS, one host thread.
//! * [`wait`]: how a thread sleeps in the kernel, and what wakes it.

pub mod thread;
pub mod wait;

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use mystikos_platform::host::Start;
use mystikos_platform::sync::{Mutex, RwLock};

use crate::config::Config;
use crate::fs::fd::FdTable;
use crate::fs::path::FsContext;
use crate::signal;
pub use thread::Thread;

/// What the threads of a program share.
pub struct Process {
    /// Process ID (thread group ID).
    pub pid: u32,
    /// Open files.
    pub files: RwLock<FdTable>,
    /// Working directory, umask.
    pub fs: RwLock<FsContext>,
    /// Signal actions and what is pending for the process as a whole.
    pub signals: signal::ProcessSignals,
    /// Live threads by thread ID.
    pub threads: Mutex<BTreeMap<u32, Weak<Thread>>>,
    /// What /proc/self tells of the program.
    pub program: RwLock<Program>,
}

/// The program a process runs.
#[derive(Default)]
pub struct Program {
    /// Absolute path of the executable.
    pub path: Vec<u8>,
    /// argv.
    pub arguments: Vec<Vec<u8>>,
    /// environ at the start.
    pub environment: Vec<Vec<u8>>,
    /// The auxiliary vector as written to the stack.
    pub auxv: Vec<(u64, u64)>,
}

/// Makes the first process and its first thread, which is the calling one.
pub fn init(start: &Start, config: &Config) -> Arc<Thread> {
    let _ = (start, config);
    unimplemented!("K3")
}
