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
            return self.enter_next_frame(cpu, tcs);
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

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, ATTRIBUTE_AEXNOTIFY, SECINFO_R, SECINFO_TRIM, TCS_AEXNOTIFY, TCS_DBGOPTIN,
    };
    use zerocopy::IntoBytes;

    use crate::cpu::rflags;
    use crate::testing::{
        absent_fault, epcm_fault, peek, peek_tcs, poke, Memory, Plan, Thread, ABSENT, AEP, BASE,
        DATA, SSA, TCS,
    };
    use crate::{Enclave, Fault, Leaf};

    const GPRSGX: u64 = SSA + 4096 - 184;
    const RFLAGS: u64 = GPRSGX + 128;
    const RIP: u64 = GPRSGX + 136;
    const AEXNOTIFY: u64 = GPRSGX + 167;

    /// An enclave that was left asynchronously, its thread outside, and the state inside before.
    fn exited() -> (Enclave<Memory>, Thread, Thread) {
        exited_from(&Plan::new())
    }

    fn exited_from(plan: &Plan) -> (Enclave<Memory>, Thread, Thread) {
        let mut enclave = plan.build();
        let mut thread = Thread::inside(&mut enclave);
        (thread.regs.rsp, thread.regs.r8, thread.regs.rip) = (DATA + 0x800, 0x8888, BASE + 0x77);
        (thread.fs_base, thread.gs_base) = (DATA + 1, DATA + 2);
        let inside = thread.clone();
        thread.aex(&mut enclave, None);
        (enclave, thread, inside)
    }

    fn notifying() -> (Enclave<Memory>, Thread, Thread) {
        let mut plan = Plan::new();
        plan.secs.attributes.flags |= ATTRIBUTE_AEXNOTIFY;
        plan.edit_tcs(|tcs| tcs.flags = TCS_AEXNOTIFY);
        let (mut enclave, thread, inside) = exited_from(&plan);
        poke(&mut enclave, AEXNOTIFY, &[1]);
        (enclave, thread, inside)
    }

    fn refused(fault: Fault, alter: impl FnOnce(&mut Enclave<Memory>, &mut Thread)) {
        let (mut enclave, mut thread, _) = exited();
        alter(&mut enclave, &mut thread);
        assert_eq!(thread.enclu(&mut enclave), Err(fault));
    }

    #[test]
    fn what_an_exit_left_resumes_the_enclave() {
        let (mut enclave, mut thread, inside) = exited();
        assert_eq!(thread.enclu(&mut enclave), Ok(Leaf::Eresume));
        assert_eq!(thread.regs, inside.regs);
        assert_eq!(
            (thread.fs_base, thread.gs_base),
            (inside.fs_base, inside.gs_base)
        );
        assert_eq!(thread.xsave, inside.xsave);
        let tcs = peek_tcs(&enclave);
        assert_eq!((tcs.state, tcs.cssa), (1, 0));
        assert_eq!(enclave.active(), 1);
    }

    #[test]
    fn the_aep_of_the_resumption_counts_for_the_next_exit() {
        let (mut enclave, mut thread, _) = exited();
        thread.regs.rcx = AEP + 0x10;
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(peek_tcs(&enclave).aep, AEP + 0x10);
        thread.aex(&mut enclave, None);
        assert_eq!(thread.regs.rip, AEP + 0x10);
    }

    #[test]
    fn the_next_exit_restores_the_stack_of_the_entry() {
        // URSP and URBP are EENTER's to set; ERESUME leaves them.
        let (mut enclave, mut thread, _) = exited();
        let outside = Thread::new().regs;
        (thread.regs.rsp, thread.regs.rbp) = (1, 2);
        thread.fs_base = 0xf00;
        thread.enclu(&mut enclave).expect("ERESUME");
        thread.aex(&mut enclave, None);
        assert_eq!(
            (thread.regs.rsp, thread.regs.rbp),
            (outside.rsp, outside.rbp)
        );
        assert_eq!(thread.fs_base, 0xf00);
    }

    #[test]
    fn a_frame_edited_inside_is_what_resumes() {
        let (mut enclave, mut thread, _) = exited();
        poke(&mut enclave, RIP, (BASE + 0x99).as_bytes());
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.regs.rip, BASE + 0x99);
    }

    #[test]
    fn flags_come_from_the_frame_but_for_if_iopl_tf_and_vm() {
        let (mut enclave, mut thread, _) = exited();
        thread.regs.rflags = 0x202;
        poke(&mut enclave, RFLAGS, u64::MAX.as_bytes());
        thread.enclu(&mut enclave).expect("ERESUME");
        let expected = 0x202
            | rflags::CF
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
        assert_eq!(thread.regs.rflags, expected);
    }

    #[test]
    fn with_iopl_3_if_comes_from_the_frame() {
        let (mut enclave, mut thread, _) = exited();
        thread.regs.rflags = 0x202 | rflags::IOPL;
        poke(&mut enclave, RFLAGS, 2u64.as_bytes());
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.regs.rflags, 2 | rflags::IOPL);
    }

    #[test]
    fn tf_outside_is_saved_and_cleared_unless_debugging_is_opted_in() {
        for (flags, inside) in [(0, 0), (TCS_DBGOPTIN, rflags::TF)] {
            let (mut enclave, mut thread, _) = exited();
            poke(&mut enclave, TCS + 8, flags.as_bytes());
            thread.regs.rflags |= rflags::TF;
            thread.enclu(&mut enclave).expect("ERESUME");
            assert_eq!(thread.regs.rflags & rflags::TF, inside);
            thread.aex(&mut enclave, None);
            assert_eq!(thread.regs.rflags & rflags::TF, rflags::TF);
        }
    }

    #[test]
    fn there_is_a_frame_to_resume_from() {
        let mut enclave = Plan::new().build();
        let resumed = Thread::new().leaf(&mut enclave, Leaf::Eresume);
        assert_eq!(resumed, Err(Fault::Gp));
    }

    #[test]
    fn the_tcs_is_checked_as_for_an_entry() {
        refused(Fault::Gp, |_, thread| thread.regs.rbx += 8);
        refused(absent_fault(ABSENT, false), |_, thread| {
            thread.regs.rbx = ABSENT
        });
        refused(epcm_fault(DATA, false), |_, thread| thread.regs.rbx = DATA);
        refused(Fault::Gp, |_, thread| thread.regs.rcx = 1 << 47);
        refused(Fault::Gp, |enclave, _| poke(enclave, TCS + 8, &[4]));
        refused(Fault::Gp, |_, thread| thread.xsave.truncate(600));
    }

    #[test]
    fn the_frame_can_be_read_and_written() {
        refused(epcm_fault(SSA, true), |enclave, _| {
            enclave
                .emodpr(SSA, SecInfo::new(SECINFO_R))
                .expect("EMODPR");
        });
        refused(absent_fault(SSA, true), |enclave, _| {
            enclave.eremove(SSA).expect("EREMOVE");
        });
    }

    #[test]
    fn rip_fs_and_gs_bases_are_canonical() {
        for at in [RIP, GPRSGX + 168, GPRSGX + 176] {
            refused(Fault::Gp, |enclave, _| {
                poke(enclave, at, (1u64 << 47).as_bytes())
            });
        }
    }

    #[test]
    fn a_thread_that_is_active_is_not_resumed() {
        refused(Fault::Gp, |enclave, _| {
            Thread::inside(enclave);
        });
    }

    #[test]
    fn an_xsave_area_on_which_xrstor_faults_is_gp() {
        // XSTATE_BV beyond XFRM, XCOMP_BV, the bytes after it, reserved bits of MXCSR.
        for (offset, byte) in [(512, 0x8), (520, 1), (527, 0x80), (535, 1), (26, 1)] {
            refused(Fault::Gp, |enclave, _| poke(enclave, SSA + offset, &[byte]));
        }
    }

    #[test]
    fn other_bytes_of_the_xsave_header_do_not_matter() {
        let (mut enclave, mut thread, _) = exited();
        poke(&mut enclave, SSA + 536, &[1; 40]);
        assert_eq!(thread.enclu(&mut enclave), Ok(Leaf::Eresume));
    }

    #[test]
    fn a_notification_enters_at_oentry_and_keeps_the_frame() {
        let (mut enclave, mut thread, _) = notifying();
        (thread.regs.rsp, thread.regs.rbp, thread.regs.r13) = (0x111, 0x222, 0x333);
        let before = thread.clone();
        assert_eq!(thread.enclu(&mut enclave), Ok(Leaf::Eresume));
        let mut expected = before.regs;
        expected.rax = 1;
        expected.rcx = before.regs.rip + 3;
        expected.rip = BASE + 0x40;
        assert_eq!(thread.regs, expected);
        assert_eq!((thread.fs_base, thread.gs_base), (DATA, DATA + 0x1000));
        assert_eq!(thread.xsave, before.xsave);
        let tcs = peek_tcs(&enclave);
        assert_eq!((tcs.state, tcs.cssa), (1, 1));
        let outside: [u64; 2] = zerocopy::transmute!(peek::<16>(&enclave, GPRSGX + 4096 + 144));
        assert_eq!(outside, [0x111, 0x222]);
    }

    #[test]
    fn a_notification_ends_with_edeccssa() {
        let (mut enclave, mut thread, inside) = notifying();
        thread.enclu(&mut enclave).expect("ERESUME");
        thread.leaf(&mut enclave, Leaf::Edeccssa).expect("EDECCSSA");
        // The handler takes the registers from the frame itself.
        thread.regs = inside.regs;
        thread.aex(&mut enclave, None);
        assert_eq!(peek_tcs(&enclave).cssa, 1);
        poke(&mut enclave, AEXNOTIFY, &[0]);
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.regs, inside.regs);
    }

    #[test]
    fn a_notification_needs_the_bits_of_both_tcs_and_frame() {
        let (mut enclave, mut thread, inside) = notifying();
        poke(&mut enclave, AEXNOTIFY, &[0xfe]);
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.regs, inside.regs);
        let (mut enclave, mut thread, inside) = exited();
        poke(&mut enclave, AEXNOTIFY, &[1]);
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.regs, inside.regs);
    }

    #[test]
    fn a_notification_needs_a_frame_to_spare() {
        let (mut enclave, mut thread, _) = notifying();
        poke(&mut enclave, TCS + 28, &[1]);
        assert_eq!(thread.enclu(&mut enclave), Err(Fault::Gp));
        let (mut enclave, mut thread, _) = notifying();
        enclave.eremove(SSA + 4096).expect("EREMOVE");
        let fault = absent_fault(SSA + 4096, true);
        assert_eq!(thread.enclu(&mut enclave), Err(fault));
        // OENTRY, OFSBASE and OGSBASE are looked at after it, unlike in EENTER.
        for at in [32, 48, 56] {
            poke(&mut enclave, TCS + at, (1u64 << 46).as_bytes());
        }
        assert_eq!(thread.enclu(&mut enclave), Err(fault));
    }

    #[test]
    fn a_notification_leads_to_canonical_addresses() {
        for at in [32, 48, 56] {
            let (mut enclave, mut thread, _) = notifying();
            poke(&mut enclave, TCS + at, (1u64 << 46).as_bytes());
            assert_eq!(thread.enclu(&mut enclave), Err(Fault::Gp), "TCS byte {at}");
        }
    }

    #[test]
    fn a_notification_does_not_enter_an_active_thread() {
        let (mut enclave, thread, _) = notifying();
        thread.clone().enclu(&mut enclave).expect("ERESUME");
        let resumed = thread.clone().enclu(&mut enclave);
        assert_eq!(resumed, Err(Fault::Gp));
    }

    #[test]
    fn a_notification_does_not_look_at_where_the_frame_below_leads() {
        let (mut enclave, mut thread, _) = notifying();
        for at in [RIP, GPRSGX + 168, GPRSGX + 176] {
            poke(&mut enclave, at, (1u64 << 47).as_bytes());
        }
        poke(&mut enclave, SSA + 520, &[1]);
        assert_eq!(thread.enclu(&mut enclave), Ok(Leaf::Eresume));
        assert_eq!(thread.regs.rip, BASE + 0x40);
    }

    #[test]
    fn cssa_and_the_frame_are_checked_before_what_is_in_it() {
        let mut enclave = Plan::new().build();
        enclave.eremove(SSA).expect("EREMOVE");
        // No frame in use: #GP, not #PF of the frame below.
        let resumed = Thread::new().leaf(&mut enclave, Leaf::Eresume);
        assert_eq!(resumed, Err(Fault::Gp));
        refused(epcm_fault(SSA, true), |enclave, _| {
            poke(enclave, RIP, (1u64 << 47).as_bytes());
            poke(enclave, SSA + 520, &[1]);
            enclave
                .emodpr(SSA, SecInfo::new(SECINFO_R))
                .expect("EMODPR");
        });
    }

    #[test]
    fn a_frame_that_is_pending_or_modified_cannot_be_resumed_from() {
        refused(epcm_fault(SSA, true), |enclave, _| {
            enclave
                .emodt(SSA, SecInfo::new(SECINFO_TRIM))
                .expect("EMODT");
        });
        refused(epcm_fault(SSA, true), |enclave, _| {
            enclave.eremove(SSA).expect("EREMOVE");
            enclave.eaug(SSA).expect("EAUG");
        });
    }
}
