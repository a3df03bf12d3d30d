//! EEXTEND.

use crate::enclave::Enclave;
use crate::epcm::{Access, Epc, PageType};
use crate::fault::Fault;
use crate::measurement::CHUNK_SIZE;

impl<M: Epc> Enclave<M> {
    /// EEXTEND: measures the 256 bytes at `linear`.
    pub fn eextend(&mut self, linear: u64) -> Result<(), Fault> {
        if !linear.is_multiple_of(CHUNK_SIZE as u64) {
            return Err(Fault::Gp);
        }
        let entry = self.entry(linear);
        let offset = match (self.offset(linear), entry.page_type()) {
            (Some(offset), Some(PageType::Reg | PageType::Tcs)) if entry.valid() => offset,
            _ => return Err(entry.page_fault(linear, Access::Read)),
        };
        if self.initialised() {
            return Err(Fault::Gp);
        }
        let mut data = [0; CHUNK_SIZE];
        self.memory.read(offset, &mut data);
        self.measurement.eextend(offset, &data);
        Ok(())
    }
}
