//! Which feature bits of CPUID programs are shown, and what each of them needs (SDM volume 2A, CPUID; AMD APM volume 3,
//! appendix E).
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

/// The feature bits of one register.
pub struct Shown {
    /// Leaf.
    pub leaf: u32,
    /// Subleaf.
    pub subleaf: u32,
    /// Register.
    pub register: Register,
    /// There on every processor that this kernel runs on: it uses them itself, or x86-64 is not without them.
    pub always: u32,
    /// As the host says: a wrong claim ends in #UD, a missing one in slower code.
    pub plain: u32,
    /// As the host says, if there is AVX state.
    pub avx: u32,
    /// As the host says, if there is AVX-512 state.
    pub avx512: u32,
}

const fn bits(numbers: &[u32]) -> u32 {
    let mut mask = 0;
    let mut i = 0;
    while i < numbers.len() {
        mask |= 1 << numbers[i];
        i += 1;
    }
    mask
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

/// All feature bits that are shown.
pub const SHOWN: &[Shown] = &[
    Shown {
        leaf: 1,
        subleaf: 0,
        register: Register::C,
        // XSAVE, OSXSAVE, RDRAND.
        always: bits(&[26, 27, 30]),
        // SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES.
        plain: bits(&[0, 1, 9, 13, 19, 20, 22, 23, 25]),
        // FMA, AVX, F16C.
        avx: bits(&[12, 28, 29]),
        avx512: 0,
    },
    Shown {
        leaf: 1,
        subleaf: 0,
        register: Register::D,
        // FPU, TSC, CX8, CMOV, CLFSH, MMX, FXSR, SSE, SSE2.
        always: bits(&[0, 4, 8, 15, 19, 23, 24, 25, 26]),
        // VME, DE, PSE, MSR, PAE, MCE, APIC, MTRR, PGE, MCA, PAT, PSE-36, SS.
        plain: bits(&[1, 2, 3, 5, 6, 7, 9, 12, 13, 14, 16, 17, 27]),
        avx: 0,
        avx512: 0,
    },
    Shown {
        leaf: 7,
        subleaf: 0,
        register: Register::B,
        // FSGSBASE.
        always: bits(&[0]),
        // BMI1, HLE, FDP_EXCPTN_ONLY, BMI2, ERMS, RTM, FCS and FDS deprecated, RDSEED, ADX, CLFLUSHOPT, CLWB, SHA.
        plain: bits(&[3, 4, 6, 8, 9, 11, 13, 18, 19, 23, 24, 29]),
        // AVX2.
        avx: bits(&[5]),
        // AVX512F, DQ, IFMA, PF, ER, CD, BW, VL.
        avx512: bits(&[16, 17, 21, 26, 27, 28, 30, 31]),
    },
    Shown {
        leaf: 7,
        subleaf: 0,
        register: Register::C,
        always: 0,
        // PREFETCHWT1, GFNI, RDPID, CLDEMOTE, MOVDIRI, MOVDIR64B.
        plain: bits(&[0, 8, 22, 25, 27, 28]),
        // VAES, VPCLMULQDQ.
        avx: bits(&[9, 10]),
        // AVX512_VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ.
        avx512: bits(&[1, 6, 11, 12, 14]),
    },
    Shown {
        leaf: 7,
        subleaf: 0,
        register: Register::D,
        always: 0,
        // FSRM, MD_CLEAR, RTM_ALWAYS_ABORT, SERIALIZE, TSXLDTRK.
        plain: bits(&[4, 10, 11, 14, 16]),
        avx: 0,
        // AVX512_4VNNIW, 4FMAPS, VP2INTERSECT, FP16.
        avx512: bits(&[2, 3, 8, 23]),
    },
    Shown {
        leaf: 7,
        subleaf: 1,
        register: Register::A,
        always: 0,
        // RAO-INT, CMPCCXADD, FZRM, FSRS, FSRC.
        plain: bits(&[3, 7, 10, 11, 12]),
        // SHA512, SM3, SM4, AVX-VNNI, AVX-IFMA.
        avx: bits(&[0, 1, 2, 4, 23]),
        // AVX512_BF16.
        avx512: bits(&[5]),
    },
    Shown {
        leaf: 7,
        subleaf: 1,
        register: Register::D,
        always: 0,
        // PREFETCHI.
        plain: bits(&[14]),
        // AVX-VNNI-INT8, AVX-NE-CONVERT, AVX-VNNI-INT16.
        avx: bits(&[4, 5, 10]),
        avx512: 0,
    },
    Shown {
        leaf: 0xd,
        subleaf: 1,
        register: Register::A,
        always: 0,
        // XSAVEOPT, XSAVEC, XGETBV with ECX = 1.
        plain: bits(&[0, 1, 2]),
        avx: 0,
        avx512: 0,
    },
    Shown {
        leaf: 0x8000_0001,
        subleaf: 0,
        register: Register::C,
        always: 0,
        // LAHF, CmpLegacy, LZCNT, SSE4A, MisAlignSse, PREFETCHW, TBM, TOPOEXT.
        plain: bits(&[0, 1, 5, 6, 7, 8, 21, 22]),
        // XOP, FMA4.
        avx: bits(&[11, 16]),
        avx512: 0,
    },
    Shown {
        leaf: 0x8000_0001,
        subleaf: 0,
        register: Register::D,
        // SYSCALL, LM.
        always: bits(&[11, 29]),
        // What AMD repeats of leaf 1; NX, MMXEXT, FFXSR, 1 GiB pages, RDTSCP.
        plain: 0x0183_f3ff | bits(&[20, 22, 25, 26, 27]),
        avx: 0,
        avx512: 0,
    },
    Shown {
        leaf: 0x8000_0007,
        subleaf: 0,
        register: Register::D,
        always: 0,
        // The counter runs at one speed.
        plain: bits(&[8]),
        avx: 0,
        avx512: 0,
    },
    Shown {
        leaf: 0x8000_0008,
        subleaf: 0,
        register: Register::B,
        always: 0,
        // CLZERO.
        plain: bits(&[0]),
        avx: 0,
        avx512: 0,
    },
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

    /// The bits of `told` that are shown.
    pub fn show(self, told: u32, shown: &Shown) -> u32 {
        let mut allowed = shown.plain;
        if self.avx {
            allowed |= shown.avx;
        }
        if self.avx512 {
            allowed |= shown.avx512;
        }
        told & allowed | shown.always
    }
}
