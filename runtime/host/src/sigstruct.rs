//! What EINIT checks of SIGSTRUCT (SDM volume 3D, 38.13 and EINIT).

use crypto_bigint::{Encoding, U3072};
use mystikos_abi::sgx::sigstruct::{
    ATTRIBUTES, ENCLAVEHASH, EXPONENT, MISCSELECT, MODULUS, Q1, Q2, SIGNATURE, SIZE,
};
use sha2::{Digest, Sha256};

use crate::package::Package;
use crate::{fail, Result};

const HEADER: [u8; 12] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0];
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

/// DER prefix of a SHA-256 DigestInfo (RFC 8017, 9.2).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// Checks signature, measurement and attributes; fails with the first thing that is wrong.
pub fn check(package: &Package<'_>, mrenclave: &[u8; 32]) -> Result<()> {
    let sigstruct = package.sigstruct;
    if !well_formed(sigstruct) {
        return Err(fail!(
            "refused: SIGSTRUCT is malformed, so nobody signed this package"
        ));
    }
    if !signature_holds(sigstruct) {
        return Err(fail!(
            "refused: the signature does not verify, so this is not what the signer signed"
        ));
    }
    if sigstruct[ENCLAVEHASH..ENCLAVEHASH + 32] != *mrenclave {
        return Err(fail!(
            "refused: the content differs from what was signed (MRENCLAVE is {}, signed is {}); `myst verify` tells where",
            Hex(mrenclave),
            Hex(&sigstruct[ENCLAVEHASH..ENCLAVEHASH + 32])
        ));
    }
    let header = &package.header;
    let fits = |signed: u64, mask: u64, asked: u64| signed & mask == asked & mask;
    if !fits(
        word(sigstruct, ATTRIBUTES),
        word(sigstruct, ATTRIBUTES + 16),
        header.attributes,
    ) || !fits(
        word(sigstruct, ATTRIBUTES + 8),
        word(sigstruct, ATTRIBUTES + 24),
        header.xfrm,
    ) || !fits(
        u64::from(half(sigstruct, MISCSELECT)),
        u64::from(half(sigstruct, MISCSELECT + 4)),
        u64::from(header.miscselect),
    ) {
        return Err(fail!(
            "refused: the descriptor asks for other attributes than were signed"
        ));
    }
    Ok(())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from(half(bytes, at)) | u64::from(half(bytes, at + 4)) << 32
}

fn well_formed(s: &[u8; SIZE]) -> bool {
    let zero = |from: usize, to: usize| s[from..to].iter().all(|&b| b == 0);
    s[..12] == HEADER
        && s[24..40] == HEADER2
        && matches!(half(s, 16), 0 | 0x8086)
        && half(s, EXPONENT) == 3
        && zero(44, 128)
        && zero(910, 912)
        && zero(992, 1008)
        && zero(1028, 1040)
}

fn large(s: &[u8; SIZE], at: usize) -> U3072 {
    U3072::from_le_slice(&s[at..at + 384])
}

/// RSA-3072 with exponent 3, PKCS#1 v1.5, SHA-256, proved by Q1 and Q2 as the processor does it:
/// S² = Q1·M + R with R < M, and R·S = Q2·M + X with X < M, so that X = S³ mod M.
fn signature_holds(s: &[u8; SIZE]) -> bool {
    let (modulus, signature) = (large(s, MODULUS), large(s, SIGNATURE));
    let (q1, q2) = (large(s, Q1), large(s, Q2));
    let Some(square) = remainder(&signature, &signature, &q1, &modulus) else {
        return false;
    };
    let Some(cube) = remainder(&square, &signature, &q2, &modulus) else {
        return false;
    };
    signature < modulus && cube.to_be_bytes() == padded(s)
}

/// `a·b − q·m`, if it lies in 0..m.
fn remainder(a: &U3072, b: &U3072, q: &U3072, m: &U3072) -> Option<U3072> {
    let (low, high) = a.mul_wide(b);
    let (q_low, q_high) = q.mul_wide(m);
    let (low, borrow) = low.sbb(&q_low, crypto_bigint::Limb::ZERO);
    let (high, borrow) = high.sbb(&q_high, borrow);
    (borrow.0 == 0 && high == U3072::ZERO && low < *m).then_some(low)
}

/// The encoded message of EMSA-PKCS1-v1_5 over the signed bytes.
fn padded(s: &[u8; SIZE]) -> [u8; 384] {
    let mut hash = Sha256::new();
    hash.update(&s[..128]);
    hash.update(&s[900..1028]);
    let mut message = [0xff; 384];
    message[0] = 0;
    message[1] = 1;
    message[332] = 0;
    message[333..352].copy_from_slice(&DIGEST_INFO);
    message[352..].copy_from_slice(&hash.finalize());
    message
}

/// Bytes in hexadecimal.
pub struct Hex<'a>(pub &'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
