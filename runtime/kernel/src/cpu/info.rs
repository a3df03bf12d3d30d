//! What /proc/cpuinfo tells of the processor: the same as CPUID tells programs, in words.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::cpuid::{Answers, Registers};
use super::features::{HTT, SHOWN};

/// The lines that are alike for all CPUs, before and after those that tell which one it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Vendor, model, cache.
    pub first: String,
    /// Flags, sizes.
    pub last: String,
}

/// Makes the lines.
pub fn lines(answers: &Answers) -> Lines {
    let [level, b, c, d] = answers.get(0, 0);
    let [signature, ..] = answers.get(1, 0);
    let (family, model, stepping) = identity(signature);
    let brand = [0x8000_0002, 0x8000_0003, 0x8000_0004].map(|leaf| answers.get(leaf, 0));
    let mut first = format!(
        "vendor_id\t: {}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {}\nstepping\t: {stepping}\n",
        text(&[b, d, c]),
        text(brand.as_flattened()).trim(),
    );
    if let Some(size) = last_cache(answers) {
        first += &format!("cache size\t: {} KB\n", size >> 10);
    }
    let physical = answers.get(0x8000_0008, 0)[0] & 0xff;
    let last = format!(
        "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: {level}\nwp\t\t: yes\nflags\t\t: {}\n\
         clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: {physical} bits physical, 48 bits virtual\n",
        flags(answers).join(" "),
    );
    Lines { first, last }
}

/// Family, model and stepping of CPUID.1:EAX (SDM volume 2A, CPUID, figure 3-6).
fn identity(signature: u32) -> (u32, u32, u32) {
    let (family, extended) = (signature >> 8 & 0xf, signature >> 20 & 0xff);
    let family = family + if family == 0xf { extended } else { 0 };
    let model = signature >> 4 & 0xf;
    let model = model
        + if family >= 6 {
            signature >> 12 & 0xf0
        } else {
            0
        };
    (family, model, signature & 0xf)
}

fn text(registers: &[u32]) -> String {
    let bytes = registers.iter().flat_map(|register| register.to_le_bytes());
    bytes.take_while(|&b| b != 0).map(char::from).collect()
}

/// Bytes of the cache of the highest level.
fn last_cache(answers: &Answers) -> Option<u64> {
    let size = |[a, b, c, _]: Registers| {
        let (line, partitions, ways) = ((b & 0xfff) + 1, (b >> 12 & 0x3ff) + 1, (b >> 22) + 1);
        let size = u64::from(line) * u64::from(partitions) * u64::from(ways) * (u64::from(c) + 1);
        (a >> 5 & 7, size)
    };
    let listed = [4, 0x8000_001d].into_iter().flat_map(|leaf| {
        let entries = (0..super::caches::LIST_MAX).map(move |subleaf| answers.get(leaf, subleaf));
        entries.take_while(|entry| entry[0] & 0x1f != 0)
    });
    listed.map(size).max().map(|(_, size)| size)
}

fn flags(answers: &Answers) -> Vec<&'static str> {
    let mut names = Vec::new();
    for shown in SHOWN {
        let bits = answers.get(shown.leaf, shown.subleaf)[shown.register as usize];
        let present = shown
            .features
            .iter()
            .filter(|(bit, name, _)| !name.is_empty() && bits >> bit & 1 == 1);
        names.extend(present.map(|(_, name, _)| *name));
    }
    if answers.get(1, 0)[3] & HTT != 0 {
        names.push("ht");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::cpuid::Inside;
    use super::*;

    #[test]
    fn families_and_models_are_put_together() {
        assert_eq!(identity(0x000a_0671), (6, 0xa7, 1));
        assert_eq!(identity(0x00a2_0f12), (0x19, 0x21, 2));
        assert_eq!(identity(0x0000_0543), (5, 4, 3));
    }

    #[test]
    fn a_processor_is_described_by_its_answers() {
        let inside = Inside {
            xcr0: 7,
            components: Vec::new(),
            cpus: 2,
        };
        let mut host = |leaf, subleaf| match (leaf, subleaf) {
            (0, 0) => [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
            (1, 0) => [0x000a_0671, 0, 1 << 28 | 1, 0],
            (7, 0) => [0, 1 << 5 | 1 << 16, 0, 0],
            (4, 0) => [0x121, 0x02c0_003f, 0x3f, 0],
            (4, 1) => [0x143, 0x03c0_003f, 0x7ff, 0],
            (0x8000_0002, 0) => [0x6554_2020, 0x0000_7473, 0, 0],
            (0x8000_0008, 0) => [0x3027, 0, 0, 0],
            _ => [0; 4],
        };
        let lines = lines(&Answers::make(&mut host, &inside));
        assert_eq!(
            lines.first,
            "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 167\nmodel name\t: Test\nstepping\t: 1\n\
             cache size\t: 2048 KB\n"
        );
        let flags = lines.last.lines().find(|line| line.starts_with("flags"));
        let flags: Vec<_> = flags.unwrap().split_whitespace().skip(2).collect();
        for there in [
            "fpu", "sse2", "syscall", "lm", "pni", "avx", "avx2", "fsgsbase", "ht",
        ] {
            assert!(flags.contains(&there), "{there}");
        }
        // There is no state for it.
        assert!(!flags.contains(&"avx512f"));
        assert!(lines
            .last
            .contains("address sizes\t: 39 bits physical, 48 bits virtual\n"));
        assert!(lines.last.contains("cpuid level\t: 22\n"));
    }
}
