//! EMODPR.

use mystikos_abi::sgx::{
    SecInfo, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PR, SECINFO_R, SECINFO_W, SECINFO_X,
};

use crate::enclave::Enclave;
use crate::epcm::{Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Failure, Fault, Status};

impl<M: Epc> Enclave<M> {
    /// EMODPR: takes away the permissions that SECINFO does not have.
    pub fn emodpr(&mut self, linear: u64, secinfo: SecInfo) -> Result<(), Failure> {
        let (offset, entry) = self.epc_page(linear)?;
        if secinfo.flags & !SECINFO_DEFINED != 0
            || secinfo.reserved != [0; 7]
            || secinfo.flags & (SECINFO_R | SECINFO_W) == SECINFO_W
        {
            return Err(Fault::Gp.into());
        }
        if entry.any(SECINFO_PENDING | SECINFO_MODIFIED) {
            return Err(Status::PageNotModifiable.into());
        }
        if entry.page_type() != Some(PageType::Reg) {
            return Err(entry.page_fault(linear, Access::Write).into());
        }
        if !self.initialised() {
            return Err(Fault::Gp.into());
        }
        let taken = !secinfo.flags & (SECINFO_R | SECINFO_W | SECINFO_X);
        self.epcm
            .update(offset, Entry::new(entry.flags() & !taken | SECINFO_PR));
        Ok(())
    }
}
