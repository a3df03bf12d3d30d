//! Memory of the application. An address is checked to lie in user memory; a page that cannot be accessed makes the
//! copy stop at its fix-up. Either way the answer is EFAULT, and nothing here hands out references to such memory.

use alloc::vec::Vec;
use core::arch::global_asm;
use core::mem::{size_of, MaybeUninit};
use core::ops::Deref;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{memory, Errno};

global_asm!(
    // Tests link several code units: what one of them asks for must be visible there.
    ".globl myst_user_copy, myst_user_zero, myst_user_load32, myst_user_exchange32",
    // extern "C" fn(to, from, size) -> bytes not copied
    "myst_user_copy:",
    "mov rcx, rdx",
    "myst_user_copy_at: rep movsb",
    "myst_user_copy_fixup: mov rax, rcx",
    "ret",
    // extern "C" fn(to, size) -> bytes not cleared
    "myst_user_zero:",
    "mov rcx, rsi",
    "xor eax, eax",
    "myst_user_zero_at: rep stosb",
    "myst_user_zero_fixup: mov rax, rcx",
    "ret",
    // extern "C" fn(from) -> value, or all ones in the upper half
    "myst_user_load32:",
    "xor eax, eax",
    "myst_user_load32_at: mov eax, [rdi]",
    "ret",
    "myst_user_load32_fixup: mov rax, -1",
    "ret",
    // extern "C" fn(to, expected, new) -> value before, or all ones in the upper half
    "myst_user_exchange32:",
    "mov eax, esi",
    "myst_user_exchange32_at: lock cmpxchg [rdi], edx",
    "mov eax, eax",
    "ret",
    "myst_user_exchange32_fixup: mov rax, -1",
    "ret",
);

extern "C" {
    fn myst_user_copy(to: u64, from: u64, size: usize) -> usize;
    fn myst_user_zero(to: u64, size: usize) -> usize;
    fn myst_user_load32(from: u64) -> u64;
    fn myst_user_exchange32(to: u64, expected: u32, new: u32) -> u64;
}

/// Where execution goes on when the instruction at `rip` faulted, if it is one of the above.
#[cfg(feature = "image")]
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    extern "C" {
        fn myst_user_copy_at();
        fn myst_user_copy_fixup();
        fn myst_user_zero_at();
        fn myst_user_zero_fixup();
        fn myst_user_load32_at();
        fn myst_user_load32_fixup();
        fn myst_user_exchange32_at();
        fn myst_user_exchange32_fixup();
    }
    let table: [(unsafe extern "C" fn(), unsafe extern "C" fn()); 4] = [
        (myst_user_copy_at, myst_user_copy_fixup),
        (myst_user_zero_at, myst_user_zero_fixup),
        (myst_user_load32_at, myst_user_load32_fixup),
        (myst_user_exchange32_at, myst_user_exchange32_fixup),
    ];
    table
        .iter()
        .find(|(at, _)| *at as *const () as u64 == rip)
        .map(|(_, fixup)| *fixup as *const () as u64)
}

fn check(address: u64, size: usize) -> Result<(), Errno> {
    // Nothing is always accessible, as on Linux.
    if size == 0 || memory::is_user(address, size) {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// Copies application memory into `to`.
pub fn copy_in(from: u64, to: &mut [u8]) -> Result<(), Errno> {
    check(from, to.len())?;
    // SAFETY: `to` is writable for its length; `from` lies in user memory, where a fault is fixed up. User memory and
    // kernel memory do not overlap.
    match unsafe { myst_user_copy(to.as_mut_ptr() as u64, from, to.len()) } {
        0 => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Copies `from` to application memory.
pub fn copy_out(to: u64, from: &[u8]) -> Result<(), Errno> {
    match copy_out_partly(to, from) {
        n if n == from.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// As [`copy_out`], and tells how many bytes could be copied before a fault.
pub fn copy_out_partly(to: u64, from: &[u8]) -> usize {
    if check(to, from.len()).is_err() {
        return 0;
    }
    // SAFETY: as in `copy_in`, the other way round.
    let left = unsafe { myst_user_copy(to, from.as_ptr() as u64, from.len()) };
    from.len() - left
}

/// Fills application memory with zeros.
pub fn zero(to: u64, size: usize) -> Result<(), Errno> {
    check(to, size)?;
    // SAFETY: `to` lies in user memory, where a fault is fixed up.
    match unsafe { myst_user_zero(to, size) } {
        0 => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Copies `size` bytes from one place of application memory to another (not overlapping).
pub fn copy_within(to: u64, from: u64, size: usize) -> Result<(), Errno> {
    check(to, size)?;
    check(from, size)?;
    // SAFETY: both lie in user memory, where a fault is fixed up.
    match unsafe { myst_user_copy(to, from, size) } {
        0 => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Reads one value.
pub fn read<T: FromBytes>(from: u64) -> Result<T, Errno> {
    check(from, size_of::<T>())?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `copy_in`; on success all bytes of `value` are initialised, and any bytes are a valid `T`.
    unsafe {
        match myst_user_copy(value.as_mut_ptr() as u64, from, size_of::<T>()) {
            0 => Ok(value.assume_init()),
            _ => Err(Errno::EFAULT),
        }
    }
}

/// Writes one value.
pub fn write<T: IntoBytes + Immutable>(to: u64, value: &T) -> Result<(), Errno> {
    copy_out(to, value.as_bytes())
}

/// Reads `size` bytes into a new vector. The caller has bounded `size`.
pub fn read_vec(from: u64, size: usize) -> Result<Vec<u8>, Errno> {
    check(from, size)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(size, 0);
    copy_in(from, &mut bytes)?;
    Ok(bytes)
}

/// Reads `count` values. The caller has bounded `count`.
pub fn read_array<T: FromBytes + IntoBytes + Immutable + Clone>(
    from: u64,
    count: usize,
) -> Result<Vec<T>, Errno> {
    let size = count.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
    check(from, size)?;
    (0..count)
        .map(|i| read(from + (i * size_of::<T>()) as u64))
        .collect()
}

/// A copy of a string of the application, without its NUL. A short one, as nearly every path is, needs no heap.
pub enum CopiedString {
    /// The first bytes of an array.
    Short([u8; SHORT], usize),
    /// More than fit into that.
    Long(Vec<u8>),
}

const SHORT: usize = 128;

impl Deref for CopiedString {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            CopiedString::Short(bytes, size) => &bytes[..*size],
            CopiedString::Long(bytes) => bytes,
        }
    }
}

/// Reads a NUL-terminated string of at most `max` bytes without the NUL; `too_long` if there is no NUL in time.
pub fn read_string(from: u64, max: usize, too_long: Errno) -> Result<CopiedString, Errno> {
    let mut long = Vec::new();
    let mut chunk = [0u8; SHORT];
    let mut address = from;
    while long.len() < max {
        // Up to the end of the page, so that a string that ends right before an unmapped page is read.
        let in_page = 4096 - (address & 0xfff) as usize;
        let size = chunk.len().min(in_page).min(max - long.len());
        copy_in(address, &mut chunk[..size])?;
        let end = chunk[..size].iter().position(|&b| b == 0);
        match end {
            Some(end) if long.is_empty() => return Ok(CopiedString::Short(chunk, end)),
            Some(end) => {
                long.extend_from_slice(&chunk[..end]);
                return Ok(CopiedString::Long(long));
            }
            None => long.extend_from_slice(&chunk[..size]),
        }
        address += size as u64;
    }
    Err(too_long)
}

/// Reads an aligned 32-bit word at once (futex).
pub fn load_u32(from: u64) -> Result<u32, Errno> {
    check(from, 4)?;
    // SAFETY: `from` lies in user memory, where a fault is fixed up.
    u32::try_from(unsafe { myst_user_load32(from) }).map_err(|_| Errno::EFAULT)
}

/// Writes an aligned 32-bit word if it holds `expected`; returns what it held.
pub fn compare_exchange_u32(to: u64, expected: u32, new: u32) -> Result<u32, Errno> {
    check(to, 4)?;
    // SAFETY: `to` lies in user memory, where a fault is fixed up.
    u32::try_from(unsafe { myst_user_exchange32(to, expected, new) }).map_err(|_| Errno::EFAULT)
}
