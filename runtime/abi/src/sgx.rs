//! The processor's own structures (SDM volume 3D, chapter 38), as far as more than one crate needs them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// SECINFO.FLAGS: readable.
pub const SECINFO_R: u64 = 1;
/// SECINFO.FLAGS: writable.
pub const SECINFO_W: u64 = 2;
/// SECINFO.FLAGS: executable.
pub const SECINFO_X: u64 = 4;
/// SECINFO.FLAGS: the page was added by EAUG and waits for EACCEPT or EACCEPTCOPY.
pub const SECINFO_PENDING: u64 = 8;
/// SECINFO.FLAGS: the page's type was changed by EMODT and waits for EACCEPT.
pub const SECINFO_MODIFIED: u64 = 0x10;
/// SECINFO.FLAGS: the page's permissions were restricted by EMODPR, which waits for EACCEPT.
pub const SECINFO_PR: u64 = 0x20;
/// SECINFO.FLAGS: the bits that hold the page type.
pub const SECINFO_PT: u64 = 0xff00;
/// SECINFO.FLAGS: page type TCS.
pub const SECINFO_TCS: u64 = 0x100;
/// SECINFO.FLAGS: page type REG.
pub const SECINFO_REG: u64 = 0x200;
/// SECINFO.FLAGS: page type TRIM.
pub const SECINFO_TRIM: u64 = 0x400;

/// ATTRIBUTES.FLAGS: EINIT has succeeded.
pub const ATTRIBUTE_INIT: u64 = 1;
/// ATTRIBUTES.FLAGS: the enclave may be debugged.
pub const ATTRIBUTE_DEBUG: u64 = 2;
/// ATTRIBUTES.FLAGS: the enclave runs in 64-bit mode.
pub const ATTRIBUTE_MODE64BIT: u64 = 4;
/// ATTRIBUTES.FLAGS: EGETKEY gives the provisioning keys.
pub const ATTRIBUTE_PROVISIONKEY: u64 = 0x10;
/// ATTRIBUTES.FLAGS: EGETKEY gives the EINIT token key.
pub const ATTRIBUTE_EINITTOKENKEY: u64 = 0x20;
/// ATTRIBUTES.FLAGS: key separation and sharing (CONFIGID, CONFIGSVN, ISVFAMILYID, ISVEXTPRODID).
pub const ATTRIBUTE_KSS: u64 = 0x80;
/// ATTRIBUTES.FLAGS: threads may ask to be notified of asynchronous exits.
pub const ATTRIBUTE_AEXNOTIFY: u64 = 0x400;

/// TCS.FLAGS: debugging of the thread is opted in.
pub const TCS_DBGOPTIN: u64 = 1;
/// TCS.FLAGS: the thread may ask to be notified of asynchronous exits.
pub const TCS_AEXNOTIFY: u64 = 2;

/// MISCSELECT: EXINFO is saved, so that #PF and #GP are reported inside.
pub const MISCSELECT_EXINFO: u32 = 1;

/// KEYREQUEST.KEYNAME.
pub mod keyname {
    #![allow(missing_docs)]
    pub const EINITTOKEN: u16 = 0;
    pub const PROVISION: u16 = 1;
    pub const PROVISION_SEAL: u16 = 2;
    pub const REPORT: u16 = 3;
    pub const SEAL: u16 = 4;
}

/// KEYREQUEST.KEYPOLICY.
pub mod keypolicy {
    #![allow(missing_docs)]
    pub const MRENCLAVE: u16 = 1;
    pub const MRSIGNER: u16 = 2;
    pub const NOISVPRODID: u16 = 4;
    pub const CONFIGID: u16 = 8;
    pub const ISVFAMILYID: u16 = 0x10;
    pub const ISVEXTPRODID: u16 = 0x20;
}

/// ENCLU leaf functions, as EAX selects them.
pub mod enclu {
    #![allow(missing_docs)]
    pub const EREPORT: u32 = 0;
    pub const EGETKEY: u32 = 1;
    pub const EENTER: u32 = 2;
    pub const ERESUME: u32 = 3;
    pub const EEXIT: u32 = 4;
    pub const EACCEPT: u32 = 5;
    pub const EMODPE: u32 = 6;
    pub const EACCEPTCOPY: u32 = 7;
    pub const EDECCSSA: u32 = 9;
}

/// Error codes that leaf functions leave in RAX (SDM volume 3D, table 38-4).
pub mod status {
    #![allow(missing_docs)]
    pub const INVALID_SIG_STRUCT: u32 = 1;
    pub const INVALID_ATTRIBUTE: u32 = 2;
    pub const INVALID_MEASUREMENT: u32 = 4;
    pub const INVALID_SIGNATURE: u32 = 8;
    pub const ENCLAVE_ACT: u32 = 14;
    pub const INVALID_EINITTOKEN: u32 = 16;
    pub const PAGE_ATTRIBUTES_MISMATCH: u32 = 19;
    pub const PAGE_NOT_MODIFIABLE: u32 = 20;
    pub const INVALID_CPUSVN: u32 = 32;
    pub const INVALID_ISVSVN: u32 = 64;
    pub const INVALID_KEYNAME: u32 = 256;
}

/// ATTRIBUTES.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Attributes {
    /// ATTRIBUTE_ bits.
    pub flags: u64,
    /// XCR0 while the enclave runs.
    pub xfrm: u64,
}

/// SECS, the enclave's control structure.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Secs {
    pub size: u64,
    pub baseaddr: u64,
    /// Pages.
    pub ssaframesize: u32,
    pub miscselect: u32,
    pub reserved1: [u8; 24],
    pub attributes: Attributes,
    pub mrenclave: [u8; 32],
    pub reserved2: [u8; 32],
    pub mrsigner: [u8; 32],
    pub reserved3: [u8; 32],
    pub configid: [u8; 64],
    pub isvprodid: u16,
    pub isvsvn: u16,
    pub configsvn: u16,
    pub reserved4: [u8; 3834],
}

/// TCS, a thread's control structure. It begins a page of which all the rest is reserved and zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Tcs {
    /// 1 while a logical processor is in the enclave on this thread.
    pub state: u64,
    pub flags: u64,
    pub ossa: u64,
    pub cssa: u32,
    pub nssa: u32,
    pub oentry: u64,
    pub aep: u64,
    pub ofsbase: u64,
    pub ogsbase: u64,
    pub fslimit: u32,
    pub gslimit: u32,
}

/// SECINFO, what is asked for a page.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct SecInfo {
    /// SECINFO_ bits.
    pub flags: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

impl SecInfo {
    /// A SECINFO of these flags.
    pub const fn new(flags: u64) -> Self {
        Self {
            flags,
            reserved: [0; 7],
        }
    }
}

/// TARGETINFO, for whom a report is made. Aligned to 512 in memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct TargetInfo {
    pub measurement: [u8; 32],
    pub attributes: Attributes,
    pub reserved1: [u8; 2],
    pub configsvn: u16,
    pub miscselect: u32,
    pub reserved2: [u8; 8],
    pub configid: [u8; 64],
    pub reserved3: [u8; 384],
}

/// REPORT. Aligned to 512 in memory; its first [`REPORT_MACED`] bytes are what MAC covers.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Report {
    pub cpusvn: [u8; 16],
    pub miscselect: u32,
    pub reserved1: [u8; 12],
    pub isvextprodid: [u8; 16],
    pub attributes: Attributes,
    pub mrenclave: [u8; 32],
    pub reserved2: [u8; 32],
    pub mrsigner: [u8; 32],
    pub reserved3: [u8; 32],
    pub configid: [u8; 64],
    pub isvprodid: u16,
    pub isvsvn: u16,
    pub configsvn: u16,
    pub reserved4: [u8; 42],
    pub isvfamilyid: [u8; 16],
    pub reportdata: [u8; 64],
    pub keyid: [u8; 32],
    pub mac: [u8; 16],
}

/// Bytes of a [`Report`] that its MAC covers.
pub const REPORT_MACED: usize = 384;

/// KEYREQUEST. Aligned to 512 in memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct KeyRequest {
    pub keyname: u16,
    pub keypolicy: u16,
    pub isvsvn: u16,
    pub reserved1: u16,
    pub cpusvn: [u8; 16],
    pub attributemask: Attributes,
    pub keyid: [u8; 32],
    pub miscmask: u32,
    pub configsvn: u16,
    pub reserved2: [u8; 434],
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
/// EXITINFO bits 10:8, exit type: hardware exception.
pub const EXITINFO_HARDWARE: u32 = 3 << 8;
/// EXITINFO bits 10:8, exit type: software exception (#BP).
pub const EXITINFO_SOFTWARE: u32 = 6 << 8;

/// GPRSGX.AEXNOTIFY: ERESUME enters at OENTRY instead of resuming.
pub const GPRSGX_AEXNOTIFY: u8 = 1;

/// Page fault error codes, as EXINFO.ERRCD reports them.
pub mod pfec {
    /// The page is present.
    pub const P: u32 = 1;
    /// A write.
    pub const W: u32 = 2;
    /// User mode.
    pub const U: u32 = 4;
    /// An instruction fetch.
    pub const I: u32 = 0x10;
    /// Caused by the EPCM.
    pub const SGX: u32 = 0x8000;
}

/// Exception vectors that reach the kernel.
pub mod vector {
    #![allow(missing_docs)]
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
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
    /// CET_ATTRIBUTES and their mask, a byte each.
    pub const CET_ATTRIBUTES: usize = 908;
    /// ISVFAMILYID.
    pub const ISVFAMILYID: usize = 912;
    /// ISVEXTPRODID.
    pub const ISVEXTPRODID: usize = 1008;
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
const _: () = assert!(core::mem::size_of::<Secs>() == 4096);
const _: () = assert!(core::mem::size_of::<Tcs>() == 72);
const _: () = assert!(core::mem::size_of::<SecInfo>() == 64);
const _: () = assert!(core::mem::size_of::<TargetInfo>() == 512);
const _: () = assert!(core::mem::size_of::<Report>() == 432);
const _: () = assert!(core::mem::size_of::<KeyRequest>() == 512);

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
