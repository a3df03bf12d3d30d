//! What CPUID tells of the caches. Programs size their loops by it and walk the list to its end, so it is bounded.

use super::cpuid::Registers;

/// Caches listed at most.
pub const LIST_MAX: u32 = 8;

/// Bytes of a cache line that processors have had.
const LINES: [u64; 3] = [32, 64, 128];

/// Largest cache of a level.
const SIZE_MAX: [u64; 4] = [4 << 20, 256 << 20, 4 << 30, 4 << 30];

/// One subleaf of leaf 4 (Intel) or 8000001D (AMD); `None` when it ends the list or describes no possible cache.
/// Who shares the cache is the kernel's to say: the last levels are all CPUs', the first two a CPU's own.
pub fn entry(told: Registers, cpus: u32) -> Option<Registers> {
    let [a, b, c, d] = told;
    let (kind, level) = (a & 0x1f, a >> 5 & 7);
    let line = u64::from(b & 0xfff) + 1;
    let partitions = u64::from(b >> 12 & 0x3ff) + 1;
    let ways = u64::from(b >> 22) + 1;
    // At most 2^(12 + 10 + 10 + 32).
    let size = u128::from(line * partitions * ways) * (u128::from(c) + 1);
    let most = *SIZE_MAX.get((level as usize).checked_sub(1)?)?;
    let possible = (1..=3).contains(&kind) && LINES.contains(&line) && size <= most.into();
    let others = cpus.next_power_of_two() - 1;
    let sharing = if level >= 3 { others.min(0xfff) } else { 0 };
    // Self-initialising, fully associative.
    let flags = a & 0x300;
    possible.then_some([
        kind | level << 5 | flags | sharing << 14 | others.min(0x3f) << 26,
        b,
        c,
        d & 7,
    ])
}

/// A word of leaf 80000005 or 80000006: size, associativity and, in the lowest byte, the line size. Zero when no cache
/// has such lines.
pub fn word(told: u32) -> u32 {
    match LINES.contains(&u64::from(told & 0xff)) {
        true => told,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 48 KiB, 12 ways, 64 sets; shared and counted as the host likes.
    const FIRST: Registers = [0xffff_c121, 0x02c0_003f, 0x3f, 0xffff_fff8];

    #[test]
    fn a_cache_is_told_with_its_size_and_as_shared_by_the_cpus_there_are() {
        let told = entry(FIRST, 6).unwrap();
        assert_eq!(told, [0x1c00_0121, 0x02c0_003f, 0x3f, 0]);
        let third = [0x163, 0x03c0_003f, 0x77fff, 4];
        let told = entry(third, 6).unwrap();
        assert_eq!(told[0] >> 14 & 0xfff, 7);
        assert_eq!((told[1], told[2], told[3]), (third[1], third[2], 4));
        assert_eq!(entry(third, 8192).unwrap()[0] >> 14, 0x3_ffff);
    }

    #[test]
    fn what_is_no_cache_ends_the_list() {
        let with = |index: usize, value| {
            let mut told = FIRST;
            told[index] = value;
            entry(told, 1)
        };
        assert!(with(0, 0x121).is_some());
        assert_eq!(with(0, 0x120), None, "no type");
        assert_eq!(with(0, 0x124), None, "an unknown type");
        assert_eq!(with(0, 0x101), None, "level 0");
        assert_eq!(with(0, 0x1a1), None, "level 5");
        assert_eq!(with(1, 0x02c0_003e), None, "lines of 63 bytes");
        assert_eq!(with(1, 0x02c0_0000), None, "lines of one byte");
        assert_eq!(with(2, u32::MAX), None, "too large");
        assert_eq!(with(1, 0xffff_f03f), None, "too many ways and partitions");
    }

    #[test]
    fn a_word_without_a_possible_line_is_no_cache() {
        assert_eq!(word(0x0800_7040), 0x0800_7040);
        assert_eq!(word(0xffff_ffff), 0);
        assert_eq!(word(0x0800_7000), 0);
    }
}
