//! The start-up block: what the host tells at the first entry, copied in once and checked.

use alloc::vec::Vec;
use core::mem::size_of;

use mystikos_abi::hostcall::{
    refusal, start, HostSpan, HostStart, HOST_ABI_VERSION, START_SIZE_MAX,
};
use zerocopy::FromBytes;

use crate::untrusted::Outside;
use crate::{enclave, entry, memory};

/// CPUs that a `cpu_set_t` has room for: programs and the kernel size lists by their number.
const CPUS_MAX: u32 = 1024;
/// Bytes that a processor can address.
const MEMORY_MAX: u64 = 1 << 52;

/// The start-up block.
pub struct Start {
    head: HostStart,
    bytes: Vec<u8>,
}

impl Start {
    /// Copies the block at `address` in, once. Stops the kernel when it lies in the enclave or is malformed.
    pub fn copy_in(address: u64) -> Start {
        memory::init();
        crate::boot_heap();
        let outside =
            |size| Outside::new(address, size).unwrap_or_else(|| entry::refuse(refusal::START));
        let mut head = [0; size_of::<HostStart>()];
        outside(head.len()).read(0, &mut head);
        let head = HostStart::read_from_bytes(&head).expect("as many bytes as it has");
        if head.version != HOST_ABI_VERSION {
            entry::refuse(refusal::START_VERSION);
        }
        if head.size > START_SIZE_MAX {
            entry::refuse(refusal::START_SIZE);
        }

        let size = head.size as usize;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(size).is_err() {
            entry::refuse(refusal::START_MEMORY);
        }
        bytes.resize(size, 0);
        outside(size).read(0, &mut bytes);
        Start {
            head: believable(head, enclave::in_enclave()),
            bytes,
        }
    }

    /// The fixed fields.
    pub fn head(&self) -> &HostStart {
        &self.head
    }

    /// The bytes of a span; empty when it does not lie in the block.
    pub fn span(&self, span: HostSpan) -> &[u8] {
        let end = span.offset.saturating_add(span.size);
        self.bytes
            .get(span.offset as usize..end as usize)
            .unwrap_or(&[])
    }

    /// The NUL-terminated strings of a span.
    pub fn strings(&self, span: HostSpan) -> impl Iterator<Item = &[u8]> {
        let bytes = self.span(span);
        let empty = bytes.is_empty();
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        bytes.split(|&b| b == 0).filter(move |_| !empty)
    }

    /// One of `start_flags` is set.
    pub fn has(&self, flag: u32) -> bool {
        self.head.flags & flag != 0
    }
}

/// The fixed fields without what cannot be, and in an enclave without what only a trusted host may say: its pages hold
/// what the host had them added with until the kernel has cleared them, and no function of the host can be called.
fn believable(mut head: HostStart, in_enclave: bool) -> HostStart {
    head.cpu_count = head.cpu_count.clamp(1, CPUS_MAX);
    head.total_memory = head.total_memory.min(MEMORY_MAX);
    if in_enclave {
        head.flags &= !start::ZERO_PAGES;
        head.vdso = [0; 4];
    }
    head
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;

    fn head() -> HostStart {
        HostStart::new_zeroed()
    }

    fn start(bytes: &[u8]) -> Start {
        Start {
            head: head(),
            bytes: bytes.to_vec(),
        }
    }

    fn span(offset: u64, size: u64) -> HostSpan {
        HostSpan { offset, size }
    }

    use zerocopy::FromZeros;

    #[test]
    fn what_only_a_trusted_host_may_say_is_not_believed_in_an_enclave() {
        let mut said = head();
        said.flags = start::ZERO_PAGES | start::STRACE;
        said.vdso = [1, 2, 3, 4];
        let outside = believable(said, false);
        assert_eq!((outside.flags, outside.vdso), (said.flags, said.vdso));
        let inside = believable(said, true);
        assert_eq!((inside.flags, inside.vdso), (start::STRACE, [0; 4]));
    }

    #[test]
    fn counts_are_bounded() {
        let counts = |cpu_count, total_memory| {
            let mut said = head();
            (said.cpu_count, said.total_memory) = (cpu_count, total_memory);
            let said = believable(said, true);
            (said.cpu_count, said.total_memory)
        };
        assert_eq!(counts(0, 5), (1, 5));
        assert_eq!(counts(2, u64::MAX), (2, 1 << 52));
        assert_eq!(counts(u32::MAX, 0), (1024, 0));
    }

    #[test]
    fn spans_that_do_not_lie_in_the_block_are_empty() {
        let start = start(b"abc\0def\0");
        assert_eq!(start.span(span(4, 4)), b"def\0");
        for (offset, size) in [(4, 5), (9, 0), (u64::MAX, 1), (1, u64::MAX), (8, 1)] {
            assert_eq!(start.span(span(offset, size)), b"", "{offset} {size}");
            assert_eq!(start.strings(span(offset, size)).count(), 0);
        }
    }

    #[test]
    fn strings_end_at_nul_whether_or_not_the_last_one_does() {
        let start = start(b"a\0\0bc\0d");
        let strings = |size| start.strings(span(0, size)).collect::<Vec<_>>();
        assert_eq!(strings(7), vec![&b"a"[..], b"", b"bc", b"d"]);
        assert_eq!(strings(6), vec![&b"a"[..], b"", b"bc"]);
        assert_eq!(strings(2), vec![&b"a"[..]]);
        assert!(strings(0).is_empty());
    }
}
