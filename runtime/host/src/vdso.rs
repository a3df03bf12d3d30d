//! The host's own vDSO functions, for the application's clock calls on the `linux` target.

use core::ffi::CStr;

/// Addresses of clock_gettime, gettimeofday, time, clock_getres in the vDSO at `base`; 0 for what is not there.
pub fn functions(base: u64) -> [u64; 4] {
    let names = [
        c"__vdso_clock_gettime",
        c"__vdso_gettimeofday",
        c"__vdso_time",
        c"__vdso_clock_getres",
    ];
    if base == 0 {
        return [0; 4];
    }
    // SAFETY: the host kernel maps a complete ELF image there for as long as the process lives.
    unsafe { names.map(|name| find(base, name)) }
}

/// Address of a function, or 0.
///
/// # Safety
///
/// An ELF64 shared object, as the kernel's vDSO is one, is mapped as a whole at `base`.
pub unsafe fn find(base: u64, name: &CStr) -> u64 {
    // SAFETY: reads of the image's own tables (elf(5)), which a vDSO has; the hash table bounds the symbol table.
    unsafe {
        let read16 = |at: u64| (at as *const u16).read_unaligned() as u64;
        let read32 = |at: u64| (at as *const u32).read_unaligned() as u64;
        let read64 = |at: u64| (at as *const u64).read_unaligned();
        let (headers, count) = (base + read64(base + 0x20), read16(base + 0x38));
        let (mut bias, mut dynamic) = (None, None);
        for header in (0..count).map(|i| headers + i * 56) {
            match read32(header) {
                1 if bias.is_none() => {
                    bias = Some(
                        base.wrapping_add(read64(header + 8))
                            .wrapping_sub(read64(header + 16)),
                    );
                }
                2 => dynamic = Some(base + read64(header + 8)),
                _ => {}
            }
        }
        let (Some(bias), Some(mut entry)) = (bias, dynamic) else {
            return 0;
        };
        let (mut symbols, mut strings, mut hash) = (0, 0, 0);
        while read64(entry) != 0 {
            let value = bias.wrapping_add(read64(entry + 8));
            match read64(entry) {
                4 => hash = value,
                5 => strings = value,
                6 => symbols = value,
                _ => {}
            }
            entry += 16;
        }
        if symbols == 0 || strings == 0 || hash == 0 {
            return 0;
        }
        for symbol in (0..read32(hash + 4)).map(|i| symbols + i * 24) {
            let defined = read16(symbol + 6) != 0;
            let this = CStr::from_ptr((strings + read32(symbol)) as *const core::ffi::c_char);
            if defined && this == name {
                return bias.wrapping_add(read64(symbol + 8));
            }
        }
        0
    }
}
