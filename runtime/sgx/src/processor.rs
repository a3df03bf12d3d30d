//! The processor that is played: what it supports (CPUID leaf 12H, XCR0), and its keys.

use mystikos_abi::sgx::{
    ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_DEBUG, ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_KSS,
    ATTRIBUTE_MODE64BIT, ATTRIBUTE_PROVISIONKEY, MISCSELECT_EXINFO,
};

use crate::xsave::XsaveLayout;

/// CPUSVN of the simulated processor; it stands in every report, for everyone to see.
pub const SIMULATED_CPUSVN: [u8; 16] = *b"MYST-SIMULATED\0\0";

/// The root of every key of the simulated processor. It is no secret: who has this file can make any key.
const SIMULATED_ROOT_KEY: [u8; 16] = *b"mystikos sim key";

/// A processor with SGX1, SGX2, KSS, EXINFO and AEX-Notify, without CET.
#[derive(Clone)]
pub struct Processor {
    /// CR_CPUSVN.
    pub cpusvn: [u8; 16],
    /// XCR0: the extended features that are enabled, the most that XFRM can have.
    pub xcr0: u64,
    /// Where extended features lie in an XSAVE area (CPUID leaf 0DH).
    pub xsave: XsaveLayout,
    /// MISCSELECT bits that ECREATE accepts (CPUID leaf 12H, subleaf 0, EBX).
    pub miscselect: u32,
    /// ATTRIBUTES.FLAGS that ECREATE accepts (CPUID leaf 12H, subleaf 1, EAX and EBX).
    pub attributes: u64,
    /// 2 to the power of this is the least size that is too large for a 64-bit enclave (CPUID leaf 12H, EDX 15:8).
    pub max_size_64: u8,
    /// The same for a 32-bit enclave (EDX 7:0).
    pub max_size_32: u8,
    /// IA32_SGXLEPUBKEYHASH, if it is fixed. `None`: system software writes the signer's hash into it before each EINIT,
    /// as the Linux driver does.
    pub lepubkeyhash: Option<[u8; 32]>,
    /// CR_REPORT_KEYID.
    pub report_keyid: [u8; 32],
    /// CR_SGXOWNEREPOCH.
    pub owner_epoch: [u8; 16],
    /// What keys are derived from, in place of CR_SEAL_FUSES and the processor's other secrets.
    pub(crate) root_key: [u8; 16],
}

impl Processor {
    /// The simulated processor. Everything about it is public and the same everywhere.
    pub const fn simulated(xcr0: u64) -> Self {
        Self {
            cpusvn: SIMULATED_CPUSVN,
            xcr0,
            xsave: XsaveLayout::INTEL,
            miscselect: MISCSELECT_EXINFO,
            attributes: ATTRIBUTE_DEBUG
                | ATTRIBUTE_MODE64BIT
                | ATTRIBUTE_PROVISIONKEY
                | ATTRIBUTE_EINITTOKENKEY
                | ATTRIBUTE_KSS
                | ATTRIBUTE_AEXNOTIFY,
            max_size_64: 56,
            max_size_32: 31,
            lepubkeyhash: None,
            report_keyid: *b"simulated report key id, public!",
            owner_epoch: [0; 16],
            root_key: SIMULATED_ROOT_KEY,
        }
    }
}

/// Whether XSETBV would accept this value (SDM volume 1, 13.3), as ECREATE demands of XFRM.
pub(crate) fn legal_xcr0(xcr0: u64) -> bool {
    const X87_SSE: u64 = 3;
    const AVX: u64 = 4;
    const MPX: u64 = 0x18;
    const AVX512: u64 = 0xe0;
    const AMX: u64 = 0x6_0000;
    let all_or_none = |part: u64| xcr0 & part == 0 || xcr0 & part == part;
    xcr0 & X87_SSE == X87_SSE
        && all_or_none(MPX)
        && all_or_none(AVX512)
        && all_or_none(AMX)
        && (xcr0 & AVX512 == 0 || xcr0 & AVX != 0)
}
