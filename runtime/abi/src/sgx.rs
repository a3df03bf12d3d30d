//! The processor's own structures (SDM volume 3D, chapter 38), as far as more than one crate needs them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// SECINFO.FLAGS: readable.
pub const SECINFO_R: u64 = 1;
/// SECINFO.FLAGS: writable.
pub const SECINFO_W: u64 = 2;
/// SECINFO.FLAGS: executable.
pub const SECINFO_X: u64 = 4;
/// SECINFO.FLAGS: page type TCS.
pub const SECINFO_TCS: u64 = 0x100;
/// SECINFO.FLAGS: page type REG.
pub const SECINFO_REG: u64 = 0x200;

/// ATTRIBUTES.FLAGS: the enclave runs in 64-bit mode.
pub const ATTRIBUTE_MODE64BIT: u64 = 4;
/// ATTRIBUTES.FLAGS: the enclave may be debugged.
pub const ATTRIBUTE_DEBUG: u64 = 2;

/// Leaves of ENCLU that a user of an enclave needs (EAX).
pub mod leaf {
    #![allow(missing_docs)]
    pub const EENTER: u32 = 2;
    pub const ERESUME: u32 = 3;
    pub const EEXIT: u32 = 4;
}

/// General registers in an SSA frame; stands at the end of the frame.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct GprSgx {
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
    pub ursp: u64,
    pub urbp: u64,
    pub exitinfo: u32,
    pub reserved: [u8; 3],
    pub aexnotify: u8,
    pub fsbase: u64,
    pub gsbase: u64,
}

/// EXINFO in an SSA frame (MISCSELECT bit 0); stands right before [`GprSgx`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ExInfo {
    /// Linear address of a page fault.
    pub maddr: u64,
    /// Error code.
    pub errcd: u32,
    /// Zero.
    pub reserved: u32,
}

/// EXITINFO bit 31: the frame was left by an exception that the processor reports.
pub const EXITINFO_VALID: u32 = 1 << 31;

/// Exception vectors that reach the kernel.
pub mod vector {
    #![allow(missing_docs)]
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const BP: u8 = 3;
    pub const UD: u8 = 6;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const XM: u8 = 19;
}

/// A SIGSTRUCT: bytes, with the offsets of the fields that the launcher looks at.
pub mod sigstruct {
    /// Bytes.
    pub const SIZE: usize = 1808;
    /// Modulus, 384 bytes, little-endian.
    pub const MODULUS: usize = 128;
    /// Exponent, u32.
    pub const EXPONENT: usize = 512;
    /// Signature, 384 bytes, little-endian.
    pub const SIGNATURE: usize = 516;
    /// MISCSELECT and its mask, u32 each.
    pub const MISCSELECT: usize = 900;
    /// ATTRIBUTES (FLAGS, XFRM), then their masks.
    pub const ATTRIBUTES: usize = 928;
    /// MRENCLAVE.
    pub const ENCLAVEHASH: usize = 960;
    /// ISVPRODID u16, ISVSVN u16.
    pub const ISVPRODID: usize = 1024;
    /// Q1.
    pub const Q1: usize = 1040;
    /// Q2.
    pub const Q2: usize = 1424;
}

const _: () = assert!(core::mem::size_of::<GprSgx>() == 184);
const _: () = assert!(core::mem::size_of::<ExInfo>() == 16);

/// What a package asks for at ECREATE, and how strictly its signature binds it.
pub mod asked {
    /// ATTRIBUTEMASK.FLAGS: every flag is bound.
    pub const ATTRIBUTES_MASK: u64 = u64::MAX;
    /// XFRM: x87 and SSE.
    pub const XFRM: u64 = 3;
    /// ATTRIBUTEMASK.XFRM: AVX and AVX-512 state are free, anything else must be absent.
    pub const XFRM_MASK: u64 = !0xe4;
    /// MISCSELECT: EXINFO, so that page faults are reported inside.
    pub const MISCSELECT: u32 = 1;
    /// MISCMASK: every bit is bound.
    pub const MISCMASK: u32 = u32::MAX;
}
