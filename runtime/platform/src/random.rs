//! Random bytes from the processor (RDRAND, legal in an enclave and independent of the host).

use core::arch::asm;

/// Fills `bytes` with random bytes. Panics when RDRAND fails a hundred times in a row, which means a broken processor
/// (SDM volume 1, 7.3.17.1 asks for ten retries).
pub fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        let word = word().to_ne_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

fn word() -> u64 {
    for _ in 0..100 {
        let (value, good): (u64, u8);
        // SAFETY: RDRAND only writes its register and flags; every processor with SGX or FSGSBASE has it.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack));
        }
        if good != 0 {
            return value;
        }
    }
    panic!("RDRAND does not deliver");
}
