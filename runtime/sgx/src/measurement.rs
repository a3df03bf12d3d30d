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

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, Tcs, SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_W, SECINFO_X,
    };
    use sha2::{Digest, Sha256};
    use zerocopy::IntoBytes;

    use super::{Measurement, CHUNK_SIZE};
    use crate::random::Numbers;
    use crate::testing::{tcs, Memory, Page, Plan, BASE, SIZE};
    use crate::Enclave;

    /// Measurements that a third implementation made (`tests/golden/measurements.py`).
    const KNOWN: &str = include_str!("../../../tests/golden/measurements.json");

    fn known(name: &str) -> String {
        let (_, rest) = KNOWN
            .split_once(&format!("\"{name}\": \""))
            .expect("a name");
        rest[..64].to_owned()
    }

    fn hexadecimal(measurement: &Measurement) -> String {
        let digest = measurement.mrenclave();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn page(measurement: &mut Measurement, offset: u64, flags: u64, content: &[u8]) {
        let mut bytes = [0; 4096];
        bytes[..content.len()].copy_from_slice(content);
        measurement.eadd(offset, flags);
        for (at, chunk) in (offset..).step_by(CHUNK_SIZE).zip(bytes.as_chunks().0) {
            measurement.eextend(at, chunk);
        }
    }

    #[test]
    fn ecreate_is_measured_as_known() {
        let small = Measurement::ecreate(1, 2 << 20);
        assert_eq!(hexadecimal(&small), known("nothing but ECREATE, 2 MiB"));
        let large = Measurement::ecreate(1, 1 << 37);
        assert_eq!(hexadecimal(&large), known("nothing but ECREATE, 128 GiB"));
    }

    #[test]
    fn eadd_is_measured_as_known() {
        let rwx = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_X;
        let mut one_by_one = Measurement::ecreate(1, 1 << 27);
        let mut at_once = one_by_one.clone();
        for number in 1..=20_000 {
            one_by_one.eadd(number * 4096, rwx);
        }
        at_once.eadd_run(4096, 20_000, rwx);
        assert_eq!(hexadecimal(&one_by_one), known("20000 added pages"));
        assert_eq!(hexadecimal(&at_once), known("20000 added pages"));
    }

    #[test]
    fn eextend_is_measured_as_known() {
        let content: Vec<u8> = (0..10_240u32).map(|i| i as u8).collect();
        let mut measurement = Measurement::ecreate(1, 2 << 20);
        for (number, content) in (0..).zip(content.chunks(4096)) {
            let flags = SECINFO_REG | SECINFO_R;
            page(&mut measurement, number * 4096, flags, content);
        }
        assert_eq!(hexadecimal(&measurement), known("10240 measured bytes"));
    }

    #[test]
    fn a_thread_is_measured_as_known() {
        let mut measurement = Measurement::ecreate(1, 2 << 20);
        let tcs = Tcs {
            ossa: 0x11000,
            oentry: 0x1234,
            ofsbase: 0x2000,
            ogsbase: 0x15000,
            ..tcs()
        };
        page(&mut measurement, 0x10000, SECINFO_TCS, tcs.as_bytes());
        let rw = SECINFO_REG | SECINFO_R | SECINFO_W;
        measurement.eadd_run(0x11000, 3, rw);
        assert_eq!(hexadecimal(&measurement), known("a thread"));
    }

    /// Any pages in any order, any parts of them measured, in any order.
    fn load(numbers: &mut Numbers, said: &mut Vec<u8>) -> Enclave<Memory> {
        let mut plan = Plan::new();
        plan.secs.ssaframesize = 1 + numbers.below(3) as u32;
        let mut enclave = plan.create().expect("ECREATE");
        said.extend(b"ECREATE\0");
        said.extend(plan.secs.ssaframesize.to_le_bytes());
        said.extend(SIZE.to_le_bytes());
        said.resize(64, 0);
        let mut free: Vec<u64> = (0..SIZE / 4096).collect();
        while !free.is_empty() && numbers.below(12) != 0 {
            let number = free.swap_remove(numbers.below(free.len() as u64) as usize);
            let page = any_page(numbers, BASE + number * 4096);
            enclave
                .eadd(page.linear, SecInfo::new(page.secinfo), Some(&page.content))
                .expect("EADD");
            let mut record = [0; 64];
            record[..4].copy_from_slice(b"EADD");
            record[8..16].copy_from_slice(&(number * 4096).to_le_bytes());
            record[16..24].copy_from_slice(&page.secinfo.to_le_bytes());
            said.extend(record);
            for _ in 0..numbers.below(5) {
                let at = numbers.below(16) * 256;
                enclave.eextend(page.linear + at).expect("EEXTEND");
                let mut record = [0; 64];
                record[..7].copy_from_slice(b"EEXTEND");
                record[8..16].copy_from_slice(&(number * 4096 + at).to_le_bytes());
                said.extend(record);
                said.extend(&page.content[at as usize..][..256]);
            }
        }
        enclave
    }

    fn any_page(numbers: &mut Numbers, linear: u64) -> Page {
        if numbers.below(4) == 0 {
            let mut tcs = tcs();
            tcs.oentry = numbers.below(1 << 20);
            return Page::new(linear, SECINFO_TCS, tcs.as_bytes());
        }
        let rights = [0, 1, 3, 4, 5, 7][numbers.below(6) as usize];
        let content: Vec<u8> = (0..4096).map(|_| numbers.below(256) as u8).collect();
        Page::new(linear, SECINFO_REG | rights, &content)
    }

    #[test]
    fn any_enclave_measures_as_sha_256_of_its_records() {
        for seed in 1..=64 {
            let mut said = Vec::new();
            let enclave = load(&mut Numbers::new(seed), &mut said);
            let expected: [u8; 32] = Sha256::digest(&said).into();
            assert_eq!(enclave.mrenclave(), expected, "seed {seed}");
        }
    }
}
