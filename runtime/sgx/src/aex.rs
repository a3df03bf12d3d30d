//! Asynchronous enclave exit (SDM volume 3D, chapter 37).

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
