//! Sets of CPUs.

use crate::{Errno, Result};

/// Most CPUs that are told.
pub const CPUS_MAX: usize = 1024;

/// A set of CPUs (`cpu_set_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet(pub [u8; CPUS_MAX / 8]);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: CpuSet = CpuSet([0; CPUS_MAX / 8]);

    /// The first `count` CPUs, at least one.
    pub fn first(count: u32) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for cpu in 0..(count as usize).clamp(1, CPUS_MAX) {
            set.0[cpu / 8] |= 1 << (cpu % 8);
        }
        set
    }

    /// Bytes that a set of this many CPUs takes: whole words, as Linux counts them.
    pub fn size(count: u32) -> usize {
        (count as usize).clamp(1, CPUS_MAX).div_ceil(64) * 8
    }

    /// What of this set is allowed; EINVAL when that is nothing (sched_setaffinity(2)).
    pub fn within(&self, allowed: &CpuSet) -> Result<CpuSet> {
        let mut set = CpuSet::EMPTY;
        for (both, (a, b)) in set.0.iter_mut().zip(self.0.iter().zip(&allowed.0)) {
            *both = a & b;
        }
        match set == CpuSet::EMPTY {
            true => Err(Errno::EINVAL),
            false => Ok(set),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_bit_for_each_cpu_in_whole_words() {
        let set = CpuSet::first(3);
        assert_eq!((set.0[0], set.0[1], CpuSet::size(3)), (7, 0, 8));
        let set = CpuSet::first(65);
        assert_eq!((set.0[7], set.0[8], CpuSet::size(65)), (0xff, 1, 16));
        assert_eq!(CpuSet::first(0), CpuSet::first(1));
    }

    #[test]
    fn only_cpus_that_exist_can_be_chosen() {
        let mut wanted = CpuSet::EMPTY;
        wanted.0[0] = 0b1010;
        assert_eq!(wanted.within(&CpuSet::first(2)).unwrap().0[0], 0b10);
        assert_eq!(wanted.within(&CpuSet::first(1)), Err(Errno::EINVAL));
    }
}
