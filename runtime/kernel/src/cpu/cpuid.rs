//! What CPUID answers to programs in an enclave, where the instruction is illegal (SDM volume 2A, CPUID).
//!
//! The host executes it, and may answer what it likes. Programs believe the answers: ld.so sizes by leaf D the area in
//! which it saves registers, and libraries choose their code by the feature bits. So
//!
//! * what can be known inside is not asked for: extended state and its sizes ([`fpu`]), topology, that there is an enclave;
//! * what only makes programs slower, or end by SIGILL, is the host's word: which instructions there are, caches, names;
//!   bounded so that no program can be led into a loop without end or a size without bound;
//! * everything else is zero.
//!
//! All answers are made at once and stay as they are.

use alloc::vec::Vec;

use mystikos_platform::fpu;

use super::caches;
use super::features::{State, HTT, SHOWN, TOPOEXT};
use crate::Result;

/// EAX, EBX, ECX, EDX.
pub type Registers = [u32; 4];

const NONE: Registers = [0; 4];

/// Leaves 0 and 80000000 tell the highest leaf.
const BASIC: u32 = 0;
const EXTENDED: u32 = 0x8000_0000;
/// Leaf D must be there, and nothing behind 1F is shown.
const BASIC_RANGE: (u32, u32) = (0xd, 0x1f);
/// Leaf 80000008 must be there, and nothing behind 8000001E is shown.
const EXTENDED_RANGE: (u32, u32) = (0x8000_0008, 0x8000_001e);

/// Leaves that look at ECX.
const WITH_SUBLEAVES: [u32; 7] = [4, 7, 0xb, 0xd, 0x12, 0x1f, 0x8000_001d];

const INTEL: &[u8; 12] = b"GenuineIntel";
const AMD: &[u8; 12] = b"AuthenticAMD";
const HYGON: &[u8; 12] = b"HygonGenuine";

/// A component of the extended state: number in XCR0, offset in the standard format of XSAVE, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Bit of XCR0.
    pub number: u32,
    /// Offset.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// What is known without asking the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// XCR0 as XGETBV gives it.
    pub xcr0: u64,
    /// Its components after x87 and SSE, in ascending order.
    pub components: Vec<Component>,
    /// CPUs that programs see.
    pub cpus: u32,
}

impl Inside {
    /// As this thread finds it.
    pub fn learn(cpus: u32) -> Result<Inside> {
        let xcr0 = fpu::xcr0() & (fpu::MEASURABLE | 3);
        let mut components = Vec::new();
        for number in (2..64).filter(|number| xcr0 >> number & 1 == 1) {
            let place = fpu::component(number)?;
            components.push(Component {
                number,
                offset: place.start as u32,
                size: place.len() as u32,
            });
        }
        Ok(Inside {
            xcr0,
            components,
            cpus,
        })
    }
}

/// Answers by leaf and subleaf.
type Answered = Vec<((u32, u32), Registers)>;

fn find(answers: &Answered, leaf: u32, subleaf: u32) -> Option<Registers> {
    let found = answers.iter().find(|(key, _)| *key == (leaf, subleaf));
    found.map(|(_, answer)| *answer)
}

/// Every answer that is not all zeros, in ascending order of leaf and subleaf.
pub struct Answers(Answered);

impl Answers {
    /// The answer to a leaf (EAX) and subleaf (ECX).
    pub fn get(&self, leaf: u32, subleaf: u32) -> Registers {
        let subleaf_of_leaf = match WITH_SUBLEAVES.contains(&leaf) {
            true => subleaf,
            false => 0,
        };
        let key = (leaf, subleaf_of_leaf);
        match self.0.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.0[at].1,
            // Levels that there are none of tell their number.
            Err(_) if matches!(leaf, 0xb | 0x1f) && self.has(leaf) => [0, 0, subleaf & 0xff, 0],
            Err(_) => NONE,
        }
    }

    fn has(&self, leaf: u32) -> bool {
        self.0.iter().any(|((known, _), _)| *known == leaf)
    }

    /// Makes the answers; `host` is what CPUID says outside, by leaf and subleaf.
    pub fn make(host: &mut dyn FnMut(u32, u32) -> Registers, inside: &Inside) -> Answers {
        let mut maker = Maker::new(host, inside);
        maker.basic();
        maker.features();
        maker.topology();
        maker.caches();
        maker.extended_state();
        maker.enclave();
        maker.extended();
        maker.finish()
    }
}

struct Maker<'a> {
    host: &'a mut dyn FnMut(u32, u32) -> Registers,
    /// What it said: asked once, so that what belongs together comes from one answer.
    said: Answered,
    inside: &'a Inside,
    vendor: [u8; 12],
    /// Highest basic and extended leaf.
    highest: (u32, u32),
    answers: Answered,
}

impl<'a> Maker<'a> {
    fn new(host: &'a mut dyn FnMut(u32, u32) -> Registers, inside: &'a Inside) -> Self {
        let [basic, b, c, d] = host(BASIC, 0);
        let [extended, ..] = host(EXTENDED, 0);
        let mut vendor = [0; 12];
        for (to, register) in vendor.chunks_exact_mut(4).zip([b, d, c]) {
            to.copy_from_slice(&register.to_le_bytes());
        }
        if !vendor.iter().copied().all(is_printable) {
            vendor = *INTEL;
        }
        Maker {
            host,
            said: Vec::new(),
            inside,
            vendor,
            highest: (
                basic.clamp(BASIC_RANGE.0, BASIC_RANGE.1),
                extended.clamp(EXTENDED_RANGE.0, EXTENDED_RANGE.1),
            ),
            answers: Vec::new(),
        }
    }

    /// What the host says of a leaf.
    fn ask(&mut self, leaf: u32, subleaf: u32) -> Registers {
        find(&self.said, leaf, subleaf).unwrap_or_else(|| {
            let said = (self.host)(leaf, subleaf);
            self.said.push(((leaf, subleaf), said));
            said
        })
    }

    fn is_amd(&self) -> bool {
        self.vendor == *AMD || self.vendor == *HYGON
    }

    /// Notes a register of an answer.
    fn set(&mut self, leaf: u32, subleaf: u32, register: usize, value: u32) {
        let key = (leaf, subleaf);
        match self.answers.iter_mut().find(|(known, _)| *known == key) {
            Some((_, answer)) => answer[register] = value,
            None => {
                let mut answer = NONE;
                answer[register] = value;
                self.answers.push((key, answer));
            }
        }
    }

    fn set_all(&mut self, leaf: u32, subleaf: u32, answer: Registers) {
        for (register, value) in answer.into_iter().enumerate() {
            self.set(leaf, subleaf, register, value);
        }
    }

    fn finish(mut self) -> Answers {
        let (basic, extended) = self.highest;
        self.answers.retain(|((leaf, _), answer)| {
            let highest = if *leaf < EXTENDED { basic } else { extended };
            *leaf <= highest && *answer != NONE
        });
        self.answers.sort_unstable_by_key(|(key, _)| *key);
        Answers(self.answers)
    }

    /// Vendor, highest leaf, family and model.
    fn basic(&mut self) {
        const SIGNATURE: u32 = 0x0fff_3fff;
        /// CLFLUSH works on lines of 8 × 8 bytes.
        const LINE: u32 = 8 << 8;
        let word = |at: usize, vendor: &[u8; 12]| {
            u32::from_le_bytes([vendor[at], vendor[at + 1], vendor[at + 2], vendor[at + 3]])
        };
        let vendor = self.vendor;
        let [b, d, c] = [word(0, &vendor), word(4, &vendor), word(8, &vendor)];
        self.set_all(BASIC, 0, [self.highest.0, b, c, d]);
        let [signature, ..] = self.ask(1, 0);
        self.set(1, 0, 0, signature & SIGNATURE);
        self.set(1, 0, 1, LINE | self.inside.cpus.min(0xff) << 16);
    }

    /// Feature bits, and how many subleaves leaf 7 has.
    fn features(&mut self) {
        let (leaf1, leaf7) = (self.ask(1, 0), self.ask(7, 0));
        let state = State::new(self.inside.xcr0, leaf1, leaf7);
        for shown in SHOWN {
            let told = self.ask(shown.leaf, shown.subleaf)[shown.register as usize];
            let bits = state.show(told, shown);
            self.set(shown.leaf, shown.subleaf, shown.register as usize, bits);
        }
        let [subleaves, ..] = self.ask(7, 0);
        self.set(7, 0, 0, subleaves.min(1));
        if self.inside.cpus > 1 {
            let [.., bits] = self.noted(1, 0);
            self.set(1, 0, 3, bits | HTT);
        }
        if !self.is_amd() {
            let [_, _, bits, _] = self.noted(0x8000_0001, 0);
            self.set(0x8000_0001, 0, 2, bits & !TOPOEXT);
        }
    }

    fn noted(&self, leaf: u32, subleaf: u32) -> Registers {
        find(&self.answers, leaf, subleaf).unwrap_or(NONE)
    }

    /// One package of cores without siblings, as /proc/cpuinfo has it. Where a thread runs is no part of it: that
    /// changes, and answers do not.
    fn topology(&mut self) {
        const CORE: u32 = 2 << 8;
        const THREAD: u32 = 1 << 8;
        let cpus = self.inside.cpus;
        let shift = cpus.next_power_of_two().trailing_zeros();
        for leaf in [0xb, 0x1f] {
            self.set_all(leaf, 0, [0, 1, THREAD, 0]);
            self.set_all(leaf, 1, [shift, cpus.min(0xffff), CORE | 1, 0]);
        }
    }

    fn caches(&mut self) {
        // Leaf 2 refers to leaf 4. It says that asking once is enough.
        const SEE_LEAF_4: u32 = 0xff01;
        let leaf = if self.is_amd() { 0x8000_001d } else { 4 };
        for subleaf in 0..caches::LIST_MAX {
            let told = self.ask(leaf, subleaf);
            let Some(answer) = caches::entry(told, self.inside.cpus) else {
                break;
            };
            self.set_all(leaf, subleaf, answer);
        }
        if !self.is_amd() {
            self.set(2, 0, 0, SEE_LEAF_4);
        }
        for (leaf, register) in [
            (0x8000_0005, 2),
            (0x8000_0005, 3),
            (0x8000_0006, 2),
            (0x8000_0006, 3),
        ] {
            let told = self.ask(leaf, 0)[register];
            self.set(leaf, 0, register, caches::word(told));
        }
    }

    /// Leaf D: where XSAVE puts what.
    fn extended_state(&mut self) {
        /// Legacy area and header.
        const FIRST: u32 = 576;
        /// In the compacted format a component may start at the next multiple of 64; an area that allows for it is
        /// never too small.
        const ALIGNED: u32 = 2;
        let xcr0 = self.inside.xcr0;
        let components = &self.inside.components;
        let standard = components.iter().map(|c| c.offset + c.size).max();
        let standard = standard.unwrap_or(FIRST).max(FIRST);
        let compacted = components
            .iter()
            .fold(FIRST, |end, c| end.next_multiple_of(64) + c.size);
        self.set_all(
            0xd,
            0,
            [xcr0 as u32, standard, standard, (xcr0 >> 32) as u32],
        );
        self.set(0xd, 1, 1, compacted);
        for component in components.clone() {
            let answer = [component.size, component.offset, ALIGNED, 0];
            self.set_all(0xd, component.number, answer);
        }
    }

    /// Leaf 12: this is an enclave, with EXINFO; attributes that one may have are DEBUG, MODE64BIT, PROVISIONKEY and
    /// EINITTOKENKEY, and all of XCR0. The sections of the EPC are nobody's business in here.
    fn enclave(&mut self) {
        const SGX: u32 = 1 << 2;
        const ATTRIBUTES: u32 = 0x36;
        /// Log2 of the largest enclave, outside of 64-bit mode and in it.
        const SIZES: (u32, u32) = (31, 36);
        let [_, bits, ..] = self.noted(7, 0);
        self.set(7, 0, 1, bits | SGX);
        self.set_all(0x12, 0, [1, 1, 0, SIZES.1 << 8 | SIZES.0]);
        let xfrm = self.inside.xcr0;
        self.set_all(0x12, 1, [ATTRIBUTES, 0, xfrm as u32, (xfrm >> 32) as u32]);
    }

    /// Brand string, sizes of addresses, and what AMD repeats.
    fn extended(&mut self) {
        let [_, b, c, d] = self.noted(BASIC, 0);
        let repeated = if self.is_amd() { [b, c, d] } else { [0; 3] };
        let [b, c, d] = repeated;
        self.set_all(EXTENDED, 0, [self.highest.1, b, c, d]);
        if self.is_amd() {
            let [signature, ..] = self.noted(1, 0);
            self.set(0x8000_0001, 0, 0, signature);
        }
        self.brand();

        const PHYSICAL: core::ops::RangeInclusive<u32> = 36..=52;
        const PHYSICAL_COMMON: u32 = 46;
        const LINEAR: u32 = 48;
        let [sizes, ..] = self.ask(0x8000_0008, 0);
        let physical = match sizes & 0xff {
            bits if PHYSICAL.contains(&bits) => bits,
            _ => PHYSICAL_COMMON,
        };
        self.set(0x8000_0008, 0, 0, LINEAR << 8 | physical);
        if self.is_amd() {
            let cpus = self.inside.cpus;
            let shift = cpus.next_power_of_two().trailing_zeros();
            self.set(0x8000_0008, 0, 2, shift << 12 | (cpus - 1).min(0xff));
        }
    }

    /// Text up to its first NUL, without anything that is not for printing.
    fn brand(&mut self) {
        let mut ended = false;
        for leaf in 0x8000_0002..=0x8000_0004 {
            let told = self.ask(leaf, 0);
            let answer = told.map(|register| {
                u32::from_le_bytes(register.to_le_bytes().map(|byte| {
                    ended |= byte == 0;
                    match byte {
                        _ if ended => 0,
                        byte if is_printable(byte) => byte,
                        _ => b' ',
                    }
                }))
            });
            self.set_all(leaf, 0, answer);
        }
    }
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

#[cfg(test)]
mod tests;
