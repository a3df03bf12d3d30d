//! A signer of enclaves, by an implementation of its own.

use std::collections::BTreeMap;
use std::sync::Mutex;

use mystikos_abi::sgx::Attributes;
use num_bigint::BigUint;
use sha2::{Digest, Sha256};

use crate::{Enclave, Epc};

/// A key made for these tests, and known to everyone.
const MODULUS: &str = "\
    c1dbea2081d529e64beaa06664e3e3fd0ef505a7e4931b07df8c5d81c67e0340d8dce1eefa18fd0bbbc9fe7530738943\
    11d6a982c0b171384d04fb235ad5ae70bb4695da883b8be30f4aa8c72864a40ba751da763687a8da97baa1f2b5baccbe\
    1b4bfe04b8e92d2626db8dff9f200128bcf3b985af966004f6194656c925d6cb2a08b98aa87b7523967c0f9ef6ac195f\
    21e77d61c1548457d905a7ab0616a05fdc0d94ac375facd5c5b668270f7e4ffedb3260999e479d23a28b7b2c89234abd\
    3f5552b0988aa45e647bd51f492abdeee7010c6954b02ad0d8e26ad07ac29e0e8c48da127f2e551b9a828a3b07e1a5b1\
    ddf8338f6a6277582385178f8a2d4e9448e5dc2d84caf2960edb81294d57aba49a7af953db3b26d96e95ccc1b6e3f5ca\
    d30dd03b302cdd984805b952a15db52cab5612232476103842a94c2735bac40fa5ebdb66bc5932c3deae925a6385cc3e\
    d7b07c287dd4bb097a809179e71ac62184ccce37b0138d7f2228713aae759482d96fe2dcccdb55aad378d2674193e1f1";
const PRIVATE_EXPONENT: &str = "\
    813d46c0568e1beedd4715999897ed535f4e03c5430cbcafea5d93abd9a9578090934149fc10a8b27d31544e204d062c\
    b68f1bac80764b7ade03521791e3c9a07cd9b93c5ad25d420a31c5da1aedc2b26f8be6f979afc5e70fd1c14c79273329\
    6787feadd09b736ec4925eaa6a15561b28a27bae750eeaadf9662ee4861939dcc6b07bb1c5a7a36d0efd5fbf4f1d663f\
    6befa8ebd638583a90ae6fc759646aea92b3b872cf951de3d924456f5fa98aa9e776eb11142fbe17c1b2521db0c231d2\
    567f52306821356c48a8d7aaa1e948520a81acd5605da88f9c693c4f3e0f5294173e012f7aa5ef729c6f27b8d343147b\
    b7d64adbb7825ea2ca17e16d1d6a09e875ba94afa494e9c351ee85350ae829d2ac41129e472004d211c418c0c187e8ef\
    cb70afd57acb1261d51190b5360f554007c2d98723f49d8a2f28cada208dfc63f95f8c5d65567219465ae6ffb79bac6b\
    d097d176141ad98e7878d35ea1b24b81fd2d06b60c671254983655c9be5aa0bdc7a1ee95f89419ffefed28711326e04b";

/// What is to be signed, as yet right for the enclave it was made for.
pub struct Signer {
    pub vendor: u32,
    pub miscselect: u32,
    pub miscmask: u32,
    pub attributes: Attributes,
    pub attributemask: Attributes,
    pub enclavehash: [u8; 32],
    pub isvprodid: u16,
    pub isvsvn: u16,
    pub isvfamilyid: [u8; 16],
    pub isvextprodid: [u8; 16],
    /// Single bytes that are set before signing.
    pub altered: Vec<(usize, u8)>,
}

impl Signer {
    /// For an enclave as it is loaded, with every mask bit set.
    pub fn of<M: Epc>(enclave: &Enclave<M>) -> Self {
        let secs = enclave.secs();
        Self {
            vendor: 0,
            miscselect: secs.miscselect,
            miscmask: u32::MAX,
            attributes: secs.attributes,
            attributemask: Attributes {
                flags: u64::MAX,
                xfrm: u64::MAX,
            },
            enclavehash: enclave.mrenclave(),
            isvprodid: 3,
            isvsvn: 4,
            isvfamilyid: [0; 16],
            isvextprodid: [0; 16],
            altered: Vec::new(),
        }
    }

    /// The signed SIGSTRUCT.
    pub fn sign(&self) -> [u8; 1808] {
        let mut s = [0; 1808];
        let mut put = |at: usize, bytes: &[u8]| s[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0]);
        put(16, &self.vendor.to_le_bytes());
        put(20, &0x2024_0229u32.to_le_bytes());
        put(24, &[1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1]);
        put(512, &3u32.to_le_bytes());
        put(900, &self.miscselect.to_le_bytes());
        put(904, &self.miscmask.to_le_bytes());
        put(912, &self.isvfamilyid);
        put(928, &self.attributes.flags.to_le_bytes());
        put(936, &self.attributes.xfrm.to_le_bytes());
        put(944, &self.attributemask.flags.to_le_bytes());
        put(952, &self.attributemask.xfrm.to_le_bytes());
        put(960, &self.enclavehash);
        put(1008, &self.isvextprodid);
        put(1024, &self.isvprodid.to_le_bytes());
        put(1026, &self.isvsvn.to_le_bytes());
        for &(at, byte) in &self.altered {
            s[at] = byte;
        }
        let [signature, q1, q2] = signature(&s);
        for (at, value) in [(128, modulus()), (516, signature), (1040, q1), (1424, q2)] {
            let bytes = value.to_bytes_le();
            s[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        s
    }
}

fn number(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).expect("hexadecimal")
}

fn modulus() -> BigUint {
    number(MODULUS)
}

/// SIGNATURE, Q1 and Q2. Most tests sign the same, so each is made once.
fn signature(s: &[u8; 1808]) -> [BigUint; 3] {
    static MADE: Mutex<BTreeMap<Vec<u8>, [BigUint; 3]>> = Mutex::new(BTreeMap::new());
    let digest = Sha256::new()
        .chain_update(&s[..128])
        .chain_update(&s[900..1028])
        .finalize()
        .to_vec();
    let mut made = MADE.lock().expect("no panic while locked");
    let make = || compute(&digest);
    made.entry(digest.clone()).or_insert_with(make).clone()
}

fn compute(digest: &[u8]) -> [BigUint; 3] {
    let modulus = modulus();
    // EMSA-PKCS1-v1_5: 00 01 FF… 00 DigestInfo.
    let mut message = vec![0, 1];
    message.resize(332, 0xff);
    message.extend(b"\0\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\0\x04\x20");
    message.extend(digest);
    let signature = BigUint::from_bytes_be(&message).modpow(&number(PRIVATE_EXPONENT), &modulus);
    let square = &signature * &signature;
    let q1 = &square / &modulus;
    let q2 = (square % &modulus) * &signature / &modulus;
    [signature, q1, q2]
}
