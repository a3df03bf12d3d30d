//! MRENCLAVE, recomputed from what is mapped.

use mystikos_abi::package::{RegionRecord, REGION_MEASURED, SOURCE_TCS};
use mystikos_abi::sgx::Tcs;
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::measurement::{Measurement, CHUNK_SIZE};
use zerocopy::IntoBytes;

use crate::package::Package;

/// The measurement of the package. `content(region)` is the memory of a measured region, whole pages.
pub fn mrenclave<'m>(
    package: &Package<'_>,
    content: impl Fn(&RegionRecord) -> &'m [u8],
) -> [u8; 32] {
    let header = &package.header;
    let mut measurement = Measurement::ecreate(header.ssa_frame_size, header.enclave_size);
    for region in &package.regions {
        let measured = region.flags & REGION_MEASURED != 0;
        if region.source == SOURCE_TCS && measured {
            add(&mut measurement, region, 0, &tcs(region));
        } else if measured {
            let pages = content(region).chunks_exact(PAGE_SIZE as usize);
            for (page, bytes) in (0..region.page_count).zip(pages) {
                add(&mut measurement, region, page, bytes);
            }
        } else {
            measurement.eadd_run(region.offset, region.page_count, region.secinfo);
        }
    }
    measurement.mrenclave()
}

/// EADD of one page, then its sixteen EEXTENDs. The data is hashed where it lies.
fn add(measurement: &mut Measurement, region: &RegionRecord, page: u64, content: &[u8]) {
    let offset = region.offset + page * PAGE_SIZE;
    measurement.eadd(offset, region.secinfo);
    let (chunks, _) = content.as_chunks::<CHUNK_SIZE>();
    for (at, chunk) in (offset..).step_by(CHUNK_SIZE).zip(chunks) {
        measurement.eextend(at, chunk);
    }
}

/// The TCS page that a record describes.
pub fn tcs(region: &RegionRecord) -> [u8; PAGE_SIZE as usize] {
    let tcs = Tcs {
        ossa: region.ossa,
        nssa: region.nssa,
        oentry: region.oentry,
        ofsbase: region.ofsbase,
        ogsbase: region.ogsbase,
        fslimit: u32::MAX,
        gslimit: u32::MAX,
        ..Tcs::default()
    };
    let mut page = [0; PAGE_SIZE as usize];
    page[..size_of::<Tcs>()].copy_from_slice(tcs.as_bytes());
    page
}
