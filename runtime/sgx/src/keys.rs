//! Key derivation (SDM volume 3D, EGETKEY and table 38-66) and the MAC of reports.

use aes::Aes128;
use cmac::{Cmac, Mac};
use mystikos_abi::sgx::{keyname, Attributes};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::processor::Processor;

/// What a key depends on: the SDM's KEYDEPENDENCIES, without CET. PADDING is left out, since EINIT lets only one value
/// pass.
#[derive(Clone, Debug, FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct KeyDependencies {
    pub keyname: u16,
    pub keypolicy: u16,
    pub isvprodid: u16,
    pub isvsvn: u16,
    pub configsvn: u16,
    pub reserved: [u8; 6],
    pub miscselect: u32,
    pub miscmask: u32,
    /// 1 if the key depends on CR_SEAL_FUSES.
    pub seal_fuses: u64,
    pub attributes: Attributes,
    pub attributesmask: Attributes,
    pub sgxownerepoch: [u8; 16],
    pub cpusvn: [u8; 16],
    pub isvfamilyid: [u8; 16],
    pub isvextprodid: [u8; 16],
    pub mrenclave: [u8; 32],
    pub mrsigner: [u8; 32],
    pub keyid: [u8; 32],
    pub configid: [u8; 64],
}

/// Who can check a report: the target of EREPORT, or the enclave itself when it asks for its report key.
pub(crate) struct ReportTarget {
    pub attributes: Attributes,
    pub mrenclave: [u8; 32],
    pub miscselect: u32,
    pub configid: [u8; 64],
    pub configsvn: u16,
}

impl Processor {
    /// derivekey(KEYDEPENDENCIES).
    pub(crate) fn derive(&self, dependencies: &KeyDependencies) -> [u8; 16] {
        cmac(&self.root_key, dependencies.as_bytes())
    }

    /// The report key of a target.
    pub(crate) fn report_key(&self, target: &ReportTarget, keyid: [u8; 32]) -> [u8; 16] {
        self.derive(&KeyDependencies {
            keyname: keyname::REPORT,
            seal_fuses: 1,
            sgxownerepoch: self.owner_epoch,
            cpusvn: self.cpusvn,
            keyid,
            attributes: target.attributes,
            mrenclave: target.mrenclave,
            miscselect: target.miscselect,
            configid: target.configid,
            configsvn: target.configsvn,
            ..KeyDependencies::new_zeroed()
        })
    }
}

/// Lets the AES implementation ask the processor what it can do. It does so once, by CPUID, and where
/// [`crate::Enclave::enclu`] runs that may fault.
pub fn prepare() {
    let _ = cmac(&[0; 16], &[]);
}

/// AES-128 CMAC (RFC 4493).
pub(crate) fn cmac(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new(key.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::cmac;

    #[test]
    fn cmac_is_that_of_rfc_4493() {
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let empty = 0xbb1d_6929_e959_3728_7fa3_7d12_9b75_6746_u128.to_be_bytes();
        assert_eq!(cmac(&key, b""), empty);
        let block = 0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes();
        let mac = 0x070a_16b4_6b4d_4144_f79b_dd9d_d04a_287c_u128.to_be_bytes();
        assert_eq!(cmac(&key, &block), mac);
    }
}
