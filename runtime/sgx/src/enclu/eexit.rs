//! EEXIT.

use crate::cpu::{canonical, Cpu};
use crate::enclave::Enclave;
use crate::epcm::Epc;
use crate::fault::Fault;

impl<M: Epc> Enclave<M> {
    /// EEXIT to the address in RBX; RCX becomes the AEP. All other general registers, RSP and RBP included, and the
    /// extended state go out as they are: clearing them is the enclave's duty. FS and GS bases and TF (opt-out) are those
    /// from before the entry; #DB after the instruction, if TF is set again, is the caller's to raise.
    pub(crate) fn eexit(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        if !canonical(cpu.regs.rbx) {
            return Err(Fault::Gp);
        }
        let tcs = self.read_tcs(cpu.state.tcs);
        cpu.regs.rip = cpu.regs.rbx;
        cpu.regs.rcx = tcs.aep;
        self.end(cpu, tcs);
        Ok(())
    }
}
