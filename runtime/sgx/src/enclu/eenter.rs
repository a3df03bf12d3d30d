//! EENTER.

use core::mem::offset_of;

use mystikos_abi::sgx::{GprSgx, Tcs};

use crate::cpu::{canonical, Cpu};
use crate::enclave::Enclave;
use crate::enclu::ENCLU_SIZE;
use crate::epcm::Epc;
use crate::fault::Fault;
use crate::thread::ACTIVE;

impl<M: Epc> Enclave<M> {
    /// EENTER: RBX is the TCS, RCX the AEP. RAX becomes CSSA and RCX the address after the instruction; all other
    /// general registers, RSP included, and the extended state go in as they are.
    pub(crate) fn eenter(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let tcs = self.enterable(cpu)?;
        if tcs.cssa >= tcs.nssa {
            return Err(Fault::Gp);
        }
        let ssa = self.ssa_frame(&tcs, tcs.cssa)?;
        let entry = self.entry_point(&tcs)?;
        if tcs.state == ACTIVE {
            return Err(Fault::Gp);
        }
        self.enter_at(cpu, tcs, ssa, entry);
        Ok(())
    }

    /// Where an entry leads to: RIP, FS base and GS base.
    pub(crate) fn entry_point(&self, tcs: &Tcs) -> Result<[u64; 3], Fault> {
        let entry = [tcs.oentry, tcs.ofsbase, tcs.ogsbase].map(|offset| self.linear(offset));
        if entry.iter().all(|&address| canonical(address)) {
            Ok(entry)
        } else {
            Err(Fault::Gp)
        }
    }

    /// Enters at OENTRY; nothing can fail any more.
    pub(crate) fn enter_at(
        &mut self,
        cpu: &mut Cpu<'_>,
        tcs: Tcs,
        ssa: u64,
        [rip, fs_base, gs_base]: [u64; 3],
    ) {
        self.begin(cpu, tcs, ssa);
        let mut outside = [0; 16];
        outside[..8].copy_from_slice(&cpu.regs.rsp.to_le_bytes());
        outside[8..].copy_from_slice(&cpu.regs.rbp.to_le_bytes());
        self.write_at_gpr(ssa, offset_of!(GprSgx, ursp) as i64, &outside);
        cpu.regs.rcx = cpu.regs.rip.wrapping_add(ENCLU_SIZE);
        cpu.regs.rip = rip;
        cpu.regs.rax = u64::from(tcs.cssa);
        cpu.fs_base = fs_base;
        cpu.gs_base = gs_base;
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Plan, Thread, BASE, DATA};
    use crate::Leaf;

    #[test]
    fn an_enclave_is_entered_at_oentry() {
        let mut enclave = Plan::new().build();
        let before = Thread::new();
        let mut thread = before.clone();
        assert_eq!(thread.leaf(&mut enclave, Leaf::Eenter), Ok(Leaf::Eenter));
        let mut expected = before.regs;
        expected.rax = 0;
        expected.rcx = before.regs.rip + 3;
        expected.rip = BASE + 0x40;
        assert_eq!(thread.regs, expected);
        assert_eq!((thread.fs_base, thread.gs_base), (DATA, DATA + 0x1000));
        assert_eq!(thread.xsave, before.xsave);
        assert!(thread.state.inside());
    }
}
