//! EACCEPTCOPY.

use mystikos_abi::sgx::{
    SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PT, SECINFO_R, SECINFO_REG, SECINFO_W, SECINFO_X,
};
use mystikos_abi::PAGE_SIZE;

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Fault, Status};

const RIGHTS: u64 = SECINFO_R | SECINFO_W | SECINFO_X;

impl<M: Epc> Enclave<M> {
    /// EACCEPTCOPY: the pending page at RCX gets the content of the page at RDX and the permissions in the SECINFO at RBX.
    ///
    /// Of the source the SDM's listing checks R in the destination's entry; the source's is meant.
    pub(crate) fn eacceptcopy(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let (rbx, rcx, rdx) = (cpu.regs.rbx, cpu.regs.rcx, cpu.regs.rdx);
        self.aligned(rbx, 64)?;
        let target = self.aligned(rcx, PAGE_SIZE)?;
        let source = self.aligned(rdx, PAGE_SIZE)?;
        let entry = self.entry(rcx);
        if !entry.valid() && self.entry(rbx).valid() {
            // It does not resolve within the EPC.
            return Err(entry.page_fault(rcx, Access::Write));
        }
        let secinfo = self.read_secinfo(rbx)?;
        if secinfo.flags & !SECINFO_DEFINED != 0
            || secinfo.reserved != [0; 7]
            || secinfo.flags & (SECINFO_R | SECINFO_W) == SECINFO_W
            || page_type(secinfo.flags) != Some(PageType::Reg)
        {
            return Err(Fault::Gp);
        }
        self.check_access(rdx, Access::Read)?;
        const PENDING: u64 = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING;
        if entry.flags() & (SECINFO_PT | RIGHTS | SECINFO_PENDING | SECINFO_MODIFIED) != PENDING {
            cpu.complete(Err(Status::PageAttributesMismatch));
            return Ok(());
        }
        self.copy_page(source, target);
        let accepted = entry.flags() & !(RIGHTS | SECINFO_PENDING) | secinfo.flags & RIGHTS;
        self.epcm.update(target, Entry::new(accepted));
        cpu.complete(Ok(()));
        Ok(())
    }

    fn copy_page(&mut self, source: u64, target: u64) {
        let mut part = [0; 512];
        for at in (0..PAGE_SIZE).step_by(part.len()) {
            self.memory.read(source + at, &mut part);
            self.memory.write(target + at, &part);
        }
    }
}
