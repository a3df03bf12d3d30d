//! What was wrong with an access that faulted.

use mystikos_abi::hostcall::refusal;
use mystikos_abi::sgx::pfec;
use mystikos_platform::{enclave, host};

use super::lock::lock;
use super::mapping;
use super::pages::Pages;
use super::space::{page_down, PAGE};
use super::vma::{Kind, Prot, State};

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

/// Makes the page accessible if it may be: its file has grown since it was mapped, or the host has taken it away. True when
/// the instruction is to run again.
pub fn resolve(address: u64, error: u32) -> bool {
    if enclave::in_enclave() && is_given_back(address, error) {
        return true;
    }
    FaultKind::of(address, 0) == FaultKind::BeyondFile
        && mapping::grow_with_file(address).is_ok_and(|grown| grown)
}

/// The mapping allows the access. In an enclave it is then the host that withholds the page, which is not for the program to
/// know: a host that could have a handler for SIGSEGV run at any access would decide what the program does. The host is asked
/// again; one that refuses what it has granted before stops the kernel.
///
/// It may as well be that another thread has made the page accessible meanwhile.
fn is_given_back(address: u64, error: u32) -> bool {
    let space = lock();
    let Some((_, vma)) = space.vmas().find(address) else {
        return false;
    };
    let is_used = vma.kind != Kind::Kernel && !vma.state.contains(State::BEYOND);
    let withheld = is_used && allows(vma.prot, error);
    if withheld {
        let page = page_down(address);
        if space.pages().protect(page, PAGE, vma.prot).is_err() {
            host::refuse(refusal::PAGES);
        }
    }
    withheld
}

/// Permissions for the access that the error code of a page fault tells of.
fn allows(prot: Prot, error: u32) -> bool {
    match error {
        error if error & pfec::I != 0 => prot.contains(Prot::EXEC),
        error if error & pfec::W != 0 => prot.contains(Prot::WRITE),
        _ => !prot.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_allowed_by_its_own_permission() {
        let (read, write, fetch) = (pfec::U, pfec::U | pfec::W, pfec::U | pfec::I);
        let allowed = |prot| [read, write, fetch].map(|error| allows(prot, error));
        assert_eq!(allowed(Prot::empty()), [false; 3]);
        assert_eq!(allowed(Prot::READ), [true, false, false]);
        assert_eq!(allowed(Prot::WRITE), [true, true, false]);
        assert_eq!(allowed(Prot::RW), [true, true, false]);
        assert_eq!(allowed(Prot::EXEC), [true, false, true]);
        assert_eq!(allowed(Prot::all()), [true; 3]);
    }
}
