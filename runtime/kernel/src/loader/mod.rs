//! ELF programs, the initial stack, binding of system calls.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::process::Thread;
use crate::Result;

/// Loads ApplicationPath (ELF, or `#!` script) and sets the calling thread's registers to its first instruction.
pub fn start_application(
    thread: &Arc<Thread>,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
) -> Result<()> {
    let _ = (thread, arguments, environment);
    unimplemented!("K2")
}
