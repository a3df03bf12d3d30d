//! Extended state (x87, SSE, AVX, AVX-512) in signal frames: the XSAVE area in its standard format.

use alloc::vec::Vec;
use core::arch::asm;
use core::ops::Range;

use crate::{control, Errno};

/// Bytes of an area: the components of [`FEATURES`] in standard format end below this (SDM volume 1, 13.4).
pub const AREA_SIZE: usize = 2816;

/// x87, SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM: all that XFRM can have (the signature's mask forbids the rest).
pub(crate) const FEATURES: u64 = 0xe7;

/// An XSAVE area.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Area(pub [u8; AREA_SIZE]);

impl Default for Area {
    fn default() -> Self {
        Area([0; AREA_SIZE])
    }
}

/// XCR0 as far as this module deals with it.
pub fn features() -> u64 {
    xcr0() & FEATURES
}

/// XCR0: XFRM in an enclave; what the host has enabled elsewhere.
pub fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: XGETBV of XCR0 is legal wherever OSXSAVE is set, which 64-bit Linux with AVX and every enclave has.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    (high as u64) << 32 | low as u64
}

/// Components that [`component`] can measure: AVX, AVX-512, PKRU, AMX, APX.
pub const MEASURABLE: u64 = 1 << 2 | 7 << 5 | 1 << 9 | 3 << 17 | 1 << 19;

/// Their area is no larger.
const PROBE_SIZE: usize = 16 << 10;

/// Where XSAVE puts one of the [`MEASURABLE`] components that XCR0 has, in the standard format.
///
/// CPUID tells it, but is the host's to answer in an enclave; so XSAVE itself is asked. What it writes is the same
/// whatever stood there before, and what it leaves alone is not.
pub fn component(number: u32) -> Result<Range<usize>, Errno> {
    assert!(number < 64 && (MEASURABLE & xcr0()) >> number & 1 == 1);
    let mut memory = [filled(0)?, filled(0xff)?];
    let [zeros, ones] = memory.each_mut().map(|bytes| aligned(bytes));
    let mask = 1u64 << number;
    // SAFETY: the areas are 64-byte aligned and larger than any with the measurable components, of which this is one.
    // Nothing comes between the two, so that they save the same state.
    unsafe {
        asm!(
            "xsave64 [{}]", "xsave64 [{}]", in(reg) zeros.as_mut_ptr(), in(reg) ones.as_mut_ptr(),
            in("eax") mask as u32, in("edx") (mask >> 32) as u32, options(nostack)
        );
    }
    let mut written = (HEADER + 64..PROBE_SIZE).filter(|&at| zeros[at] == ones[at]);
    match (written.next(), written.next_back()) {
        (Some(start), Some(last)) => Ok(start..last + 1),
        _ => Err(Errno::EIO),
    }
}

fn filled(fill: u8) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(PROBE_SIZE + 63)
        .map_err(|_| Errno::ENOMEM)?;
    bytes.resize(PROBE_SIZE + 63, fill);
    Ok(bytes)
}

fn aligned(bytes: &mut [u8]) -> &mut [u8] {
    let start = bytes.as_ptr().align_offset(64);
    &mut bytes[start..start + PROBE_SIZE]
}

const XMM: usize = 160;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const HEADER: usize = 512;

/// The application's extended state: the live registers, and the XMM registers saved in the control page.
pub fn save(area: &mut Area) {
    let mask = features();
    area.0[HEADER..HEADER + 64].fill(0);
    // SAFETY: the area is 64-byte aligned and large enough for every component of the mask.
    unsafe {
        asm!("xsave64 [{}]", in(reg) area.0.as_mut_ptr(), in("eax") mask as u32, in("edx") 0, options(nostack));
    }
    for (i, xmm) in control::regs().xmm.iter().enumerate() {
        let at = XMM + 16 * i;
        area.0[at..at + 8].copy_from_slice(&xmm[0].to_ne_bytes());
        area.0[at + 8..at + 16].copy_from_slice(&xmm[1].to_ne_bytes());
    }
    // SSE state is now in use whatever XINUSE said.
    area.0[HEADER] |= 2;
}

/// Makes the area's content the application's extended state. Whatever it contains, nothing faults: the header is
/// reduced to the features there are, and reserved bits of MXCSR are cleared (SDM volume 1, 13.8).
pub fn restore(area: &mut Area) {
    let mask = features();
    let word = |bytes: &[u8], at: usize| {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    let present = area.0[HEADER] as u64 & mask;
    area.0[HEADER..HEADER + 64].fill(0);
    area.0[HEADER] = present as u8;
    let allowed = match mxcsr_mask() {
        0 => 0xffbf,
        mask => mask,
    };
    let mxcsr = word(&area.0, MXCSR) & allowed;
    area.0[MXCSR..MXCSR + 4].copy_from_slice(&mxcsr.to_ne_bytes());
    if present & 2 == 0 {
        area.0[XMM..XMM + 256].fill(0);
    }
    control::with_regs(|regs| {
        for (i, xmm) in regs.xmm.iter_mut().enumerate() {
            let at = XMM + 16 * i;
            xmm[0] = u64::from_ne_bytes(area.0[at..at + 8].try_into().expect("eight bytes"));
            xmm[1] = u64::from_ne_bytes(area.0[at + 8..at + 16].try_into().expect("eight bytes"));
        }
    });
    // SAFETY: the area is aligned, its header was rebuilt and MXCSR has no reserved bits. Kernel code keeps nothing in
    // extended registers across this call: XMM registers are declared clobbered.
    unsafe {
        asm!(
            "xrstor64 [{}]", in(reg) area.0.as_ptr(), in("eax") mask as u32, in("edx") 0,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _, options(nostack)
        );
    }
}

/// MXCSR_MASK of this processor, as FXSAVE writes it.
fn mxcsr_mask() -> u32 {
    #[repr(C, align(64))]
    struct Legacy([u8; 512]);
    let mut legacy = Legacy([0; 512]);
    // SAFETY: FXSAVE writes 512 bytes to an aligned area.
    unsafe { asm!("fxsave64 [{}]", in(reg) legacy.0.as_mut_ptr(), options(nostack)) };
    u32::from_ne_bytes(
        legacy.0[MXCSR_MASK..MXCSR_MASK + 4]
            .try_into()
            .expect("four bytes"),
    )
}

/// The state of a fresh program: x87 and MXCSR at their defaults, everything else zero.
pub fn reset() {
    let mut area = Area::default();
    area.0[MXCSR..MXCSR + 4].copy_from_slice(&0x1f80u32.to_ne_bytes());
    restore(&mut area);
}

#[cfg(test)]
mod tests {
    use core::arch::x86_64::__cpuid_count;

    use super::*;

    #[test]
    fn components_are_where_this_processor_says() {
        let present = (2..64).filter(|&number| (xcr0() & MEASURABLE) >> number & 1 == 1);
        for number in present {
            let told = __cpuid_count(0xd, number);
            let (offset, size) = (told.ebx as usize, told.eax as usize);
            assert_eq!(component(number), Ok(offset..offset + size), "{number}");
        }
    }
}
