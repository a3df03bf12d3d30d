//! A logical processor as a leaf function finds and leaves it.

use mystikos_abi::sgx::GprSgx;

/// RFLAGS bits.
pub mod rflags {
    #![allow(missing_docs)]
    pub const CF: u64 = 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const AC: u64 = 1 << 18;
    pub const ID: u64 = 1 << 21;
    /// What leaves with an error code clear, besides ZF.
    pub const STATUS: u64 = CF | PF | AF | OF | SF;
}

/// General registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Registers {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rflags: u64,
    pub rip: u64,
}

impl Registers {
    /// The general registers of an SSA frame.
    pub(crate) const fn from_ssa(gpr: &GprSgx) -> Self {
        Self {
            rax: gpr.rax,
            rcx: gpr.rcx,
            rdx: gpr.rdx,
            rbx: gpr.rbx,
            rsp: gpr.rsp,
            rbp: gpr.rbp,
            rsi: gpr.rsi,
            rdi: gpr.rdi,
            r8: gpr.r8,
            r9: gpr.r9,
            r10: gpr.r10,
            r11: gpr.r11,
            r12: gpr.r12,
            r13: gpr.r13,
            r14: gpr.r14,
            r15: gpr.r15,
            rflags: gpr.rflags,
            rip: gpr.rip,
        }
    }

    /// Puts the general registers into an SSA frame and leaves the rest of it.
    pub(crate) const fn to_ssa(self, gpr: &mut GprSgx) {
        *gpr = GprSgx {
            rax: self.rax,
            rcx: self.rcx,
            rdx: self.rdx,
            rbx: self.rbx,
            rsp: self.rsp,
            rbp: self.rbp,
            rsi: self.rsi,
            rdi: self.rdi,
            r8: self.r8,
            r9: self.r9,
            r10: self.r10,
            r11: self.r11,
            r12: self.r12,
            r13: self.r13,
            r14: self.r14,
            r15: self.r15,
            rflags: self.rflags,
            rip: self.rip,
            ..*gpr
        };
    }
}

/// The logical processor's hidden registers for SGX (SDM volume 3D, table 38-5: CR_). One for each host thread, kept
/// between calls; [`LogicalProcessor::OUTSIDE`] to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalProcessor {
    /// CR_ENCLAVE_MODE.
    pub(crate) enclave_mode: bool,
    /// CR_TCS_LA.
    pub(crate) tcs: u64,
    /// Where the current SSA frame begins, for CR_GPR_PA and CR_XSAVE_PAGE_n: found and checked at entry.
    pub(crate) ssa: u64,
    /// CR_DBGOPTIN.
    pub(crate) dbgoptin: bool,
    /// CR_SAVE_TF.
    pub(crate) save_tf: bool,
    /// CR_SAVE_FS, its base.
    pub(crate) save_fs: u64,
    /// CR_SAVE_GS, its base.
    pub(crate) save_gs: u64,
}

impl LogicalProcessor {
    /// Not in an enclave.
    pub const OUTSIDE: Self = Self {
        enclave_mode: false,
        tcs: 0,
        ssa: 0,
        dbgoptin: false,
        save_tf: false,
        save_fs: 0,
        save_gs: 0,
    };

    /// Whether it is executing in the enclave.
    pub const fn inside(&self) -> bool {
        self.enclave_mode
    }

    /// Linear address of the TCS on which it is in the enclave.
    pub const fn tcs(&self) -> Option<u64> {
        if self.enclave_mode {
            Some(self.tcs)
        } else {
            None
        }
    }
}

impl Default for LogicalProcessor {
    fn default() -> Self {
        Self::OUTSIDE
    }
}

/// The logical processor that executes a leaf function or leaves the enclave asynchronously.
#[derive(Debug)]
pub struct Cpu<'a> {
    /// General registers, RIP and RFLAGS.
    pub regs: Registers,
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// XSAVE image of the thread in the standard format, such as the fpstate of a Linux signal frame. Bytes 416 to 511
    /// are the caller's; components outside XFRM are left alone. A component that it has no room for counts as one
    /// that XCR0 does not enable.
    pub xsave: &'a mut [u8],
    /// Hidden registers.
    pub state: &'a mut LogicalProcessor,
}

/// Whether an address is canonical, with 48 bits.
pub(crate) const fn canonical(address: u64) -> bool {
    ((address as i64) << 16 >> 16) as u64 == address
}
