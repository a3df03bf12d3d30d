//! Faults of the application become signals.

use mystikos_platform::exception::Trap;

/// Sends the signal of the fault to the calling thread; an interrupt only makes pending work happen.
pub fn handle(trap: Trap) {
    let _ = trap;
    unimplemented!("K3")
}
