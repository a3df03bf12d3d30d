//! Random numbers from a seed, and numbers at which checks go wrong.

/// xorshift64* (Vigna 2016); any quality will do, the same numbers for the same seed are what is wanted.
pub struct Random(u64);

impl Random {
    /// A generator; neighbouring seeds give unrelated numbers.
    pub fn new(seed: u64) -> Random {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    /// Where it is, to go on with [`Random::resume`].
    pub fn state(&self) -> u64 {
        self.0
    }

    /// Goes on at a [`Random::state`].
    pub fn resume(state: u64) -> Random {
        Random(state | 1)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.number() >> 16) % end.max(1)
    }

    /// True in `n` of 256 cases.
    pub fn in_256(&mut self, n: u64) -> bool {
        self.below(256) < n
    }

    /// One of some.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_ne_bytes()[..chunk.len()]);
        }
    }

    /// A number at which checks go wrong: the ends of ranges, sizes around what was `asked`, addresses in the enclave.
    pub fn nasty(&mut self, asked: u64, enclave: u64) -> u64 {
        match self.below(8) {
            0 => self.one_of(&EDGES),
            1 => self.one_of(&EDGES).wrapping_neg(),
            2 => asked.wrapping_add(self.below(17)).wrapping_sub(8),
            3 => (1u64 << self.below(64)).wrapping_sub(self.below(2)),
            4 => enclave.wrapping_add(self.below(1 << 24)),
            5 => self.below(4096),
            6 => self.below(600).wrapping_neg(),
            _ => self.number(),
        }
    }
}

/// Ends of ranges: of integers, of the buffer, of errno values (133, 511 to 530, 4095), of a second.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    0x7f,
    0xff,
    133,
    134,
    512,
    516,
    4095,
    4096,
    999_999_999,
    1_000_000_000,
    0x1_ffff,
    0x2_0000,
    0x2_0001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
];
