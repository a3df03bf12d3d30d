//! EMODPE.

use mystikos_abi::sgx::{SECINFO_R, SECINFO_W, SECINFO_X};
use mystikos_abi::PAGE_SIZE;

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::Fault;

impl<M: Epc> Enclave<M> {
    /// EMODPE: adds the permissions in the SECINFO at RBX to the page at RCX. Flags and RAX stay.
    pub(crate) fn emodpe(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let (rbx, rcx) = (cpu.regs.rbx, cpu.regs.rcx);
        self.aligned(rbx, 64)?;
        let offset = self.aligned(rcx, PAGE_SIZE)?;
        let secinfo = self.read_secinfo(rbx)?;
        if secinfo.flags & !SECINFO_DEFINED != 0 || secinfo.reserved != [0; 7] {
            return Err(Fault::Gp);
        }
        let entry = self.entry(rcx);
        if !entry.settled(PageType::Reg) {
            return Err(entry.page_fault(rcx, Access::Read));
        }
        let flags = entry.flags() | secinfo.flags & (SECINFO_R | SECINFO_W | SECINFO_X);
        if flags & (SECINFO_R | SECINFO_W) == SECINFO_W {
            return Err(Fault::Gp);
        }
        self.epcm.update(offset, Entry::new(flags));
        Ok(())
    }
}
