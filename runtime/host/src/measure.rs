//! MRENCLAVE, recomputed from what is mapped (SDM volume 3D: ECREATE, EADD, EEXTEND).
//!
//! Every record is 64 bytes and every piece of data 256, so the hash always advances by whole blocks and its compression
//! function is called on them directly.

use mystikos_abi::package::{RegionRecord, REGION_MEASURED, SOURCE_TCS};
use mystikos_abi::PAGE_SIZE;
use sha2::digest::generic_array::GenericArray;

use crate::package::Package;

/// SHA-256 over whole blocks.
struct Fold {
    state: [u32; 8],
    blocks: u64,
}

const INITIAL: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

impl Fold {
    fn blocks(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len().is_multiple_of(64));
        // SAFETY: a GenericArray of 64 bytes has the layout of [u8; 64], so a slice of whole blocks is a slice of them.
        let blocks = unsafe {
            core::slice::from_raw_parts(
                bytes.as_ptr().cast::<GenericArray<u8, _>>(),
                bytes.len() / 64,
            )
        };
        sha2::compress256(&mut self.state, blocks);
        self.blocks += blocks.len() as u64;
    }

    fn record(&mut self, tag: &[u8; 8], rest: &[u8]) {
        let mut block = [0; 64];
        block[..8].copy_from_slice(tag);
        block[8..8 + rest.len()].copy_from_slice(rest);
        self.blocks(&block);
    }

    fn finish(mut self) -> [u8; 32] {
        let bits = self.blocks * 512;
        let mut block = [0; 64];
        block[0] = 0x80;
        block[56..].copy_from_slice(&bits.to_be_bytes());
        self.blocks(&block);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

/// The measurement of the package. `content(region)` is the memory of a measured region, whole pages.
pub fn mrenclave<'m>(
    package: &Package<'_>,
    content: impl Fn(&RegionRecord) -> &'m [u8],
) -> [u8; 32] {
    let mut fold = Fold {
        state: INITIAL,
        blocks: 0,
    };
    let mut create = [0; 12];
    create[..4].copy_from_slice(&package.header.ssa_frame_size.to_le_bytes());
    create[4..].copy_from_slice(&package.header.enclave_size.to_le_bytes());
    fold.record(b"ECREATE\0", &create);
    for region in &package.regions {
        let measured = region.flags & REGION_MEASURED != 0;
        if region.source == SOURCE_TCS {
            add(&mut fold, region, 0, measured.then_some(&tcs(region)));
        } else if measured {
            let bytes = content(region);
            for (page, bytes) in (0..region.page_count).zip(bytes.chunks_exact(PAGE_SIZE as usize))
            {
                add(&mut fold, region, page, Some(bytes));
            }
        } else {
            add_unmeasured(&mut fold, region);
        }
    }
    fold.finish()
}

/// EADD of one page, then its sixteen EEXTENDs when it is measured. The data is hashed where it lies.
fn add(fold: &mut Fold, region: &RegionRecord, page: u64, content: Option<&[u8]>) {
    let offset = region.offset + page * PAGE_SIZE;
    let mut rest = [0; 16];
    rest[..8].copy_from_slice(&offset.to_le_bytes());
    rest[8..].copy_from_slice(&region.secinfo.to_le_bytes());
    fold.record(b"EADD\0\0\0\0", &rest);
    let Some(content) = content else { return };
    let mut record = [0; 64];
    record[..8].copy_from_slice(b"EEXTEND\0");
    for (at, bytes) in (offset..).step_by(256).zip(content.chunks_exact(256)) {
        record[8..16].copy_from_slice(&at.to_le_bytes());
        fold.blocks(&record);
        fold.blocks(bytes);
    }
}

/// EADD of pages that are not measured: records only, many at a time.
fn add_unmeasured(fold: &mut Fold, region: &RegionRecord) {
    const AT_ONCE: usize = 64;
    let mut records = [[0u8; 64]; AT_ONCE];
    for record in &mut records {
        record[..8].copy_from_slice(b"EADD\0\0\0\0");
        record[16..24].copy_from_slice(&region.secinfo.to_le_bytes());
    }
    let mut page = 0;
    while page < region.page_count {
        let count = AT_ONCE.min((region.page_count - page) as usize);
        for (record, page) in records[..count].iter_mut().zip(page..) {
            record[8..16].copy_from_slice(&(region.offset + page * PAGE_SIZE).to_le_bytes());
        }
        fold.blocks(records[..count].as_flattened());
        page += count as u64;
    }
}

/// The TCS page that a record describes (SDM volume 3D, 38.8).
pub fn tcs(region: &RegionRecord) -> [u8; PAGE_SIZE as usize] {
    let mut page = [0; PAGE_SIZE as usize];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &region.ossa.to_le_bytes());
    put(28, &region.nssa.to_le_bytes());
    put(32, &region.oentry.to_le_bytes());
    put(48, &region.ofsbase.to_le_bytes());
    put(56, &region.ogsbase.to_le_bytes());
    put(64, &u32::MAX.to_le_bytes());
    put(68, &u32::MAX.to_le_bytes());
    page
}
