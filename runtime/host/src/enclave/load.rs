//! Replays the descriptor through a driver: ECREATE, EADD and EEXTEND in the order of the records, EINIT.

use alloc::boxed::Box;

use mystikos_abi::package::{RegionRecord, REGION_MEASURED, SOURCE_SECTION, SOURCE_TCS};
use mystikos_abi::sgx::{asked, Attributes, SecInfo, Secs, SECINFO_R, SECINFO_W};
use mystikos_abi::PAGE_SIZE;
use zerocopy::FromZeros;

use super::driver::{Content, Driver, PAGE};
use crate::memory::{self, Memory};
use crate::package::Package;
use crate::{measure, Result};

/// A page of the launcher's, as drivers want their sources.
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Builds the enclave; afterwards threads can enter it.
pub fn load(
    package: &Package<'_>,
    mut driver: Box<dyn Driver>,
) -> Result<(Memory, Box<dyn Driver>)> {
    let memory = memory::reserve(package)?;
    memory::note_user(memory, package);
    initialise(package, memory, &mut *driver)?;
    for region in &package.regions {
        let protection = match region.source {
            // Nobody but the processor uses it, and it wants the page mapped so.
            SOURCE_TCS => memory::protection(SECINFO_R | SECINFO_W),
            _ if memory::is_for_user(region) => memory::protection(0),
            _ => memory::protection(region.secinfo),
        };
        let size = region.page_count * PAGE_SIZE;
        driver.map(memory.base + region.offset, size, protection)?;
    }
    Ok((memory, driver))
}

/// From ECREATE to EINIT.
pub fn initialise(package: &Package<'_>, memory: Memory, driver: &mut dyn Driver) -> Result<()> {
    driver.create(memory, &secs(package, memory))?;
    for region in &package.regions {
        add(driver, package, memory, region)?;
    }
    driver.initialise(package, memory)
}

/// What ECREATE is asked for. XFRM is all that this machine has of what the signature leaves free.
fn secs(package: &Package<'_>, memory: Memory) -> Secs {
    let header = &package.header;
    Secs {
        size: header.enclave_size,
        baseaddr: memory.base,
        ssaframesize: header.ssa_frame_size,
        miscselect: header.miscselect,
        attributes: Attributes {
            flags: header.attributes,
            xfrm: xfrm(header.xfrm),
        },
        ..Secs::new_zeroed()
    }
}

/// Of the extended state that the signature leaves free, what this machine has enabled: AVX-512 only whole (SDM volume 1, 13.3).
fn xfrm(asked_for: u64) -> u64 {
    const AVX: u64 = 4;
    const AVX512: u64 = 0xe0;
    let free = crate::sys::xcr0() & !asked::XFRM_MASK;
    let whole = free & AVX512 == AVX512 && free & AVX != 0;
    asked_for | free & if whole { AVX | AVX512 } else { AVX }
}

fn add(
    driver: &mut dyn Driver,
    package: &Package<'_>,
    memory: Memory,
    region: &RegionRecord,
) -> Result<()> {
    let address = memory.base + region.offset;
    let secinfo = SecInfo::new(region.secinfo);
    let measured = region.flags & REGION_MEASURED != 0;
    match region.source {
        SOURCE_TCS => {
            let page = Page(measure::tcs(region));
            driver.add(address, secinfo, measured, Content::Pages(&page.0))
        }
        SOURCE_SECTION => {
            let (offset, size) = package.source(region);
            let (whole, tail) = package.file[offset..offset + size].split_at(size / PAGE * PAGE);
            if !whole.is_empty() {
                driver.add(address, secinfo, measured, Content::Pages(whole))?;
            }
            if tail.is_empty() {
                return Ok(());
            }
            // What follows the content in the file is not part of the region: its last page ends in zeros.
            let mut page = Page([0; PAGE]);
            page.0[..tail.len()].copy_from_slice(tail);
            let address = address + whole.len() as u64;
            driver.add(address, secinfo, measured, Content::Pages(&page.0))
        }
        _ => driver.add(
            address,
            secinfo,
            measured,
            Content::Zeros(region.page_count),
        ),
    }
}
