//! Start-up blocks and host areas that are none.

use core::ffi::c_void;

use mystikos_abi::hostcall::{start, HostStart, AREA_SIZE, START_SIZE_MAX};
use mystikos_abi::PAGE_SIZE;
use rustix::mm::{mprotect, MprotectFlags};
use zerocopy::IntoBytes;

use super::random::Random;
use super::settings;
use crate::memory::{anonymous, Memory};
use crate::Result;

/// The address that the kernel is given in place of a host area.
pub fn shown_area(real: u64, memory: Memory) -> u64 {
    let (base, end) = (memory.base, memory.end);
    match settings::get().area {
        b"inside" => base + PAGE_SIZE,
        b"head" => base - 64, // its first bytes are outside
        b"tail" => base - AREA_SIZE as u64 + 16,
        b"last" => end - 16,
        b"misaligned" => real + 4,
        b"wrapping" => 0u64.wrapping_sub(AREA_SIZE as u64 / 2) & !15,
        b"high" => 1 << 63,
        b"kernelspace" => 0xffff_8000_0000_0000,
        _ => real,
    }
}

/// Memory for a host area, with inaccessible pages around it: nobody is to read or write beside it.
pub fn new_area() -> Result<u64> {
    const GUARD: usize = 16 * PAGE_SIZE as usize;
    let base = anonymous(GUARD + AREA_SIZE + GUARD)?;
    for guard in [base, base + (GUARD + AREA_SIZE) as u64] {
        // SAFETY: part of the mapping just made.
        unsafe { mprotect(guard as *mut c_void, GUARD, MprotectFlags::empty()) }
            .map_err(|e| crate::fail!("guards of a host area: error {}", e.raw_os_error()))?;
    }
    Ok(base + GUARD as u64)
}

/// The address that the kernel is given in place of the start-up block at `real`, which may be changed, too.
pub fn block(real: u64, memory: Memory) -> u64 {
    let (base, end) = (memory.base, memory.end);
    // SAFETY: the block that `start::block` has made and leaked; the kernel has not been entered yet.
    let head = unsafe { &mut *(real as *mut HostStart) };
    match settings::get().start {
        b"inside" => return base + PAGE_SIZE,
        b"head" => return base - 64,
        b"last" => return end - 16,
        b"misaligned" => return real + 4,
        b"wrapping" => return 0u64.wrapping_sub(64),
        b"high" => return 1 << 63,
        b"kernelspace" => return 0xffff_8000_0000_0000,
        b"size-max" => head.size = u64::MAX,
        b"size-large" => head.size = START_SIZE_MAX + 1,
        b"size-into" => head.size = base.wrapping_sub(real).wrapping_add(PAGE_SIZE),
        b"size-none" => head.size = 0,
        b"version" => head.version += 1,
        b"random" => scramble(head),
        _ => {}
    }
    real
}

/// Random fields; on the `linux` target not those that the kernel has to believe there: where the vDSO is, and that pages
/// are zero.
fn scramble(head: &mut HostStart) {
    let honest = *head;
    let mut random = Random::new(settings::get().seed);
    let fields = random.number();
    for (i, word) in head.as_mut_bytes().chunks_mut(4).enumerate() {
        if fields >> (i % 64) & 1 != 0 {
            let value = random.nasty(honest.size, 0) as u32;
            word.copy_from_slice(&value.to_ne_bytes()[..word.len()]);
        }
    }
    head.version = honest.version;
    head.size = honest.size;
    if honest.flags & start::ZERO_PAGES != 0 {
        head.vdso = honest.vdso;
        head.flags |= start::ZERO_PAGES;
    }
}
