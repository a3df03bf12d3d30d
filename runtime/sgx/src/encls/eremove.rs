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
