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

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{SecInfo, SECINFO_R};

    use crate::testing::{absent_fault, epcm_fault, peek, peek_tcs, Plan, Thread, SSA};
    use crate::{Enclave, Fault, Leaf};

    /// A thread that was entered again after an exit, and so is at CSSA 1.
    fn nested(enclave: &mut Enclave<crate::testing::Memory>) -> Thread {
        let mut thread = Thread::inside(enclave);
        thread.aex(enclave, None);
        thread.leaf(enclave, Leaf::Eenter).expect("EENTER");
        thread
    }

    #[test]
    fn the_next_exit_overwrites_the_frame_below() {
        let mut enclave = Plan::new().build();
        let mut thread = nested(&mut enclave);
        let before = thread.clone();
        assert_eq!(
            thread.leaf(&mut enclave, Leaf::Edeccssa),
            Ok(Leaf::Edeccssa)
        );
        let mut expected = before.regs;
        (expected.rax, expected.rip) = (9, before.regs.rip + 3);
        assert_eq!(thread.regs, expected);
        assert_eq!(peek_tcs(&enclave).cssa, 0);
        thread.regs.r12 = 0x0bad_cafe;
        let second: [u8; 4096] = peek(&enclave, SSA + 4096);
        thread.aex(&mut enclave, None);
        let r12 = u64::from_le_bytes(peek(&enclave, SSA + 4096 - 184 + 96));
        assert_eq!(r12, 0x0bad_cafe);
        assert_eq!(peek::<4096>(&enclave, SSA + 4096), second);
        assert_eq!(peek_tcs(&enclave).cssa, 1);
    }

    #[test]
    fn there_is_a_frame_below() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        let done = thread.leaf(&mut enclave, Leaf::Edeccssa);
        assert_eq!(done, Err(Fault::Gp));
    }

    #[test]
    fn the_frame_below_can_be_read_and_written() {
        let mut enclave = Plan::new().build();
        let mut thread = nested(&mut enclave);
        enclave
            .emodpr(SSA, SecInfo::new(SECINFO_R))
            .expect("EMODPR");
        let done = thread.leaf(&mut enclave, Leaf::Edeccssa);
        assert_eq!(done, Err(epcm_fault(SSA, true)));
    }

    #[test]
    fn the_frame_below_is_there() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.aex(&mut enclave, None);
        enclave.eremove(SSA).expect("EREMOVE");
        thread.leaf(&mut enclave, Leaf::Eenter).expect("EENTER");
        let done = thread.leaf(&mut enclave, Leaf::Edeccssa);
        assert_eq!(done, Err(absent_fault(SSA, true)));
    }
}
