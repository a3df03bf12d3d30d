//! EDECCSSA.

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::Epc;
use crate::fault::Fault;

impl<M: Epc> Enclave<M> {
    /// EDECCSSA: the SSA frame below becomes the current one, so that the next AEX overwrites it. No register or flag
    /// changes but RIP.
    pub(crate) fn edeccssa(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let mut tcs = self.read_tcs(cpu.state.tcs);
        let Some(number) = tcs.cssa.checked_sub(1) else {
            return Err(Fault::Gp);
        };
        cpu.state.ssa = self.ssa_frame(&tcs, number)?;
        tcs.cssa = number;
        self.write_tcs(cpu.state.tcs, &tcs);
        Ok(())
    }
}
