//! What EINIT checks of SIGSTRUCT, with messages for people.

use mystikos_sgx::sigstruct::SigStruct;

use crate::package::Package;
use crate::{fail, Result};

/// Checks signature, measurement and attributes; fails with the first thing that is wrong.
pub fn check(package: &Package<'_>, mrenclave: &[u8; 32]) -> Result<()> {
    let sigstruct = SigStruct(package.sigstruct);
    if !sigstruct.well_formed() {
        return Err(fail!(
            "refused: SIGSTRUCT is malformed, so nobody signed this package"
        ));
    }
    if !sigstruct.signature_holds() {
        return Err(fail!(
            "refused: the signature does not verify, so this is not what the signer signed"
        ));
    }
    if sigstruct.enclavehash() != *mrenclave {
        return Err(fail!(
            "refused: the content differs from what was signed (MRENCLAVE is {}, signed is {}); `myst verify` tells where",
            Hex(mrenclave),
            Hex(&sigstruct.enclavehash())
        ));
    }
    let header = &package.header;
    let fits = |signed: u64, mask: u64, asked: u64| signed & mask == asked & mask;
    let (signed, mask) = (sigstruct.attributes(), sigstruct.attributemask());
    if !fits(signed.flags, mask.flags, header.attributes)
        || !fits(signed.xfrm, mask.xfrm, header.xfrm)
        || !fits(
            u64::from(sigstruct.miscselect()),
            u64::from(sigstruct.miscmask()),
            u64::from(header.miscselect),
        )
    {
        return Err(fail!(
            "refused: the descriptor asks for other attributes than were signed"
        ));
    }
    Ok(())
}

/// Bytes in hexadecimal.
pub struct Hex<'a>(pub &'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
