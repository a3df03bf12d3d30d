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
        // Before the frame is looked at; ERESUME does it afterwards.
        let bases = [tcs.ofsbase, tcs.ogsbase];
        if !bases.iter().all(|&base| canonical(self.linear(base))) {
            return Err(Fault::Gp);
        }
        self.enter_next_frame(cpu, tcs)
    }

    /// Enters at OENTRY, with the SSA frame that CSSA selects: EENTER, and ERESUME with an AEX notification.
    pub(crate) fn enter_next_frame(&mut self, cpu: &mut Cpu<'_>, tcs: Tcs) -> Result<(), Fault> {
        if tcs.cssa >= tcs.nssa {
            return Err(Fault::Gp);
        }
        let ssa = self.ssa_frame(&tcs, tcs.cssa)?;
        let entry = [tcs.oentry, tcs.ofsbase, tcs.ogsbase].map(|offset| self.linear(offset));
        if !entry.iter().all(|&address| canonical(address)) || tcs.state == ACTIVE {
            return Err(Fault::Gp);
        }
        let [rip, fs_base, gs_base] = entry;
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{SecInfo, Tcs};
    use mystikos_abi::sgx::{
        ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_MODE64BIT, SECINFO_R, SECINFO_REG, SECINFO_TRIM,
        TCS_AEXNOTIFY, TCS_DBGOPTIN,
    };
    use zerocopy::IntoBytes;

    use crate::cpu::rflags;
    use crate::testing::{
        absent_fault, epcm_fault, peek, peek_tcs, poke, Plan, Thread, ABSENT, AEP, BASE, CODE,
        DATA, SIZE, SSA, TCS,
    };
    use crate::{Fault, Leaf};

    const GPRSGX: u64 = 4096 - 184;

    fn refused_with(plan: &Plan, thread: &mut Thread, fault: Fault) {
        let entered = thread.leaf(&mut plan.build(), Leaf::Eenter);
        assert_eq!(entered, Err(fault));
    }

    fn refused(fault: Fault, edit: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::new();
        edit(&mut plan);
        refused_with(&plan, &mut Thread::new(), fault);
    }

    fn refused_tcs(edit: impl FnOnce(&mut Tcs)) {
        refused(Fault::Gp, |plan| plan.edit_tcs(edit));
    }

    #[test]
    fn execution_begins_at_oentry_with_cssa_and_return_address() {
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
        assert_eq!(thread.state.tcs(), Some(TCS));
        assert_eq!(enclave.active(), 1);
    }

    #[test]
    fn the_tcs_is_active_and_holds_the_aep() {
        let mut enclave = Plan::new().build();
        Thread::inside(&mut enclave);
        let tcs = peek_tcs(&enclave);
        assert_eq!((tcs.state, tcs.aep, tcs.cssa), (1, AEP, 0));
    }

    #[test]
    fn outside_rsp_and_rbp_go_to_the_frame_that_cssa_selects() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.aex(&mut enclave, None);
        (thread.regs.rsp, thread.regs.rbp) = (0x1234, 0x5678);
        thread.leaf(&mut enclave, Leaf::Eenter).expect("EENTER");
        assert_eq!(thread.regs.rax, 1);
        let outside: [u64; 2] =
            zerocopy::transmute!(peek::<16>(&enclave, SSA + 4096 + GPRSGX + 144));
        assert_eq!(outside, [0x1234, 0x5678]);
    }

    #[test]
    fn the_tcs_address_is_aligned() {
        let mut thread = Thread::new();
        thread.regs.rbx = TCS + 8;
        refused_with(&Plan::new(), &mut thread, Fault::Gp);
    }

    #[test]
    fn the_tcs_is_a_page_of_the_enclave() {
        for linear in [ABSENT, BASE + SIZE, 0x1000] {
            let mut thread = Thread::new();
            thread.regs.rbx = linear;
            refused_with(&Plan::new(), &mut thread, absent_fault(linear, false));
        }
    }

    #[test]
    fn the_page_is_a_tcs() {
        for linear in [DATA, CODE] {
            let mut thread = Thread::new();
            thread.regs.rbx = linear;
            refused_with(&Plan::new(), &mut thread, epcm_fault(linear, false));
        }
    }

    #[test]
    fn a_tcs_that_is_pending_or_modified_cannot_be_entered() {
        let mut enclave = Plan::new().build();
        enclave
            .emodt(TCS, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        enclave.emodt(DATA, SecInfo::new(0x100)).expect("EMODT");
        for linear in [TCS, DATA] {
            let mut thread = Thread::new();
            thread.regs.rbx = linear;
            let entered = thread.leaf(&mut enclave, Leaf::Eenter);
            assert_eq!(entered, Err(epcm_fault(linear, false)));
        }
    }

    #[test]
    fn the_aep_is_canonical() {
        let mut thread = Thread::new();
        thread.regs.rcx = 0x8000_0000_0000;
        refused_with(&Plan::new(), &mut thread, Fault::Gp);
    }

    #[test]
    fn ossa_ofsbase_and_ogsbase_are_aligned() {
        refused_tcs(|tcs| tcs.ossa += 8);
        refused_tcs(|tcs| tcs.ofsbase += 8);
        refused_tcs(|tcs| tcs.ogsbase += 8);
    }

    #[test]
    fn reserved_flags_of_the_tcs_are_zero() {
        refused_tcs(|tcs| tcs.flags = 4);
        refused_tcs(|tcs| tcs.flags = 1 << 63);
    }

    #[test]
    fn the_enclave_is_initialised() {
        let mut enclave = Plan::new().load();
        let entered = Thread::new().leaf(&mut enclave, Leaf::Eenter);
        assert_eq!(entered, Err(Fault::Gp));
    }

    #[test]
    fn a_32_bit_enclave_is_not_entered_in_64_bit_mode() {
        let mut plan = Plan::new();
        plan.secs.attributes.flags &= !ATTRIBUTE_MODE64BIT;
        for page in &mut plan.pages {
            page.linear -= BASE - 0x1000_0000;
        }
        plan.secs.baseaddr = 0x1000_0000;
        let mut thread = Thread::new();
        thread.regs.rbx = 0x1000_1000;
        let mut enclave = plan.build();
        assert_eq!(thread.leaf(&mut enclave, Leaf::Eenter), Err(Fault::Gp));
    }

    #[test]
    fn xfrm_is_a_subset_of_what_is_enabled() {
        // An XSAVE image without room for AVX, or not even for a header, is that of a thread without.
        for size in [0, 512, 576, 831] {
            let mut thread = Thread::new();
            thread.xsave.truncate(size);
            refused_with(&Plan::new(), &mut thread, Fault::Gp);
        }
        let mut plan = Plan::new();
        plan.secs.attributes.xfrm = 3;
        let mut thread = Thread::new();
        thread.xsave.truncate(576);
        let entered = thread.leaf(&mut plan.build(), Leaf::Eenter);
        assert_eq!(entered, Ok(Leaf::Eenter));
    }

    #[test]
    fn thread_and_enclave_agree_on_aex_notifications() {
        refused_tcs(|tcs| tcs.flags = TCS_AEXNOTIFY);
        refused(Fault::Gp, |plan| {
            plan.secs.attributes.flags |= ATTRIBUTE_AEXNOTIFY;
        });
        let mut plan = Plan::new();
        plan.secs.attributes.flags |= ATTRIBUTE_AEXNOTIFY;
        plan.edit_tcs(|tcs| tcs.flags = TCS_AEXNOTIFY);
        Thread::inside(&mut plan.build());
    }

    #[test]
    fn a_debugged_thread_need_not_agree_on_aex_notifications() {
        let mut enclave = Plan::new().build();
        let flags = TCS_DBGOPTIN | TCS_AEXNOTIFY;
        poke(&mut enclave, TCS + 8, flags.as_bytes());
        Thread::inside(&mut enclave);
    }

    #[test]
    fn there_is_a_frame_to_spare() {
        refused_tcs(|tcs| tcs.nssa = 0);
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        for _ in 0..2 {
            thread.aex(&mut enclave, None);
            thread.leaf(&mut enclave, Leaf::Eenter).expect("EENTER");
        }
        thread.aex(&mut enclave, None);
        assert_eq!(thread.leaf(&mut enclave, Leaf::Eenter), Err(Fault::Gp));
    }

    #[test]
    fn the_frame_is_there() {
        let remove = |plan: &mut Plan| plan.pages.retain(|page| page.linear != SSA);
        refused(absent_fault(SSA, true), remove);
        let far = BASE + (1 << 40);
        refused(absent_fault(far, true), |plan| {
            plan.edit_tcs(|tcs| tcs.ossa = 1 << 40);
        });
    }

    #[test]
    fn the_frame_can_be_read_and_written() {
        for flags in [SECINFO_REG | SECINFO_R, SECINFO_REG] {
            refused(epcm_fault(SSA, true), |plan| plan.page(SSA).secinfo = flags);
        }
        refused(epcm_fault(TCS, true), |plan| {
            plan.edit_tcs(|tcs| tcs.ossa = TCS - BASE);
        });
    }

    #[test]
    fn every_page_of_the_xsave_area_and_the_last_of_the_frame_are_checked() {
        // A frame of four pages, of which the first two hold the XSAVE area.
        let mut plan = Plan::new();
        plan.processor.xcr0 = 0xe7;
        plan.processor.xsave = crate::XsaveLayout::INTEL.with_component(7, 4096, 1024);
        plan.secs.attributes.xfrm = 0xe7;
        plan.secs.ssaframesize = 4;
        plan.edit_tcs(|tcs| tcs.nssa = 1);
        plan.pages.retain(|page| page.linear != SSA + 0x2000);
        let last = SSA + 0x3000;
        assert_eq!(last, DATA);
        let mut thread = Thread::new();
        thread.xsave.resize(5120, 0);
        Thread::clone(&thread)
            .leaf(&mut plan.build(), Leaf::Eenter)
            .expect("EENTER without the page between");
        for linear in [SSA, SSA + 0x1000, last] {
            let mut plan = plan.clone();
            plan.pages.retain(|page| page.linear != linear);
            refused_with(&plan, &mut thread, absent_fault(linear, true));
        }
    }

    #[test]
    fn oentry_fs_and_gs_bases_are_canonical() {
        refused_tcs(|tcs| tcs.oentry = 0x1000_0000_0000);
        refused_tcs(|tcs| tcs.ofsbase = 0x1000_0000_0000);
        refused_tcs(|tcs| tcs.ogsbase = 0x1000_0000_0000);
    }

    #[test]
    fn fs_and_gs_bases_are_checked_before_the_frame_and_oentry_after_it() {
        const FAR: u64 = 0x1000_0000_0000;
        let without_frame = |fault, edit: fn(&mut Tcs)| {
            refused(fault, |plan| {
                plan.pages.retain(|page| page.linear != SSA);
                plan.edit_tcs(edit);
            });
        };
        without_frame(Fault::Gp, |tcs| tcs.ofsbase = FAR);
        without_frame(Fault::Gp, |tcs| tcs.ogsbase = FAR);
        without_frame(Fault::Gp, |tcs| tcs.nssa = 0);
        without_frame(Fault::Gp, |tcs| tcs.flags = 4);
        without_frame(absent_fault(SSA, true), |tcs| tcs.oentry = FAR);
    }

    #[test]
    fn the_aep_is_checked_before_the_kind_of_page_and_after_its_presence() {
        for (linear, fault) in [
            (DATA, Fault::Gp),
            (ABSENT, absent_fault(ABSENT, false)),
            (ABSENT + 8, Fault::Gp),
        ] {
            let mut thread = Thread::new();
            (thread.regs.rbx, thread.regs.rcx) = (linear, 1 << 47);
            refused_with(&Plan::new(), &mut thread, fault);
        }
    }

    #[test]
    fn whether_the_tcs_is_active_is_looked_at_last() {
        let mut enclave = Plan::new().build();
        Thread::inside(&mut enclave);
        enclave
            .emodpr(SSA, SecInfo::new(SECINFO_R))
            .expect("EMODPR");
        let entered = Thread::new().leaf(&mut enclave, Leaf::Eenter);
        assert_eq!(entered, Err(epcm_fault(SSA, true)));
    }

    #[test]
    fn a_frame_that_is_pending_or_modified_cannot_be_used() {
        let mut enclave = Plan::new().build();
        enclave
            .emodt(SSA, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        let entered = Thread::new().leaf(&mut enclave, Leaf::Eenter);
        assert_eq!(entered, Err(epcm_fault(SSA, true)));
        let mut enclave = Plan::new().build();
        enclave.eremove(SSA).expect("EREMOVE");
        enclave.eaug(SSA).expect("EAUG");
        let entered = Thread::new().leaf(&mut enclave, Leaf::Eenter);
        assert_eq!(entered, Err(epcm_fault(SSA, true)));
    }

    #[test]
    fn a_tcs_is_used_by_one_thread_at_a_time() {
        let mut enclave = Plan::new().build();
        Thread::inside(&mut enclave);
        let entered = Thread::new().leaf(&mut enclave, Leaf::Eenter);
        assert_eq!(entered, Err(Fault::Gp));
    }

    #[test]
    fn tf_is_saved_and_cleared_unless_debugging_is_opted_in() {
        for (flags, inside) in [(0, 0), (TCS_DBGOPTIN, rflags::TF)] {
            let mut enclave = Plan::new().build();
            poke(&mut enclave, TCS + 8, flags.as_bytes());
            let mut thread = Thread::new();
            thread.regs.rflags |= rflags::TF;
            thread.leaf(&mut enclave, Leaf::Eenter).expect("EENTER");
            assert_eq!(thread.regs.rflags & rflags::TF, inside);
            thread.regs.rbx = 0x40_0000;
            thread.leaf(&mut enclave, Leaf::Eexit).expect("EEXIT");
            assert_eq!(thread.regs.rflags & rflags::TF, rflags::TF);
        }
    }
}
