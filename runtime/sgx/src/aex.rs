//! Asynchronous enclave exit (SDM volume 3D, chapter 37).
//!
//! The SDM's flow leaves EXITINFO as it is after #GP or #PF without EXINFO; its table of EXITINFO says that the field is
//! clear for all that is not reported, and so it is here.

use mystikos_abi::sgx::{
    enclu, pfec, vector, ExInfo, EXITINFO_HARDWARE, EXITINFO_SOFTWARE, EXITINFO_VALID,
    MISCSELECT_EXINFO,
};
use mystikos_abi::PAGE_SIZE;
use zerocopy::IntoBytes;

use crate::cpu::{rflags, Cpu, Registers};
use crate::enclave::Enclave;
use crate::epcm::Epc;
use crate::fault::Exception;
use crate::xsave::synthesise;

/// RFLAGS that are clear in the synthetic state; the others stay as the enclave had them.
const CLEARED: u64 =
    rflags::CF | rflags::PF | rflags::AF | rflags::ZF | rflags::SF | rflags::OF | rflags::RF;

impl<M: Epc> Enclave<M> {
    /// Leaves the enclave for an event: `None` for an interrupt. Registers and extended state go to the current SSA
    /// frame, and synthetic ones are left, with which the ENCLU at the AEP resumes. Returns the exception as system
    /// software gets it, without the low bits of a page fault's address.
    ///
    /// Outside the enclave nothing happens.
    pub fn aex(&mut self, cpu: &mut Cpu<'_>, cause: Option<Exception>) -> Option<Exception> {
        if !cpu.state.inside() {
            return cause;
        }
        let (tcs_address, ssa) = (cpu.state.tcs, cpu.state.ssa);
        let mut tcs = self.read_tcs(tcs_address);
        let mut gpr = self.read_gpr(ssa);
        cpu.regs.to_ssa(&mut gpr);
        gpr.rflags &= !rflags::TF;
        gpr.fsbase = cpu.fs_base;
        gpr.gsbase = cpu.gs_base;
        gpr.exitinfo = self.exitinfo(cause);
        self.write_at_gpr(ssa, 0, gpr.as_bytes());
        self.write_exinfo(ssa, cause);
        if let Some(mut area) = self.xsave_area(ssa) {
            area.save(cpu.xsave);
        }
        let xfrm = self.attributes().xfrm;
        let vector = cause.map(|cause| cause.vector);
        synthesise(cpu.xsave, &self.processor.xsave, xfrm, vector);
        cpu.regs = Registers {
            rax: u64::from(enclu::ERESUME),
            rbx: tcs_address,
            rcx: tcs.aep,
            rsp: gpr.ursp,
            rbp: gpr.urbp,
            rip: tcs.aep,
            rflags: cpu.regs.rflags & !CLEARED,
            ..Registers::default()
        };
        tcs.cssa = tcs.cssa.saturating_add(1);
        self.end(cpu, tcs);
        cause.map(|cause| Exception {
            address: cause.address & !(PAGE_SIZE - 1),
            ..cause
        })
    }

    fn exitinfo(&self, cause: Option<Exception>) -> u32 {
        let Some(cause) = cause.filter(|cause| self.reported(cause)) else {
            return 0;
        };
        let kind = if cause.vector == vector::BP {
            EXITINFO_SOFTWARE
        } else {
            EXITINFO_HARDWARE
        };
        EXITINFO_VALID | kind | u32::from(cause.vector)
    }

    /// Whether the enclave is told of an exception: those that need EXINFO only with it, and page faults only if they are
    /// faults of user mode.
    fn reported(&self, cause: &Exception) -> bool {
        match cause.vector {
            vector::DE
            | vector::DB
            | vector::BP
            | vector::BR
            | vector::UD
            | vector::MF
            | vector::AC
            | vector::XM => true,
            vector::GP => self.has_exinfo(),
            vector::PF => self.has_exinfo() && cause.code & pfec::U != 0,
            _ => false,
        }
    }

    fn write_exinfo(&mut self, ssa: u64, cause: Option<Exception>) {
        let Some(cause) = cause.filter(|cause| {
            matches!(cause.vector, vector::GP | vector::PF) && self.reported(cause)
        }) else {
            return;
        };
        let exinfo = ExInfo {
            maddr: if cause.vector == vector::PF {
                cause.address
            } else {
                0
            },
            errcd: cause.code,
            reserved: 0,
        };
        let below = -(size_of::<ExInfo>() as i64);
        self.write_at_gpr(ssa, below, exinfo.as_bytes());
    }

    fn has_exinfo(&self) -> bool {
        self.secs.miscselect & MISCSELECT_EXINFO != 0
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{vector, GprSgx, SecInfo, SECINFO_TRIM, TCS_DBGOPTIN};
    use zerocopy::{FromBytes, IntoBytes};

    use crate::cpu::rflags;
    use crate::testing::{peek, peek_tcs, poke, Memory, Plan, Thread, AEP, DATA, SSA, TCS};
    use crate::{Enclave, Exception, Fault, Leaf, Registers};

    const GPRSGX: u64 = SSA + 4096 - 184;
    const EXINFO: u64 = GPRSGX - 16;

    fn gpr(enclave: &Enclave<Memory>) -> GprSgx {
        GprSgx::read_from_bytes(&peek::<184>(enclave, GPRSGX)).expect("184 bytes")
    }

    fn exception(vector: u8) -> Exception {
        Exception {
            vector,
            code: 0,
            address: 0,
        }
    }

    /// EXITINFO and EXINFO after an exit.
    fn reported(plan: &Plan, cause: Option<Exception>) -> (u32, [u8; 16]) {
        let mut enclave = plan.build();
        // What a frame held before is no answer.
        poke(&mut enclave, EXINFO, &[0xee; 16]);
        poke(&mut enclave, GPRSGX + 160, &[0xee; 4]);
        let mut thread = Thread::inside(&mut enclave);
        thread.aex(&mut enclave, cause);
        (gpr(&enclave).exitinfo, peek(&enclave, EXINFO))
    }

    #[test]
    fn the_registers_go_to_the_frame() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rflags = 0x202 | rflags::TF | rflags::DF | rflags::ZF;
        (thread.fs_base, thread.gs_base) = (0x1111, 0x2222);
        let inside = thread.clone();
        thread.aex(&mut enclave, None);
        let saved = gpr(&enclave);
        let mut expected = inside.regs;
        expected.rflags &= !rflags::TF;
        assert_eq!(Registers::from_ssa(&saved), expected);
        assert_eq!((saved.fsbase, saved.gsbase), (0x1111, 0x2222));
        let outside = Thread::new().regs;
        assert_eq!((saved.ursp, saved.urbp), (outside.rsp, outside.rbp));
    }

    #[test]
    fn outside_sees_synthetic_registers() {
        let mut enclave = Plan::new().build();
        let outside = Thread::new();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rsp = 0x55;
        thread.regs.rbp = 0x66;
        thread.aex(&mut enclave, None);
        let expected = Registers {
            rax: 3,
            rbx: TCS,
            rcx: AEP,
            rsp: outside.regs.rsp,
            rbp: outside.regs.rbp,
            rip: AEP,
            rflags: 0x202,
            ..Registers::default()
        };
        assert_eq!(thread.regs, expected);
        assert_eq!(
            (thread.fs_base, thread.gs_base),
            (outside.fs_base, outside.gs_base)
        );
        assert!(!thread.state.inside());
        let tcs = peek_tcs(&enclave);
        assert_eq!((tcs.state, tcs.cssa), (0, 1));
        assert_eq!(enclave.active(), 0);
    }

    #[test]
    fn status_flags_and_rf_are_cleared_and_no_others() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        let kept = 0x202 | rflags::DF | rflags::AC | rflags::NT | rflags::ID;
        // CF, PF, AF, ZF, SF, OF and RF.
        thread.regs.rflags = kept | 0x1_08d5;
        thread.aex(&mut enclave, None);
        assert_eq!(thread.regs.rflags, kept);
    }

    #[test]
    fn tf_is_the_one_from_before_the_entry_unless_debugging_is_opted_in() {
        for (flags, inside, expected) in [
            (0, 0, rflags::TF),
            (0, rflags::TF, rflags::TF),
            (TCS_DBGOPTIN, 0, 0),
            (TCS_DBGOPTIN, rflags::TF, rflags::TF),
        ] {
            let mut enclave = Plan::new().build();
            poke(&mut enclave, TCS + 8, flags.as_bytes());
            let mut thread = Thread::new();
            thread.regs.rflags |= rflags::TF;
            thread.leaf(&mut enclave, Leaf::Eenter).expect("EENTER");
            thread.regs.rflags = thread.regs.rflags & !rflags::TF | inside;
            thread.aex(&mut enclave, None);
            assert_eq!(thread.regs.rflags & rflags::TF, expected);
        }
    }

    #[test]
    fn an_interrupt_leaves_exitinfo_clear() {
        let (exitinfo, exinfo) = reported(&Plan::new(), None);
        assert_eq!((exitinfo, exinfo), (0, [0xee; 16]));
    }

    #[test]
    fn exceptions_that_are_always_reported() {
        let mut plan = Plan::new();
        plan.secs.miscselect = 0;
        for vector in [0, 1, 5, 6, 16, 17, 19] {
            let (exitinfo, exinfo) = reported(&plan, Some(exception(vector)));
            assert_eq!(exitinfo, 0x8000_0300 | u32::from(vector));
            assert_eq!(exinfo, [0xee; 16]);
        }
        let (exitinfo, _) = reported(&plan, Some(exception(vector::BP)));
        assert_eq!(exitinfo, 0x8000_0603);
    }

    #[test]
    fn exceptions_that_are_not_reported() {
        // #OF, #NM, #DF, #TS, #NP, #SS, #MC, #VE, #CP without CET.
        for vector in [4, 7, 8, 10, 11, 12, 18, 20, 21] {
            let (exitinfo, exinfo) = reported(&Plan::new(), Some(exception(vector)));
            assert_eq!((exitinfo, exinfo), (0, [0xee; 16]));
        }
    }

    #[test]
    fn a_page_fault_is_reported_with_exinfo_only() {
        let fault = Fault::Pf {
            address: DATA + 0x123,
            code: 0x8007,
        };
        let cause = Some(fault.exception());
        let (exitinfo, exinfo) = reported(&Plan::new(), cause);
        assert_eq!(exitinfo, 0x8000_030e);
        let expected: [u64; 2] = [DATA + 0x123, 0x8007];
        assert_eq!(exinfo, *expected.as_bytes());
        let mut plan = Plan::new();
        plan.secs.miscselect = 0;
        assert_eq!(reported(&plan, cause), (0, [0xee; 16]));
    }

    #[test]
    fn a_page_fault_that_is_not_of_user_mode_is_not_reported() {
        let cause = Exception {
            vector: vector::PF,
            code: 3,
            address: DATA,
        };
        assert_eq!(reported(&Plan::new(), Some(cause)), (0, [0xee; 16]));
    }

    #[test]
    fn a_general_protection_fault_is_reported_with_its_code_and_no_address() {
        let cause = Exception {
            vector: vector::GP,
            code: 0x18,
            address: 0x1234,
        };
        let (exitinfo, exinfo) = reported(&Plan::new(), Some(cause));
        assert_eq!(exitinfo, 0x8000_030d);
        assert_eq!(exinfo, *[0u64, 0x18].as_bytes());
        let mut plan = Plan::new();
        plan.secs.miscselect = 0;
        assert_eq!(reported(&plan, Some(cause)), (0, [0xee; 16]));
    }

    #[test]
    fn system_software_does_not_see_where_in_a_page_a_fault_was() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        let fault = Fault::Pf {
            address: DATA + 0xabc,
            code: 0x8007,
        };
        let seen = thread.aex(&mut enclave, Some(fault.exception()));
        let expected = Exception {
            vector: vector::PF,
            code: 0x8007,
            address: DATA,
        };
        assert_eq!(seen, Some(expected));
    }

    #[test]
    fn the_frame_found_at_entry_is_used_whatever_happened_to_its_page() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.r9 = 0x99;
        enclave
            .emodt(SSA, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        thread.aex(&mut enclave, None);
        assert_eq!(gpr(&enclave).r9, 0x99);
    }

    #[test]
    fn aexnotify_of_the_frame_stays() {
        let mut enclave = Plan::new().build();
        poke(&mut enclave, GPRSGX + 167, &[1]);
        let mut thread = Thread::inside(&mut enclave);
        thread.aex(&mut enclave, None);
        assert_eq!(gpr(&enclave).aexnotify, 1);
    }

    #[test]
    fn outside_the_enclave_nothing_happens() {
        let mut enclave = Plan::new().build();
        let before = (enclave.memory().clone(), Thread::new());
        let mut thread = before.1.clone();
        let cause = Some(exception(vector::UD));
        assert_eq!(thread.aex(&mut enclave, cause), cause);
        assert!((enclave.memory().clone(), thread) == before);
    }
}
