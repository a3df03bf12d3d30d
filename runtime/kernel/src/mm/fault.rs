//! What was wrong with an access that faulted.

use super::lock::lock;
use super::mapping;
use super::vma::{Kind, State};

/// Why the application could not access an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is mapped there (SEGV_MAPERR).
    Unmapped,
    /// The mapping does not allow the access (SEGV_ACCERR).
    Protected,
    /// The page lies behind the end of the mapped file (SIGBUS).
    BeyondFile,
}

impl FaultKind {
    /// For the address and the error code of a page fault. The address space knows better than the code: pages without
    /// access are not present for the processor either.
    pub fn of(address: u64, _error: u32) -> FaultKind {
        match lock().vmas().find(address) {
            Some((_, vma)) if vma.kind == Kind::Kernel => FaultKind::Unmapped,
            Some((_, vma)) if vma.state.contains(State::BEYOND) => FaultKind::BeyondFile,
            Some(_) => FaultKind::Protected,
            None => FaultKind::Unmapped,
        }
    }
}

/// Makes the page accessible if it may be: its file has grown since it was mapped. True when the instruction is to run
/// again.
pub fn resolve(address: u64) -> bool {
    FaultKind::of(address, 0) == FaultKind::BeyondFile
        && mapping::grow_with_file(address).is_ok_and(|grown| grown)
}
