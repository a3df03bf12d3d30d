//! EACCEPT.

use mystikos_abi::sgx::{
    SecInfo, Tcs, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PR, SECINFO_PT, SECINFO_R, SECINFO_W,
    SECINFO_X, TCS_DBGOPTIN,
};
use mystikos_abi::PAGE_SIZE;
use zerocopy::IntoBytes;

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Fault, Status};

/// What must be as the enclave expects it. PR is not compared.
const COMPARED: u64 =
    SECINFO_R | SECINFO_W | SECINFO_X | SECINFO_PENDING | SECINFO_MODIFIED | SECINFO_PT;

impl<M: Epc> Enclave<M> {
    /// EACCEPT: confirms that the page at RCX is as the SECINFO at RBX says.
    ///
    /// Address translations are never stale here (ETRACK has nothing to wait for), so SGX_NOT_TRACKED does not occur.
    pub(crate) fn eaccept(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let (rbx, rcx) = (cpu.regs.rbx, cpu.regs.rcx);
        let secinfo = self.read_secinfo(rbx)?;
        if secinfo.flags & !SECINFO_DEFINED != 0 || secinfo.reserved != [0; 7] {
            return Err(Fault::Gp);
        }
        let offset = self.aligned(rcx, PAGE_SIZE)?;
        if !acceptable(secinfo.flags) {
            return Err(Fault::Gp);
        }
        let entry = self.entry(rcx);
        if !entry.valid() {
            return Err(entry.page_fault(rcx, Access::Read));
        }
        if (entry.flags() ^ secinfo.flags) & COMPARED != 0 {
            cpu.complete(Err(Status::PageAttributesMismatch));
            return Ok(());
        }
        if entry.page_type() == Some(PageType::Tcs) {
            self.check_new_tcs(offset)?;
        }
        let accepted = entry.flags() & !(SECINFO_PENDING | SECINFO_MODIFIED | SECINFO_PR);
        self.epcm.update(offset, Entry::new(accepted));
        cpu.complete(Ok(()));
        Ok(())
    }

    /// The SECINFO at RBX, an operand of the SGX2 leaves.
    pub(crate) fn read_secinfo(&self, linear: u64) -> Result<SecInfo, Fault> {
        let offset = self.operand(linear, size_of::<SecInfo>() as u64, Access::Read)?;
        let mut secinfo = SecInfo::default();
        self.memory.read(offset, secinfo.as_mut_bytes());
        Ok(secinfo)
    }

    /// A page that becomes a TCS is in its initial state, and its reserved part zero.
    fn check_new_tcs(&self, offset: u64) -> Result<(), Fault> {
        let tcs = self.read_tcs(self.linear(offset));
        if tcs.flags & TCS_DBGOPTIN != 0 || tcs.cssa >= tcs.nssa || tcs.aep != 0 || tcs.state != 0 {
            return Err(Fault::Gp);
        }
        let mut at = size_of::<Tcs>() as u64;
        let mut bytes = [0; 64];
        while at < PAGE_SIZE {
            let now = (PAGE_SIZE - at).min(64) as usize;
            let part = &mut bytes[..now];
            self.memory.read(offset + at, part);
            if part.iter().any(|&byte| byte != 0) {
                return Err(Fault::Gp);
            }
            at += now as u64;
        }
        Ok(())
    }
}

/// The combinations of page type, PENDING, MODIFIED and PR that EACCEPT takes without CET.
fn acceptable(flags: u64) -> bool {
    let pending = flags & SECINFO_PENDING != 0;
    let modified = flags & SECINFO_MODIFIED != 0;
    let restricted = flags & SECINFO_PR != 0;
    match page_type(flags) {
        Some(PageType::Reg) => (restricted || pending) && !modified,
        Some(PageType::Tcs | PageType::Trim) => !restricted && !pending && modified,
        None => false,
    }
}
