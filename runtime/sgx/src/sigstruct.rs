//! SIGSTRUCT: its fields, its form and its signature, as EINIT takes them (SDM volume 3D, 35.13 and EINIT).

use crypto_bigint::{Encoding, U3072};
use mystikos_abi::sgx::sigstruct::{
    ATTRIBUTES, ENCLAVEHASH, EXPONENT, ISVEXTPRODID, ISVFAMILYID, ISVPRODID, MISCSELECT, MODULUS,
    Q1, Q2, SIGNATURE, SIZE,
};
use mystikos_abi::sgx::Attributes;
use sha2::{Digest, Sha256};

const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

/// DER prefix of a SHA-256 DigestInfo (RFC 8017, 9.2).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// The 1808 bytes of a SIGSTRUCT, of which nothing is known yet.
#[derive(Clone, Copy)]
pub struct SigStruct<'a>(pub &'a [u8; SIZE]);

impl SigStruct<'_> {
    /// ENCLAVEHASH, the MRENCLAVE that is signed.
    pub fn enclavehash(&self) -> [u8; 32] {
        self.bytes(ENCLAVEHASH)
    }

    /// ATTRIBUTES.
    pub fn attributes(&self) -> Attributes {
        self.attributes_at(ATTRIBUTES)
    }

    /// ATTRIBUTEMASK.
    pub fn attributemask(&self) -> Attributes {
        self.attributes_at(ATTRIBUTES + 16)
    }

    /// MISCSELECT.
    pub fn miscselect(&self) -> u32 {
        self.half(MISCSELECT)
    }

    /// MISCMASK.
    pub fn miscmask(&self) -> u32 {
        self.half(MISCSELECT + 4)
    }

    /// ISVFAMILYID.
    pub fn isvfamilyid(&self) -> [u8; 16] {
        self.bytes(ISVFAMILYID)
    }

    /// ISVEXTPRODID.
    pub fn isvextprodid(&self) -> [u8; 16] {
        self.bytes(ISVEXTPRODID)
    }

    /// ISVPRODID.
    pub fn isvprodid(&self) -> u16 {
        u16::from_le_bytes(self.bytes(ISVPRODID))
    }

    /// ISVSVN.
    pub fn isvsvn(&self) -> u16 {
        u16::from_le_bytes(self.bytes(ISVPRODID + 2))
    }

    /// MRSIGNER: SHA-256 of MODULUS.
    pub fn mrsigner(&self) -> [u8; 32] {
        Sha256::digest(&self.0[MODULUS..MODULUS + 384]).into()
    }

    /// Whether headers, vendor and exponent are as they must be, and everything reserved zero. The CET bytes are not
    /// looked at: whether they are reserved depends on the processor.
    pub fn well_formed(&self) -> bool {
        let zero = |from: usize, to: usize| self.0[from..to].iter().all(|&b| b == 0);
        self.0[..16] == HEADER
            && self.0[24..40] == HEADER2
            && matches!(self.half(16), 0 | 0x8086)
            && self.half(EXPONENT) == 3
            && zero(44, 128)
            && zero(910, 912)
            && zero(992, 1008)
            && zero(1028, 1040)
    }

    /// RSA-3072 with exponent 3, PKCS#1 v1.5, SHA-256, proved by Q1 and Q2 as the processor does it:
    /// S² = Q1·M + R with R < M, and R·S = Q2·M + X with X < M, so that X = S³ mod M.
    pub fn signature_holds(&self) -> bool {
        let (modulus, signature) = (self.large(MODULUS), self.large(SIGNATURE));
        let (q1, q2) = (self.large(Q1), self.large(Q2));
        let Some(square) = remainder(&signature, &signature, &q1, &modulus) else {
            return false;
        };
        let Some(cube) = remainder(&square, &signature, &q2, &modulus) else {
            return false;
        };
        signature < modulus && cube.to_be_bytes() == self.padded()
    }

    /// The encoded message of EMSA-PKCS1-v1_5 over the signed bytes.
    fn padded(&self) -> [u8; 384] {
        let mut hash = Sha256::new();
        hash.update(&self.0[..128]);
        hash.update(&self.0[900..1028]);
        let mut message = [0xff; 384];
        message[0] = 0;
        message[1] = 1;
        message[332] = 0;
        message[333..352].copy_from_slice(&DIGEST_INFO);
        message[352..].copy_from_slice(&hash.finalize());
        message
    }

    fn attributes_at(&self, at: usize) -> Attributes {
        Attributes {
            flags: u64::from_le_bytes(self.bytes(at)),
            xfrm: u64::from_le_bytes(self.bytes(at + 8)),
        }
    }

    fn half(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn large(&self, at: usize) -> U3072 {
        U3072::from_le_slice(&self.0[at..at + 384])
    }

    /// `at` is one of the constants above, inside.
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }
}

/// `a·b − q·m`, if it lies in 0..m.
fn remainder(a: &U3072, b: &U3072, q: &U3072, m: &U3072) -> Option<U3072> {
    let (low, high) = a.mul_wide(b);
    let (q_low, q_high) = q.mul_wide(m);
    let (low, borrow) = low.sbb(&q_low, crypto_bigint::Limb::ZERO);
    let (high, borrow) = high.sbb(&q_high, borrow);
    (borrow.0 == 0 && high == U3072::ZERO && low < *m).then_some(low)
}
