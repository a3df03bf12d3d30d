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
