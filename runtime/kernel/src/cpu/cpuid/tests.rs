//! Answers made from what this machine says, and from what a hostile host may say.

use core::arch::x86_64::__cpuid_count;

use super::super::features::{AVX, AVX512F};
use super::*;

/// x87, SSE, AVX and AVX-512 as Intel lays them out.
fn inside(xcr0: u64, cpus: u32) -> Inside {
    let all = [
        (2, 576, 256),
        (5, 1088, 64),
        (6, 1152, 512),
        (7, 1664, 1024),
    ];
    let components = all
        .into_iter()
        .filter(|(number, ..)| xcr0 >> number & 1 == 1)
        .map(|(number, offset, size)| Component {
            number,
            offset,
            size,
        })
        .collect();
    Inside {
        xcr0,
        components,
        cpus,
    }
}

fn machine(leaf: u32, subleaf: u32) -> Registers {
    let told = __cpuid_count(leaf, subleaf);
    [told.eax, told.ebx, told.ecx, told.edx]
}

/// Every bit set, everywhere.
fn ones(_: u32, _: u32) -> Registers {
    [u32::MAX; 4]
}

/// Different at each call.
fn random(seed: u64) -> impl FnMut(u32, u32) -> Registers {
    let mut state = seed;
    move |_, _| {
        [0; 4].map(|_: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        })
    }
}

/// What must hold whatever the host says.
fn check(answers: &Answers, inside: &Inside) {
    let get = |leaf, subleaf| answers.get(leaf, subleaf);
    let [highest, b, c, d] = get(0, 0);
    assert!((0xd..=0x1f).contains(&highest));
    let vendor = [b, d, c].map(u32::to_le_bytes).concat();
    assert!(vendor.iter().copied().all(is_printable));
    let [highest, ..] = get(0x8000_0000, 0);
    assert!((0x8000_0008..=0x8000_001e).contains(&highest));

    let avx = inside.xcr0 & 6 == 6;
    let avx512 = inside.xcr0 & 0xe6 == 0xe6;
    let [_, b, c, _] = get(1, 0);
    assert_eq!(b, 8 << 8 | inside.cpus.min(255) << 16);
    assert_eq!(c & 0x4c00_0000, 0x4c00_0000, "XSAVE, OSXSAVE, RDRAND");
    assert_eq!(c & 1 << 31, 0, "no hypervisor");
    assert_eq!(c & 1 << 3, 0, "no MONITOR");
    let of_avx = c & (1 << 12 | AVX | 1 << 29);
    assert!(avx || of_avx == 0, "AVX, FMA, F16C without their state");
    let [_, b, c, d] = get(7, 0);
    assert_eq!(b & 5, 5, "FSGSBASE, SGX");
    assert_eq!(b & 1 << 14, 0, "no MPX");
    assert_eq!(c & 0x18, 0, "no protection keys");
    assert_eq!(c & 1 << 7 | d & 1 << 20, 0, "no CET");
    assert_eq!(d & 0x0340_0000 & !(1 << 23), 0, "no AMX");
    assert!(
        avx && get(1, 0)[2] & AVX != 0 || b & 1 << 5 == 0,
        "AVX2 alone"
    );
    if !avx512 || b & AVX512F == 0 {
        assert_eq!(b & 0xdc23_0000 & !(1 << 29), 0, "parts of AVX-512 alone");
        assert_eq!(c & 0x5842, 0);
        assert_eq!(d & 0x0080_010c, 0);
    }

    let end = (0..100).position(|i| get(4, i)[0] & 0x1f == 0);
    assert!(end.is_some_and(|end| end <= 8), "caches come to an end");
    for leaf in [0xb, 0x1f] {
        let levels = [0, 1, 2, 3].map(|i| get(leaf, i));
        assert_eq!(levels[2][1] | levels[2][2] & 0xff00, 0);
        assert_eq!(levels[3][1] | levels[3][2] & 0xff00, 0);
        if levels[0] != NONE {
            assert_eq!(levels[1][1], inside.cpus);
            assert!(1u32 << levels[1][0] >= inside.cpus);
        }
    }

    let [low, size, most, high] = get(0xd, 0);
    assert_eq!(u64::from(high) << 32 | u64::from(low), inside.xcr0);
    assert_eq!(size, most);
    let mut compacted = 576;
    for number in 2..64 {
        let [bytes, offset, ..] = get(0xd, number);
        assert_eq!(bytes != 0, inside.xcr0 >> number & 1 == 1);
        assert!(offset + bytes <= size);
        compacted += bytes;
    }
    assert!(get(0xd, 1)[1] >= compacted);

    for leaf in [0x8000_0002, 0x8000_0003, 0x8000_0004] {
        let text = get(leaf, 0).map(u32::to_le_bytes).concat();
        assert!(text.iter().all(|&byte| byte == 0 || is_printable(byte)));
    }
    assert_eq!(get(0x15, 0), NONE);
    assert_eq!(get(0x16, 0), NONE);
    for leaf in [
        3,
        5,
        6,
        9,
        0xa,
        0xf,
        0x10,
        0x14,
        0x18,
        0x1d,
        0x20,
        0x4000_0000,
        0x4000_0001,
    ] {
        assert_eq!(get(leaf, 0), NONE, "{leaf:x}");
    }
    assert_eq!(get(0xffff_ffff, 0), NONE);
    assert_eq!(get(0x12, 2), NONE, "where the EPC is");
    assert!((36..=52).contains(&(get(0x8000_0008, 0)[0] & 0xff)));
}

const STATES: [u64; 4] = [0x3, 0x7, 0xe7, 0xe3];

#[test]
fn no_host_makes_claims_that_cannot_be() {
    for xcr0 in STATES {
        for cpus in [1, 2, 3, 64, 8192] {
            let inside = inside(xcr0, cpus);
            check(&Answers::make(&mut ones, &inside), &inside);
            check(&Answers::make(&mut |_, _| NONE, &inside), &inside);
            for seed in 0..200 {
                check(&Answers::make(&mut random(seed), &inside), &inside);
            }
        }
    }
}

#[test]
fn this_machine_is_shown_with_its_instructions() {
    let inside = Inside::learn(2).unwrap();
    let answers = Answers::make(&mut machine, &inside);
    check(&answers, &inside);
    assert_eq!(answers.get(0, 0)[1..], machine(0, 0)[1..]);
    assert_eq!(answers.get(1, 0)[0], machine(1, 0)[0]);
    // Vendors may list more; what is shown of SSE4 and AES is what is there.
    let mask = 1 << 19 | 1 << 20 | 1 << 25;
    assert_eq!(answers.get(1, 0)[2] & mask, machine(1, 0)[2] & mask);
    if inside.xcr0 & 6 == 6 {
        assert_eq!(answers.get(1, 0)[2] & AVX, machine(1, 0)[2] & AVX);
        assert_eq!(answers.get(7, 0)[1] & 1 << 5, machine(7, 0)[1] & 1 << 5);
    }
    for number in 2..64 {
        let (shown, told) = (answers.get(0xd, number), machine(0xd, number));
        if shown != NONE {
            assert_eq!(shown[..2], told[..2], "component {number}");
        }
    }
    assert_eq!(answers.get(0x8000_0002, 0), machine(0x8000_0002, 0));
}

#[test]
fn a_host_that_denies_avx_is_believed_as_a_whole() {
    let inside = inside(0xe7, 1);
    let mut host = |leaf, subleaf| {
        let mut told = ones(leaf, subleaf);
        if leaf == 1 {
            told[2] &= !AVX;
        }
        told
    };
    let answers = Answers::make(&mut host, &inside);
    assert_eq!(answers.get(1, 0)[2] & (AVX | 1 << 12), 0);
    assert_eq!(answers.get(7, 0)[1] & (1 << 5 | AVX512F), 0);
    // Its state exists all the same, and XSAVE writes it.
    assert_eq!(answers.get(0xd, 0)[1], 2688);
    check(&answers, &inside);
}

#[test]
fn a_vendor_or_brand_that_is_no_text_is_replaced() {
    let inside = inside(3, 1);
    let answers = Answers::make(&mut ones, &inside);
    let [_, b, c, d] = answers.get(0, 0);
    assert_eq!([b, d, c].map(u32::to_le_bytes).concat(), INTEL);
    assert_eq!(answers.get(0x8000_0003, 0), [0x2020_2020; 4]);
}

#[test]
fn the_brand_ends_at_its_first_nul() {
    let inside = inside(3, 1);
    let text = b"A \x07B\0secret";
    let mut host = |leaf, _| match leaf {
        0x8000_0002 => [0usize, 4, 8, 12].map(|at| {
            let byte = |i: usize| text.get(at + i).copied().unwrap_or(b'x');
            u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
        }),
        _ => [0x7878_7878; 4],
    };
    let answers = Answers::make(&mut host, &inside);
    let first = answers.get(0x8000_0002, 0).map(u32::to_le_bytes).concat();
    assert_eq!(&first[..8], b"A  B\0\0\0\0");
    assert_eq!(answers.get(0x8000_0003, 0), NONE);
}

#[test]
fn amd_is_shown_in_its_own_leaves() {
    let inside = inside(7, 6);
    let mut host = |leaf, subleaf| match (leaf, subleaf) {
        (0, 0) => [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
        (0x8000_0000, 0) => [0x8000_0028, 0, 0, 0],
        (0x8000_0001, 0) => [0, 0, TOPOEXT, 0],
        (4, _) | (0x8000_001d, 0) => [0x121, 0x01c0_003f, 0x3f, 0],
        _ => NONE,
    };
    let answers = Answers::make(&mut host, &inside);
    check(&answers, &inside);
    assert_eq!(answers.get(4, 0), NONE);
    assert_eq!(answers.get(2, 0), NONE);
    assert_eq!(answers.get(0x8000_001d, 0)[1..3], [0x01c0_003f, 0x3f]);
    assert_eq!(answers.get(0x8000_001d, 1), NONE);
    assert_eq!(answers.get(0x8000_0000, 0)[0], 0x8000_001e);
    assert_eq!(answers.get(0x8000_0000, 0)[1..], answers.get(0, 0)[1..]);
    assert_eq!(answers.get(0x8000_0008, 0)[2], 3 << 12 | 5);
}

#[test]
fn leaves_without_subleaves_do_not_look_at_them() {
    let inside = inside(7, 4);
    let answers = Answers::make(&mut machine, &inside);
    assert_eq!(answers.get(1, 77), answers.get(1, 0));
    assert_eq!(answers.get(0xb, 7), [0, 0, 7, 0]);
    assert_eq!(answers.get(0xd, 77), NONE);
    assert_eq!(answers.get(7, 3), NONE);
}
