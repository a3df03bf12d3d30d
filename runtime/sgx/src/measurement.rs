//! MRENCLAVE as ECREATE, EADD and EEXTEND accumulate it (SDM volume 3D, 36.4.1, and these leaves).
//!
//! Every record is 64 bytes and every piece of data 256, so the hash always advances by whole blocks.

use sha2::{Digest, Sha256};

/// Bytes that one EEXTEND measures.
pub const CHUNK_SIZE: usize = 256;

/// A measurement under way.
#[derive(Clone)]
pub struct Measurement(Sha256);

impl Measurement {
    /// Begins with the record of ECREATE.
    pub fn ecreate(ssaframesize: u32, size: u64) -> Self {
        let mut record = [0; 64];
        record[..8].copy_from_slice(b"ECREATE\0");
        record[8..12].copy_from_slice(&ssaframesize.to_le_bytes());
        record[12..20].copy_from_slice(&size.to_le_bytes());
        Self(Sha256::new_with_prefix(record))
    }

    /// EADD of the page at `offset`; SECINFO's other 40 measured bytes are reserved and zero.
    pub fn eadd(&mut self, offset: u64, secinfo_flags: u64) {
        let mut record = eadd_record(secinfo_flags);
        record[8..16].copy_from_slice(&offset.to_le_bytes());
        self.0.update(record);
    }

    /// EADD of `count` pages in ascending order, many records at a time.
    pub fn eadd_run(&mut self, offset: u64, count: u64, secinfo_flags: u64) {
        const AT_ONCE: usize = 64;
        let mut records = [eadd_record(secinfo_flags); AT_ONCE];
        let mut page = 0;
        while page < count {
            let now = (count - page).min(AT_ONCE as u64);
            let records = &mut records[..now as usize];
            for (record, page) in records.iter_mut().zip(page..) {
                let offset = offset.wrapping_add(page * mystikos_abi::PAGE_SIZE);
                record[8..16].copy_from_slice(&offset.to_le_bytes());
            }
            self.0.update(records.as_flattened());
            page += now;
        }
    }

    /// EEXTEND of the bytes at `offset`, which are hashed where they lie.
    pub fn eextend(&mut self, offset: u64, data: &[u8; CHUNK_SIZE]) {
        let mut record = [0; 64];
        record[..8].copy_from_slice(b"EEXTEND\0");
        record[8..16].copy_from_slice(&offset.to_le_bytes());
        self.0.update(record);
        self.0.update(data);
    }

    /// MRENCLAVE if the enclave were complete now.
    pub fn mrenclave(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

fn eadd_record(secinfo_flags: u64) -> [u8; 64] {
    let mut record = [0; 64];
    record[..8].copy_from_slice(b"EADD\0\0\0\0");
    record[16..24].copy_from_slice(&secinfo_flags.to_le_bytes());
    record
}
