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

#[cfg(test)]
mod tests {
    use crate::testing::{absent_fault, failing, Plan, ABSENT, BASE, DATA, SIZE, TCS};
    use crate::{Failure, Fault};

    fn refused(linear: u64, fault: Fault) {
        let mut enclave = Plan::new().load();
        let failure = failing(&mut enclave, |e| e.eextend(linear));
        assert_eq!(failure, Failure::Fault(fault));
    }

    #[test]
    fn the_address_is_aligned_to_256_bytes() {
        refused(DATA + 0x80, Fault::Gp);
        refused(DATA + 1, Fault::Gp);
    }

    #[test]
    fn the_page_is_there() {
        refused(ABSENT, absent_fault(ABSENT, false));
        refused(BASE + SIZE, absent_fault(BASE + SIZE, false));
        refused(BASE - 0x100, absent_fault(BASE - 0x100, false));
    }

    #[test]
    fn an_initialised_enclave_is_measured_no_more() {
        let mut enclave = Plan::new().build();
        let failure = failing(&mut enclave, |e| e.eextend(DATA));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn regular_pages_and_tcs_can_be_measured_in_pieces() {
        let mut enclave = Plan::new().load();
        let mut seen = vec![enclave.mrenclave()];
        for linear in [DATA, DATA + 0x100, TCS, TCS + 0xf00] {
            assert_eq!(enclave.eextend(linear), Ok(()));
            seen.push(enclave.mrenclave());
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }
}
