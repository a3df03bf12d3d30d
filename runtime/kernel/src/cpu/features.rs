//! Which feature bits of CPUID programs are shown, what each of them needs, and what Linux calls it in /proc/cpuinfo (SDM
//! volume 2A, CPUID; AMD APM volume 3, appendix E).
//!
//! Bits that are not listed are zero: what only an operating system can use, what is illegal in an enclave (MONITOR,
//! hypervisor and virtual machine bits), what XFRM of a package never has (PKU, CET, AMX, MPX, APX), and whatever comes
//! with future processors.

/// The registers in the order of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// EAX.
    A,
    /// EBX.
    B,
    /// ECX.
    C,
    /// EDX.
    D,
}

/// What makes a feature bit be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: this kernel uses it itself, or x86-64 is not without it.
    Nothing,
    /// The host says so. A wrong claim ends in #UD, a missing one in slower code.
    Claim,
    /// The same, and AVX state.
    Avx,
    /// The same, and AVX-512 state.
    Avx512,
}

use Needs::{Avx, Avx512, Claim, Nothing};

/// A feature: its bit, its name in /proc/cpuinfo (empty where Linux lists it elsewhere or not at all), what it needs.
pub type Feature = (u32, &'static str, Needs);

/// The features of one register.
pub struct Shown {
    /// Leaf.
    pub leaf: u32,
    /// Subleaf.
    pub subleaf: u32,
    /// Register.
    pub register: Register,
    /// Its features.
    pub features: &'static [Feature],
}

const fn shown(leaf: u32, subleaf: u32, register: Register, features: &'static [Feature]) -> Shown {
    Shown {
        leaf,
        subleaf,
        register,
        features,
    }
}

/// CPUID.1:ECX.AVX.
pub const AVX: u32 = 1 << 28;
/// CPUID.7.0:EBX.AVX512F.
pub const AVX512F: u32 = 1 << 16;
/// CPUID.1:EDX.HTT.
pub const HTT: u32 = 1 << 28;
/// CPUID.80000001:ECX.TOPOEXT: leaf 8000001D tells the caches.
pub const TOPOEXT: u32 = 1 << 22;

/// XCR0: SSE and AVX.
const AVX_STATE: u64 = 0x6;
/// XCR0: SSE, AVX and the three parts of AVX-512.
const AVX512_STATE: u64 = 0xe6;

/// All feature bits that are shown, in the order of /proc/cpuinfo.
pub const SHOWN: &[Shown] = &[
    shown(
        1,
        0,
        Register::D,
        &[
            (0, "fpu", Nothing),
            (1, "vme", Claim),
            (2, "de", Claim),
            (3, "pse", Claim),
            (4, "tsc", Nothing),
            (5, "msr", Claim),
            (6, "pae", Claim),
            (7, "mce", Claim),
            (8, "cx8", Nothing),
            (9, "apic", Claim),
            (12, "mtrr", Claim),
            (13, "pge", Claim),
            (14, "mca", Claim),
            (15, "cmov", Nothing),
            (16, "pat", Claim),
            (17, "pse36", Claim),
            (19, "clflush", Nothing),
            (23, "mmx", Nothing),
            (24, "fxsr", Nothing),
            (25, "sse", Nothing),
            (26, "sse2", Nothing),
            (27, "ss", Claim),
        ],
    ),
    shown(
        0x8000_0001,
        0,
        Register::D,
        &[
            // What AMD repeats of leaf 1.
            (0, "", Claim),
            (1, "", Claim),
            (2, "", Claim),
            (3, "", Claim),
            (4, "", Claim),
            (5, "", Claim),
            (6, "", Claim),
            (7, "", Claim),
            (8, "", Claim),
            (9, "", Claim),
            (12, "", Claim),
            (13, "", Claim),
            (14, "", Claim),
            (15, "", Claim),
            (16, "", Claim),
            (17, "", Claim),
            (23, "", Claim),
            (24, "", Claim),
            (11, "syscall", Nothing),
            (20, "nx", Claim),
            (22, "mmxext", Claim),
            (25, "fxsr_opt", Claim),
            (26, "pdpe1gb", Claim),
            (27, "rdtscp", Claim),
            (29, "lm", Nothing),
        ],
    ),
    shown(
        1,
        0,
        Register::C,
        &[
            (0, "pni", Claim),
            (1, "pclmulqdq", Claim),
            (9, "ssse3", Claim),
            (12, "fma", Avx),
            (13, "cx16", Claim),
            (19, "sse4_1", Claim),
            (20, "sse4_2", Claim),
            (22, "movbe", Claim),
            (23, "popcnt", Claim),
            (25, "aes", Claim),
            (26, "xsave", Nothing),
            (27, "", Nothing), // OSXSAVE
            (28, "avx", Avx),
            (29, "f16c", Avx),
            (30, "rdrand", Nothing),
        ],
    ),
    shown(
        0x8000_0001,
        0,
        Register::C,
        &[
            (0, "lahf_lm", Claim),
            (1, "cmp_legacy", Claim),
            (5, "abm", Claim),
            (6, "sse4a", Claim),
            (7, "misalignsse", Claim),
            (8, "3dnowprefetch", Claim),
            (11, "xop", Avx),
            (16, "fma4", Avx),
            (21, "tbm", Claim),
            (22, "topoext", Claim),
        ],
    ),
    shown(
        7,
        0,
        Register::B,
        &[
            (0, "fsgsbase", Nothing),
            (3, "bmi1", Claim),
            (4, "hle", Claim),
            (5, "avx2", Avx),
            (6, "", Claim), // FDP_EXCPTN_ONLY
            (8, "bmi2", Claim),
            (9, "erms", Claim),
            (11, "rtm", Claim),
            (13, "", Claim), // FCS and FDS deprecated
            (16, "avx512f", Avx512),
            (17, "avx512dq", Avx512),
            (18, "rdseed", Claim),
            (19, "adx", Claim),
            (21, "avx512ifma", Avx512),
            (23, "clflushopt", Claim),
            (24, "clwb", Claim),
            (26, "avx512pf", Avx512),
            (27, "avx512er", Avx512),
            (28, "avx512cd", Avx512),
            (29, "sha_ni", Claim),
            (30, "avx512bw", Avx512),
            (31, "avx512vl", Avx512),
        ],
    ),
    shown(
        0xd,
        1,
        Register::A,
        &[
            (0, "xsaveopt", Claim),
            (1, "xsavec", Claim),
            (2, "xgetbv1", Claim),
        ],
    ),
    shown(
        7,
        1,
        Register::A,
        &[
            (0, "sha512", Avx),
            (1, "sm3", Avx),
            (2, "sm4", Avx),
            (3, "", Claim), // RAO-INT
            (4, "avx_vnni", Avx),
            (5, "avx512_bf16", Avx512),
            (7, "cmpccxadd", Claim),
            (10, "fzrm", Claim),
            (11, "fsrs", Claim),
            (12, "fsrc", Claim),
            (23, "avx_ifma", Avx),
        ],
    ),
    shown(0x8000_0008, 0, Register::B, &[(0, "clzero", Claim)]),
    shown(
        7,
        0,
        Register::C,
        &[
            (0, "", Claim), // PREFETCHWT1
            (1, "avx512vbmi", Avx512),
            (6, "avx512_vbmi2", Avx512),
            (8, "gfni", Claim),
            (9, "vaes", Avx),
            (10, "vpclmulqdq", Avx),
            (11, "avx512_vnni", Avx512),
            (12, "avx512_bitalg", Avx512),
            (14, "avx512_vpopcntdq", Avx512),
            (22, "rdpid", Claim),
            (25, "cldemote", Claim),
            (27, "movdiri", Claim),
            (28, "movdir64b", Claim),
        ],
    ),
    shown(
        7,
        0,
        Register::D,
        &[
            (2, "avx512_4vnniw", Avx512),
            (3, "avx512_4fmaps", Avx512),
            (4, "fsrm", Claim),
            (8, "avx512_vp2intersect", Avx512),
            (10, "md_clear", Claim),
            (11, "", Claim), // RTM_ALWAYS_ABORT
            (14, "serialize", Claim),
            (16, "tsxldtrk", Claim),
            (23, "avx512_fp16", Avx512),
        ],
    ),
    shown(
        7,
        1,
        Register::D,
        &[
            (4, "", Avx),    // AVX-VNNI-INT8
            (5, "", Avx),    // AVX-NE-CONVERT
            (10, "", Avx),   // AVX-VNNI-INT16
            (14, "", Claim), // PREFETCHI
        ],
    ),
    // The counter runs at one speed.
    shown(
        0x8000_0007,
        0,
        Register::D,
        &[(8, "constant_tsc nonstop_tsc", Claim)],
    ),
];

/// The extended state that programs may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    avx: bool,
    avx512: bool,
}

impl State {
    /// What XCR0 has and the host does not deny: a feature without its state, or without AVX, is none.
    pub fn new(xcr0: u64, leaf1: [u32; 4], leaf7: [u32; 4]) -> State {
        let avx = xcr0 & AVX_STATE == AVX_STATE && leaf1[Register::C as usize] & AVX != 0;
        let avx512 =
            xcr0 & AVX512_STATE == AVX512_STATE && leaf7[Register::B as usize] & AVX512F != 0;
        State {
            avx,
            avx512: avx && avx512,
        }
    }

    /// The register as it is shown, given what the host says it is.
    pub fn show(self, told: u32, shown: &Shown) -> u32 {
        let is_shown = |bit: u32, needs| match needs {
            Nothing => true,
            Claim => told >> bit & 1 == 1,
            Avx => self.avx && told >> bit & 1 == 1,
            Avx512 => self.avx512 && told >> bit & 1 == 1,
        };
        shown
            .features
            .iter()
            .filter(|(bit, _, needs)| is_shown(*bit, *needs))
            .fold(0, |bits, (bit, ..)| bits | 1 << bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_listed_once() {
        for shown in SHOWN {
            let mut seen = 0u32;
            for (bit, name, _) in shown.features {
                assert_eq!(seen >> bit & 1, 0, "{:x}: {bit} {name}", shown.leaf);
                seen |= 1 << bit;
            }
        }
        let names = SHOWN.iter().flat_map(|shown| shown.features);
        let names: Vec<_> = names.map(|f| f.1).filter(|n| !n.is_empty()).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }
}
