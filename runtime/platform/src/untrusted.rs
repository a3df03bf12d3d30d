//! Memory outside of the enclave. Every access to it is made here, in whole aligned words of eight bytes.
//!
//! A shorter or unaligned store may push stale data of the processor's own buffers to the memory controller, where the
//! host can read it back (INTEL-SA-00615, "device register partial write"). A load that is not such a word can be answered
//! with stale data, too, when the host has put a device's registers there (INTEL-SA-00657, the local APIC's page): the
//! enclave would then process, and perhaps give away, data that is none of its own. So a tail is written with zeros up to a
//! whole word, and read with the whole word it lies in.
//!
//! Each word is read once; what is done with a value is done with the copy.

use core::arch::asm;

use crate::memory;

/// Bytes of a word.
pub const WORD: usize = 8;

/// A range that was checked to lie wholly outside of the enclave: whole, aligned words.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    address: u64,
    size: usize,
}

impl Outside {
    /// The range of `size` bytes, rounded up to whole words; `None` when it is not aligned or not wholly outside.
    pub fn new(address: u64, size: usize) -> Option<Outside> {
        let size = size.checked_next_multiple_of(WORD)?;
        let good = address.is_multiple_of(WORD as u64) && memory::is_outside(address, size as u64);
        fence();
        good.then_some(Outside { address, size })
    }

    /// Bytes, a multiple of [`WORD`].
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes `bytes` at `offset`, and zeros up to the next whole word.
    ///
    /// Panics when that is not in the range, or `offset` no multiple of [`WORD`]: both are the kernel's own numbers.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        let whole = bytes.len() / WORD;
        copy_words(to, bytes.as_ptr() as u64, whole);
        let tail = &bytes[whole * WORD..];
        if !tail.is_empty() {
            let mut word = [0; WORD];
            word[..tail.len()].copy_from_slice(tail);
            copy_words(to + (whole * WORD) as u64, word.as_ptr() as u64, 1);
        }
    }

    /// Reads from `offset` on. Panics as [`Outside::write`].
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        let whole = to.len() / WORD;
        copy_words(to.as_mut_ptr() as u64, from, whole);
        let tail = &mut to[whole * WORD..];
        if !tail.is_empty() {
            let mut word = [0; WORD];
            copy_words(word.as_mut_ptr() as u64, from + (whole * WORD) as u64, 1);
            tail.copy_from_slice(&word[..tail.len()]);
        }
    }

    fn at(&self, offset: usize, size: usize) -> u64 {
        let end = offset.checked_add(size);
        assert!(
            offset.is_multiple_of(WORD) && end.is_some_and(|end| end <= self.size),
            "{size} bytes at {offset} of {} outside",
            self.size
        );
        self.address + offset as u64
    }
}

/// No check before it is passed by speculation.
fn fence() {
    // SAFETY: LFENCE has no effect on registers or memory.
    unsafe { asm!("lfence", options(nostack, preserves_flags)) }
}

/// Copies words. One of the ranges is the caller's own memory, the other lies outside and was checked.
fn copy_words(to: u64, from: u64, count: usize) {
    // SAFETY: the callers above give ranges of `count` words of which one is a slice of theirs, valid for that many bytes,
    // and the other passed `Outside::new`. What the host does to its own memory meanwhile changes no more than the copied
    // values, and a fault there stops the kernel. DF is clear in Rust code.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") count => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words between guards.
    struct Field([u64; 8]);

    impl Field {
        fn outside(&mut self) -> Outside {
            Outside {
                address: self.0[1..].as_ptr() as u64,
                size: 6 * WORD,
            }
        }

        fn bytes(&self) -> Vec<u8> {
            self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
        }
    }

    extern crate std;
    use std::vec::Vec;

    const GUARD: [u8; 8] = [0xee; 8];

    fn field() -> Field {
        Field([u64::from_ne_bytes(GUARD); 8])
    }

    #[test]
    fn every_size_is_written_as_whole_words_with_zeros_after_it() {
        let source: Vec<u8> = (1..=48).collect();
        for size in 0..=48 {
            // The source may lie anywhere.
            for shift in 0..=(48 - size).min(8) {
                let mut field = field();
                field.outside().write(0, &source[shift..shift + size]);
                let written = size.next_multiple_of(WORD);
                let found = field.bytes();
                assert_eq!(found[8..8 + size], source[shift..shift + size]);
                assert!(found[8 + size..8 + written].iter().all(|&b| b == 0));
                assert!(found[8 + written..].iter().all(|&b| b == 0xee));
                assert_eq!(found[..8], GUARD);
            }
        }
    }

    #[test]
    fn every_size_is_read_without_touching_what_is_after_the_destination() {
        let mut field = field();
        let source: Vec<u8> = (1..=48).collect();
        field.outside().write(0, &source);
        for size in 0..=40 {
            for shift in 0..8 {
                let mut to = [0xaa; 64];
                field.outside().read(8, &mut to[shift..shift + size]);
                assert_eq!(to[shift..shift + size], source[8..8 + size]);
                assert!(to[..shift].iter().all(|&b| b == 0xaa));
                assert!(to[shift + size..].iter().all(|&b| b == 0xaa));
            }
        }
    }

    #[test]
    #[should_panic(expected = "9 bytes at 40 of 48 outside")]
    fn a_range_is_not_left_at_its_end() {
        field().outside().write(40, &[0; 9]);
    }

    #[test]
    #[should_panic(expected = "1 bytes at 4 of 48 outside")]
    fn an_offset_within_a_word_is_refused() {
        field().outside().read(4, &mut [0]);
    }

    #[test]
    #[should_panic(expected = "of 48 outside")]
    fn an_offset_that_wraps_around_is_refused() {
        field().outside().read(usize::MAX - 7, &mut [0; 16]);
    }
}
