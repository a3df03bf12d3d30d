//! ERESUME.

use mystikos_abi::sgx::{GprSgx, GPRSGX_AEXNOTIFY, TCS_AEXNOTIFY};

use crate::cpu::{canonical, rflags, Cpu, Registers};
use crate::enclave::Enclave;
use crate::epcm::Epc;
use crate::fault::Fault;
use crate::thread::ACTIVE;

/// RFLAGS that come from the SSA frame. IF does only for code with IOPL 3; IOPL and VM never.
const RESTORED: u64 = rflags::CF
    | rflags::PF
    | rflags::AF
    | rflags::ZF
    | rflags::SF
    | rflags::DF
    | rflags::OF
    | rflags::NT
    | rflags::RF
    | rflags::AC
    | rflags::ID;

impl<M: Epc> Enclave<M> {
    /// ERESUME: RBX is the TCS, RCX the AEP. Goes on as SSA frame CSSA-1 says and frees it, or, if that frame and the TCS
    /// ask for AEX notifications, enters at OENTRY like EENTER and leaves CSSA.
    ///
    /// The SDM's listing of the second case sets RIP before it copies RIP to RCX. The order of EENTER, where RCX is the
    /// address after the instruction, is meant. It also clears TF on opt-out entries before it saves it, where the prose
    /// has it saved and cleared.
    pub(crate) fn eresume(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let tcs = self.enterable(cpu)?;
        let Some(number) = tcs.cssa.checked_sub(1) else {
            return Err(Fault::Gp);
        };
        let ssa = self.ssa_frame(&tcs, number)?;
        let gpr = self.read_gpr(ssa);
        if tcs.flags & TCS_AEXNOTIFY != 0 && gpr.aexnotify & GPRSGX_AEXNOTIFY != 0 {
            // As EENTER from here, with its check for a frame to spare.
            return self.eenter(cpu);
        }
        let addresses = [gpr.rip, gpr.fsbase, gpr.gsbase];
        if !addresses.iter().all(|&address| canonical(address)) || tcs.state == ACTIVE {
            return Err(Fault::Gp);
        }
        if !self.xsave_area(ssa).is_some_and(|area| area.restorable()) {
            return Err(Fault::Gp);
        }
        let mut popped = tcs;
        popped.cssa = number;
        self.begin(cpu, popped, ssa);
        if let Some(area) = self.xsave_area(ssa) {
            area.restore(cpu.xsave);
        }
        restore_registers(cpu, &gpr);
        Ok(())
    }
}

fn restore_registers(cpu: &mut Cpu<'_>, gpr: &GprSgx) {
    let outside = cpu.regs.rflags;
    let restored = if outside & rflags::IOPL == rflags::IOPL {
        RESTORED | rflags::IF
    } else {
        RESTORED
    };
    cpu.regs = Registers::from_ssa(gpr);
    cpu.regs.rflags = outside & !restored | gpr.rflags & restored;
    cpu.fs_base = gpr.fsbase;
    cpu.gs_base = gpr.gsbase;
}
