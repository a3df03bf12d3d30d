//! EAUG.

use mystikos_abi::sgx::{SECINFO_PENDING, SECINFO_R, SECINFO_REG, SECINFO_W};
use mystikos_abi::PAGE_SIZE;

use crate::enclave::Enclave;
use crate::epcm::{Access, Entry, Epc};
use crate::fault::Fault;

impl<M: Epc> Enclave<M> {
    /// EAUG without SECINFO: a page of zeros for reading and writing, which waits for EACCEPT or EACCEPTCOPY. With one it
    /// makes shadow-stack pages, which a processor without CET does not have.
    pub fn eaug(&mut self, linear: u64) -> Result<(), Fault> {
        if !linear.is_multiple_of(PAGE_SIZE) {
            return Err(Fault::Gp);
        }
        let entry = self.entry(linear);
        if entry.valid() {
            return Err(entry.page_fault(linear, Access::Write));
        }
        if !self.initialised() {
            return Err(Fault::Gp);
        }
        let offset = self.offset(linear).ok_or(Fault::Gp)?;
        self.memory.write(offset, &[0; PAGE_SIZE as usize]);
        self.epcm.insert(
            offset,
            Entry::new(SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{SECINFO_PENDING, SECINFO_R, SECINFO_REG, SECINFO_W};

    use crate::testing::{epcm_fault, failing, peek, poke, Plan, ABSENT, BASE, DATA, SIZE};
    use crate::{Failure, Fault, Rights};

    #[test]
    fn the_page_is_pending_and_zero() {
        let mut enclave = Plan::new().build();
        poke(&mut enclave, ABSENT, &[1; 4096]);
        assert_eq!(enclave.eaug(ABSENT), Ok(()));
        let flags = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING;
        assert_eq!(enclave.secinfo_flags(ABSENT), Some(flags));
        assert_eq!(enclave.rights(ABSENT), Rights::default());
        assert_eq!(peek(&enclave, ABSENT), [0; 4096]);
    }

    fn refused(linear: u64, fault: Fault) {
        let failure = failing(&mut Plan::new().build(), |e| e.eaug(linear));
        assert_eq!(failure, Failure::Fault(fault));
    }

    #[test]
    fn the_address_is_that_of_a_page() {
        refused(ABSENT + 8, Fault::Gp);
    }

    #[test]
    fn the_page_is_not_there_yet() {
        refused(DATA, epcm_fault(DATA, true));
    }

    #[test]
    fn the_page_lies_in_elrange() {
        refused(BASE + SIZE, Fault::Gp);
        refused(BASE - 0x1000, Fault::Gp);
    }

    #[test]
    fn the_enclave_is_initialised() {
        let failure = failing(&mut Plan::new().load(), |e| e.eaug(ABSENT));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn a_page_that_is_there_is_found_before_the_state_of_the_enclave() {
        let failure = failing(&mut Plan::new().load(), |e| e.eaug(DATA));
        assert_eq!(failure, Failure::Fault(epcm_fault(DATA, true)));
    }
}
