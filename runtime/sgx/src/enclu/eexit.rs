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

#[cfg(test)]
mod tests {
    use crate::cpu::rflags;
    use crate::testing::{peek_tcs, Plan, Thread, AEP};
    use crate::{Fault, Leaf};

    #[test]
    fn execution_goes_on_at_rbx_with_the_aep_in_rcx() {
        let mut enclave = Plan::new().build();
        let outside = Thread::new();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rbx = 0x40_2000;
        (thread.regs.rsp, thread.regs.rbp, thread.regs.r15) = (1, 2, 3);
        thread.regs.rflags |= rflags::CF | rflags::DF;
        thread.xsave[200] = 0x77;
        let inside = thread.clone();
        assert_eq!(thread.leaf(&mut enclave, Leaf::Eexit), Ok(Leaf::Eexit));
        let mut expected = inside.regs;
        (expected.rip, expected.rcx, expected.rax) = (0x40_2000, AEP, 4);
        assert_eq!(thread.regs, expected);
        assert_eq!(thread.xsave, inside.xsave);
        assert_eq!(thread.fs_base, outside.fs_base);
        assert_eq!(thread.gs_base, outside.gs_base);
        assert!(!thread.state.inside());
    }

    #[test]
    fn the_tcs_can_be_entered_again() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.leaf(&mut enclave, Leaf::Eexit).expect("EEXIT");
        let tcs = peek_tcs(&enclave);
        assert_eq!((tcs.state, tcs.cssa), (0, 0));
        assert_eq!(enclave.active(), 0);
        Thread::inside(&mut enclave);
    }

    #[test]
    fn the_target_is_canonical() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rbx = 1 << 47;
        assert_eq!(thread.leaf(&mut enclave, Leaf::Eexit), Err(Fault::Gp));
    }

    #[test]
    fn tf_set_inside_is_replaced_by_the_one_from_before() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rflags |= rflags::TF;
        thread.leaf(&mut enclave, Leaf::Eexit).expect("EEXIT");
        assert_eq!(thread.regs.rflags & rflags::TF, 0);
    }
}
