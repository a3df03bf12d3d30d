//! EREMOVE.

use mystikos_abi::sgx::SECINFO_MODIFIED;
use mystikos_abi::PAGE_SIZE;

use crate::enclave::Enclave;
use crate::epcm::{Access, Entry, Epc, PageType};
use crate::fault::{Failure, Fault, Status};

impl<M: Epc> Enclave<M> {
    /// EREMOVE of a page. Only one that was trimmed and accepted goes while a logical processor is inside. The SECS itself
    /// goes when the [`Enclave`] is dropped.
    pub fn eremove(&mut self, linear: u64) -> Result<(), Failure> {
        if !linear.is_multiple_of(PAGE_SIZE) {
            return Err(Fault::Gp.into());
        }
        let entry = self.entry(linear);
        let Some(offset) = self.offset(linear) else {
            return Err(entry.page_fault(linear, Access::Write).into());
        };
        let trimmed = entry.page_type() == Some(PageType::Trim) && !entry.any(SECINFO_MODIFIED);
        if entry.valid() && !trimmed && self.active != 0 {
            return Err(Status::EnclaveAct.into());
        }
        self.epcm.update(offset, Entry::ABSENT);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{SecInfo, SECINFO_MODIFIED, SECINFO_TRIM};
    use zerocopy::IntoBytes;

    use crate::testing::{
        absent_fault, failing, poke, Plan, Thread, ABSENT, BASE, DATA, SIZE, TCS,
    };
    use crate::{Failure, Fault, Leaf, Status};

    #[test]
    fn a_page_that_was_removed_is_no_longer_there() {
        for linear in [DATA, TCS] {
            let mut enclave = Plan::new().build();
            assert_eq!(enclave.eremove(linear), Ok(()));
            assert_eq!(enclave.secinfo_flags(linear), None);
        }
    }

    #[test]
    fn a_page_that_is_not_there_needs_no_removal() {
        assert_eq!(Plan::new().build().eremove(ABSENT), Ok(()));
    }

    #[test]
    fn the_address_is_that_of_a_page_of_the_enclave() {
        let mut enclave = Plan::new().build();
        let failed = failing(&mut enclave, |e| e.eremove(DATA + 0x100));
        assert_eq!(failed, Failure::Fault(Fault::Gp));
        let failed = failing(&mut enclave, |e| e.eremove(BASE + SIZE));
        assert_eq!(failed, Failure::Fault(absent_fault(BASE + SIZE, true)));
    }

    #[test]
    fn while_a_thread_is_inside_only_trimmed_pages_go() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        let active = Failure::Status(Status::EnclaveAct);
        assert_eq!(failing(&mut enclave, |e| e.eremove(DATA)), active);
        enclave
            .emodt(DATA, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        // Not accepted yet.
        assert_eq!(failing(&mut enclave, |e| e.eremove(DATA)), active);
        let expected = SecInfo::new(SECINFO_TRIM | SECINFO_MODIFIED);
        poke(&mut enclave, DATA + 0x1000, expected.as_bytes());
        let accepted = thread.call(&mut enclave, Leaf::Eaccept, [DATA + 0x1000, DATA, 0]);
        assert_eq!((accepted, thread.regs.rax), (Ok(()), 0));
        assert_eq!(enclave.eremove(DATA), Ok(()));
        thread.leaf(&mut enclave, Leaf::Eexit).expect("EEXIT");
        assert_eq!(enclave.eremove(TCS), Ok(()));
    }

    #[test]
    fn a_place_that_was_freed_can_be_used_again() {
        let mut enclave = Plan::new().build();
        enclave.eremove(DATA).expect("EREMOVE");
        assert_eq!(enclave.eaug(DATA), Ok(()));
    }
}
