//! XSAVE areas: where the components lie, and moving them between a thread and an SSA frame.

use mystikos_abi::sgx::vector;

use crate::epcm::Epc;

/// Legacy region and header, which every area has.
pub(crate) const HEADER_END: usize = 576;
/// The legacy region up to what is available to software.
const LEGACY_USED: usize = 416;
const FCW: usize = 0;
const FSW: usize = 2;
const MXCSR: usize = 24;
const X87_REGISTERS: usize = 32;
const XMM: usize = 160;
const XSTATE_BV: usize = 512;

const X87: u64 = 1;
const SSE: u64 = 2;

/// FCW and MXCSR after INIT.
const FCW_INIT: u16 = 0x37f;
const MXCSR_INIT: u32 = 0x1f80;
/// MXCSR bits that are not reserved.
const MXCSR_DEFINED: u32 = 0xffff;

/// Offset and size of the components 2 to 18 of an XSAVE area in the standard format (CPUID leaf 0DH: EBX and EAX of
/// the component's subleaf). They differ between makers of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XsaveLayout {
    components: [(u16, u16); Self::COMPONENTS],
}

impl XsaveLayout {
    const COMPONENTS: usize = 19;

    /// As Intel's processors have it.
    pub const INTEL: Self = {
        let mut layout = Self {
            components: [(0, 0); Self::COMPONENTS],
        };
        layout.components[2] = (576, 256); // AVX
        layout.components[3] = (960, 64); // BNDREGS
        layout.components[4] = (1024, 64); // BNDCSR
        layout.components[5] = (1088, 64); // opmask
        layout.components[6] = (1152, 512); // ZMM_Hi256
        layout.components[7] = (1664, 1024); // Hi16_ZMM
        layout.components[9] = (2688, 8); // PKRU
        layout.components[17] = (2752, 64); // XTILECFG
        layout.components[18] = (2816, 8192); // XTILEDATA
        layout
    };

    /// The same with a component elsewhere, as CPUID says; a size of 0 for one that the processor does not have.
    pub const fn with_component(mut self, component: usize, offset: u16, size: u16) -> Self {
        if component >= 2 && component < Self::COMPONENTS {
            self.components[component] = (offset, size);
        }
        self
    }

    /// As this machine has the components that enclaves can have: `subleaf` executes CPUID leaf 0DH and gives EAX and EBX.
    pub fn of_machine(subleaf: impl Fn(u32) -> (u32, u32)) -> Self {
        [2, 5, 6, 7]
            .into_iter()
            .fold(Self::INTEL, |layout, component| {
                let (size, offset) = subleaf(component);
                layout.with_component(component as usize, offset as u16, size as u16)
            })
    }

    /// Bytes of an area for these components, `None` if one of them is not known.
    pub(crate) fn size(&self, features: u64) -> Option<usize> {
        let mut size = HEADER_END;
        for component in extended(features) {
            let (offset, length) = self.place(component)?;
            size = size.max(offset + length);
        }
        Some(size)
    }

    fn place(&self, component: u32) -> Option<(usize, usize)> {
        match self.components.get(component as usize) {
            Some((offset, size)) if *size != 0 => Some((*offset as usize, *size as usize)),
            _ => None,
        }
    }
}

/// The components above SSE.
fn extended(features: u64) -> impl Iterator<Item = u32> {
    (2..64).filter(move |bit| features & 1 << bit != 0)
}

/// An SSA frame's XSAVE area, in the EPC at `offset`.
pub(crate) struct Frame<'m, M: Epc> {
    pub memory: &'m mut M,
    pub offset: u64,
    pub layout: &'m XsaveLayout,
    pub xfrm: u64,
}

impl<M: Epc> Frame<'_, M> {
    /// As XSAVE with XFRM as instruction mask: the state of the thread goes into the frame.
    pub fn save(&mut self, image: &[u8]) {
        let in_use = word(image, XSTATE_BV) & self.xfrm;
        let mut legacy = [0; LEGACY_USED];
        copy(&mut legacy, 0, image, 0, LEGACY_USED);
        if in_use & X87 == 0 {
            initialise_x87(&mut legacy);
        }
        if in_use & SSE == 0 {
            fill_zero(&mut legacy, XMM, LEGACY_USED - XMM);
        }
        self.memory.write(self.offset, &legacy);
        // XSTATE_BV, with XCOMP_BV and the eight bytes after it clear.
        let mut header = [0; 24];
        header[..8].copy_from_slice(&in_use.to_le_bytes());
        self.memory.write(self.offset + XSTATE_BV as u64, &header);
        for component in extended(self.xfrm) {
            let Some((offset, length)) = self.layout.place(component) else {
                continue;
            };
            let saved = image.get(offset..offset + length);
            match saved.filter(|_| in_use & 1 << component != 0) {
                Some(saved) => self.memory.write(self.offset + offset as u64, saved),
                None => self.zero(offset, length),
            }
        }
    }

    fn zero(&mut self, offset: usize, length: usize) {
        let zeros = [0; 64];
        for at in (0..length).step_by(zeros.len()) {
            let now = zeros.len().min(length - at);
            self.memory
                .write(self.offset + (offset + at) as u64, &zeros[..now]);
        }
    }

    /// Whether XRSTOR with XFRM as instruction mask would not fault (SDM volume 1, 13.8).
    pub fn restorable(&self) -> bool {
        let mut header = [0; 24];
        self.memory
            .read(self.offset + XSTATE_BV as u64, &mut header);
        let mut mxcsr = [0; 4];
        self.memory.read(self.offset + MXCSR as u64, &mut mxcsr);
        word(&header, 0) & !self.xfrm == 0
            && header[8..].iter().all(|&byte| byte == 0)
            && u32::from_le_bytes(mxcsr) & !MXCSR_DEFINED == 0
    }

    /// As XRSTOR: the state in the frame becomes the thread's.
    pub fn restore(&self, image: &mut [u8]) {
        let mut header = [0; 8];
        self.memory
            .read(self.offset + XSTATE_BV as u64, &mut header);
        let in_use = u64::from_le_bytes(header) & self.xfrm;
        let mut legacy = [0; LEGACY_USED];
        self.memory.read(self.offset, &mut legacy);
        if in_use & X87 == 0 {
            initialise_x87(&mut legacy);
        }
        if in_use & SSE == 0 {
            fill_zero(&mut legacy, XMM, LEGACY_USED - XMM);
        }
        // MXCSR is restored whatever XSTATE_BV says, MXCSR_MASK never.
        copy(image, 0, &legacy, 0, MXCSR + 4);
        copy(
            image,
            X87_REGISTERS,
            &legacy,
            X87_REGISTERS,
            LEGACY_USED - X87_REGISTERS,
        );
        for component in extended(self.xfrm) {
            let Some((offset, length)) = self.layout.place(component) else {
                continue;
            };
            let Some(to) = image.get_mut(offset..offset + length) else {
                continue;
            };
            if in_use & 1 << component != 0 {
                self.memory.read(self.offset + offset as u64, to);
            } else {
                to.fill(0);
            }
        }
        let others = word(image, XSTATE_BV) & !self.xfrm;
        // MXCSR belongs to SSE and AVX, and an image whose user loads neither would lose it.
        let mxcsr = if legacy[MXCSR..MXCSR + 4] != MXCSR_INIT.to_le_bytes() {
            SSE
        } else {
            0
        };
        put(image, XSTATE_BV, others | in_use | mxcsr);
    }
}

/// The synthetic state that AEX leaves of the components in XFRM (SDM volume 3D, 37.3): as after INIT, but for MXCSR, and
/// for FCW and FSW after an x87 error.
pub(crate) fn synthesise(image: &mut [u8], layout: &XsaveLayout, xfrm: u64, cause: Option<u8>) {
    let floating_point_error = cause == Some(vector::MF);
    let mut legacy = [0; LEGACY_USED];
    initialise_x87(&mut legacy);
    if floating_point_error {
        legacy[FCW..FCW + 2].copy_from_slice(&0x37eu16.to_le_bytes());
        legacy[FSW..FSW + 2].copy_from_slice(&0x8081u16.to_le_bytes());
    }
    let mxcsr: u32 = if cause == Some(vector::XM) {
        0x1f01
    } else {
        0x1fb0
    };
    legacy[MXCSR..MXCSR + 4].copy_from_slice(&mxcsr.to_le_bytes());
    copy(image, 0, &legacy, 0, MXCSR + 4);
    copy(
        image,
        X87_REGISTERS,
        &legacy,
        X87_REGISTERS,
        LEGACY_USED - X87_REGISTERS,
    );
    for component in extended(xfrm) {
        if let Some((offset, length)) = layout.place(component) {
            fill_zero(image, offset, length);
        }
    }
    // MXCSR is not as after INIT, so SSE is in use; x87 is only after #MF.
    let in_use = if floating_point_error { X87 | SSE } else { SSE };
    let others = word(image, XSTATE_BV) & !xfrm;
    put(image, XSTATE_BV, others | in_use);
}

/// The components of `features` that an image has room for.
pub(crate) fn enabled(image: &[u8], layout: &XsaveLayout, features: u64) -> u64 {
    if image.len() < HEADER_END {
        return 0;
    }
    let fits = |component: &u32| {
        layout
            .place(*component)
            .is_some_and(|(offset, length)| offset + length <= image.len())
    };
    extended(features)
        .filter(fits)
        .fold(features & (X87 | SSE), |all, component| {
            all | 1 << component
        })
}

fn initialise_x87(legacy: &mut [u8; LEGACY_USED]) {
    fill_zero(legacy, 0, MXCSR);
    fill_zero(legacy, X87_REGISTERS, XMM - X87_REGISTERS);
    legacy[FCW..FCW + 2].copy_from_slice(&FCW_INIT.to_le_bytes());
}

/// Copies between areas as far as both have the bytes.
fn copy(to: &mut [u8], to_offset: usize, from: &[u8], from_offset: usize, length: usize) {
    if let (Some(to), Some(from)) = (
        to.get_mut(to_offset..to_offset + length),
        from.get(from_offset..from_offset + length),
    ) {
        to.copy_from_slice(from);
    }
}

fn fill_zero(area: &mut [u8], offset: usize, length: usize) {
    if let Some(part) = area.get_mut(offset..offset + length) {
        part.fill(0);
    }
}

fn word(area: &[u8], offset: usize) -> u64 {
    area.get(offset..offset + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn put(area: &mut [u8], offset: usize, value: u64) {
    if let Some(to) = area.get_mut(offset..offset + 8) {
        to.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::vector;

    use super::XsaveLayout;
    use crate::testing::{peek, poke, Memory, Plan, Thread, SSA};
    use crate::{Enclave, Exception, Leaf};

    const XSTATE_BV: usize = 512;
    const AVX: usize = 576;

    fn exit(thread: &mut Thread, enclave: &mut Enclave<Memory>, vector: Option<u8>) {
        let cause = vector.map(|vector| Exception {
            vector,
            code: 0,
            address: 0,
        });
        thread.aex(enclave, cause);
    }

    fn area(enclave: &Enclave<Memory>) -> [u8; 832] {
        peek(enclave, SSA)
    }

    #[test]
    fn an_exit_saves_the_components_in_xfrm() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        let inside = thread.xsave.clone();
        exit(&mut thread, &mut enclave, None);
        let saved = area(&enclave);
        assert_eq!(saved[..416], inside[..416]);
        assert_eq!(saved[AVX..], inside[AVX..]);
        assert_eq!(
            saved[XSTATE_BV..XSTATE_BV + 24],
            [&[7][..], &[0; 23]].concat()
        );
    }

    #[test]
    fn an_exit_writes_neither_what_software_may_use_nor_the_rest_of_the_header() {
        let mut enclave = Plan::new().build();
        poke(&mut enclave, SSA + 416, &[0x5a; 96]);
        poke(&mut enclave, SSA + 536, &[0x5a; 40]);
        let mut thread = Thread::inside(&mut enclave);
        exit(&mut thread, &mut enclave, None);
        let saved = area(&enclave);
        assert_eq!(saved[416..512], [0x5a; 96]);
        assert_eq!(saved[536..576], [0x5a; 40]);
    }

    #[test]
    fn components_that_are_not_in_use_are_saved_as_initial() {
        let mut enclave = Plan::new().build();
        poke(&mut enclave, SSA, &[0x5a; 1024]);
        let mut thread = Thread::inside(&mut enclave);
        thread.xsave[XSTATE_BV] = 0;
        let mxcsr = thread.xsave[24..28].to_vec();
        exit(&mut thread, &mut enclave, None);
        let saved = area(&enclave);
        assert_eq!(saved[..24], [&[0x7f, 3][..], &[0; 22]].concat());
        // MXCSR is saved in any case, and its mask.
        assert_eq!(saved[24..28], mxcsr);
        assert_eq!(saved[32..416], [0; 384]);
        assert_eq!(saved[AVX..], [0; 256]);
        assert_eq!(saved[XSTATE_BV], 0);
        assert_eq!(peek(&enclave, SSA + 832), [0x5a; 192]);
    }

    #[test]
    fn components_outside_xfrm_are_neither_saved_nor_touched() {
        let mut plan = Plan::new();
        plan.secs.attributes.xfrm = 3;
        let mut enclave = plan.build();
        poke(&mut enclave, SSA + 576, &[0x5a; 256]);
        let mut thread = Thread::inside(&mut enclave);
        let inside = thread.xsave.clone();
        exit(&mut thread, &mut enclave, None);
        let saved = area(&enclave);
        assert_eq!((&saved[AVX..], saved[XSTATE_BV]), (&[0x5a; 256][..], 3));
        assert_eq!(thread.xsave[AVX..], inside[AVX..]);
        assert_eq!(thread.xsave[XSTATE_BV] & 4, 4);
        thread.xsave[AVX..].fill(0x33);
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.xsave[AVX..], [0x33; 256]);
        assert_eq!(thread.xsave[..416], inside[..416]);
        assert_eq!(thread.xsave[XSTATE_BV], 7);
    }

    #[test]
    fn outside_sees_synthetic_state() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        let inside = thread.xsave.clone();
        exit(&mut thread, &mut enclave, None);
        let seen = &thread.xsave;
        assert_eq!(seen[..24], [&[0x7f, 3][..], &[0; 22]].concat());
        assert_eq!(seen[24..28], 0x1fb0u32.to_le_bytes());
        assert_eq!(seen[32..416], [0; 384]);
        assert_eq!(seen[AVX..], [0; 256]);
        // x87 and AVX are as after INIT; SSE is not, for MXCSR.
        assert_eq!(seen[XSTATE_BV], 2);
        // MXCSR_MASK and what belongs to the caller.
        assert_eq!(seen[28..32], inside[28..32]);
        assert_eq!(seen[416..512], inside[416..512]);
        assert_eq!(seen[520..576], inside[520..576]);
    }

    #[test]
    fn after_an_x87_error_outside_sees_one() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        exit(&mut thread, &mut enclave, Some(vector::MF));
        assert_eq!(thread.xsave[..4], [0x7e, 3, 0x81, 0x80]);
        assert_eq!(thread.xsave[24..28], 0x1fb0u32.to_le_bytes());
        assert_eq!(thread.xsave[XSTATE_BV], 3);
    }

    #[test]
    fn after_a_simd_error_outside_sees_one() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        exit(&mut thread, &mut enclave, Some(vector::XM));
        assert_eq!(thread.xsave[..4], [0x7f, 3, 0, 0]);
        assert_eq!(thread.xsave[24..28], 0x1f01u32.to_le_bytes());
    }

    #[test]
    fn a_resumption_restores_components_in_use_and_initialises_the_others() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        exit(&mut thread, &mut enclave, None);
        poke(&mut enclave, SSA + XSTATE_BV as u64, &[4]);
        poke(&mut enclave, SSA + 24, &0x1fa0u32.to_le_bytes());
        let saved = area(&enclave);
        thread.enclu(&mut enclave).expect("ERESUME");
        let restored = &thread.xsave;
        assert_eq!(restored[..24], [&[0x7f, 3][..], &[0; 22]].concat());
        assert_eq!(restored[24..28], 0x1fa0u32.to_le_bytes());
        assert_eq!(restored[32..416], [0; 384]);
        assert_eq!(restored[AVX..], saved[AVX..]);
        // SSE is marked in use, so that whoever loads the image loads MXCSR.
        assert_eq!(restored[XSTATE_BV], 6);
    }

    #[test]
    fn a_resumption_without_components_in_use_leaves_none() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.xsave[XSTATE_BV] = 0;
        exit(&mut thread, &mut enclave, None);
        thread.xsave[XSTATE_BV] = 7;
        thread.enclu(&mut enclave).expect("ERESUME");
        assert_eq!(thread.xsave[24..28], 0x1f80u32.to_le_bytes());
        assert_eq!(thread.xsave[XSTATE_BV], 0);
    }

    #[test]
    fn a_layout_holds_what_cpuid_says() {
        let layout = XsaveLayout::INTEL;
        assert_eq!(layout.size(3), Some(576));
        assert_eq!(layout.size(7), Some(832));
        assert_eq!(layout.size(0xe7), Some(2688));
        assert_eq!(layout.size(0x2e7), Some(2696));
        assert_eq!(layout.size(1 << 8), None);
        assert_eq!(layout.size(1 << 63), None);
        let amd = layout.with_component(5, 832, 64).with_component(9, 2432, 8);
        assert_eq!(amd.size(0x27), Some(896));
        assert_eq!(amd.size(0x207), Some(2440));
        assert_eq!(layout.with_component(0, 1, 1), layout);
        assert_eq!(layout.with_component(19, 1, 1), layout);
    }

    #[test]
    fn an_image_that_shrank_inside_harms_nothing() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.xsave.clear();
        exit(&mut thread, &mut enclave, Some(vector::MF));
        assert_eq!(
            thread.leaf(&mut enclave, Leaf::Eresume),
            Err(crate::Fault::Gp)
        );
    }
}
