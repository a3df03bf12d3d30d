//! EMODT.

use mystikos_abi::sgx::{SecInfo, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PT};

use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Failure, Fault, Status};

impl<M: Epc> Enclave<M> {
    /// EMODT: makes a page a TCS or one to be removed. It waits for EACCEPT, without permissions.
    pub fn emodt(&mut self, linear: u64, secinfo: SecInfo) -> Result<(), Failure> {
        let (offset, entry) = self.epc_page(linear)?;
        let kind = page_type(secinfo.flags);
        if secinfo.flags & !SECINFO_DEFINED != 0
            || secinfo.reserved != [0; 7]
            || !matches!(kind, Some(PageType::Tcs | PageType::Trim))
        {
            return Err(Fault::Gp.into());
        }
        match (entry.page_type(), kind) {
            (Some(PageType::Reg), _) | (Some(PageType::Tcs), Some(PageType::Trim)) => {}
            _ => return Err(entry.page_fault(linear, Access::Write).into()),
        }
        if entry.any(SECINFO_PENDING | SECINFO_MODIFIED) {
            return Err(Status::PageNotModifiable.into());
        }
        if !self.initialised() {
            return Err(Fault::Gp.into());
        }
        let flags = secinfo.flags & SECINFO_PT | SECINFO_MODIFIED;
        self.epcm.update(offset, Entry::new(flags));
        Ok(())
    }
}
