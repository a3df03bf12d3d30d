//! ECREATE.

use mystikos_abi::sgx::{
    ExInfo, GprSgx, Secs, ATTRIBUTE_KSS, ATTRIBUTE_MODE64BIT, MISCSELECT_EXINFO,
};
use mystikos_abi::PAGE_SIZE;

use crate::cpu::canonical;
use crate::enclave::Enclave;
use crate::epcm::{Epc, Epcm};
use crate::fault::Fault;
use crate::measurement::Measurement;
use crate::processor::{legal_xcr0, Processor};

impl<M: Epc> Enclave<M> {
    /// ECREATE: an enclave without pages. Fields that EINIT sets are cleared.
    pub fn ecreate(processor: Processor, secs: &Secs, memory: M) -> Result<Self, Fault> {
        if !acceptable(&processor, secs) {
            return Err(Fault::Gp);
        }
        let secs = Secs {
            mrenclave: [0; 32],
            mrsigner: [0; 32],
            isvprodid: 0,
            isvsvn: 0,
            ..*secs
        };
        Ok(Self {
            measurement: Measurement::ecreate(secs.ssaframesize, secs.size),
            processor,
            secs,
            isvfamilyid: [0; 16],
            isvextprodid: [0; 16],
            epcm: Epcm::default(),
            memory,
            active: 0,
        })
    }
}

fn acceptable(processor: &Processor, secs: &Secs) -> bool {
    extended_features(processor, secs)
        && secs.miscselect & !processor.miscselect == 0
        && frame_is_large_enough(processor, secs)
        && address_range(processor, secs)
        && secs.attributes.flags & !processor.attributes == 0
        && reserved_is_zero(secs)
        && (secs.attributes.flags & ATTRIBUTE_KSS != 0
            || secs.configid == [0; 64] && secs.configsvn == 0)
}

fn extended_features(processor: &Processor, secs: &Secs) -> bool {
    let xfrm = secs.attributes.xfrm;
    legal_xcr0(xfrm) && xfrm & !processor.xcr0 == 0
}

fn frame_is_large_enough(processor: &Processor, secs: &Secs) -> bool {
    let misc = if secs.miscselect & MISCSELECT_EXINFO != 0 {
        size_of::<ExInfo>()
    } else {
        0
    };
    processor
        .xsave
        .size(secs.attributes.xfrm)
        .is_some_and(|xsave| {
            let needed = (xsave + size_of::<GprSgx>() + misc) as u64;
            u64::from(secs.ssaframesize) * PAGE_SIZE >= needed
        })
}

fn address_range(processor: &Processor, secs: &Secs) -> bool {
    let below = |bits: u8| secs.size >> bits.min(63) == 0;
    let fits = if secs.attributes.flags & ATTRIBUTE_MODE64BIT != 0 {
        canonical(secs.baseaddr) && below(processor.max_size_64)
    } else {
        secs.baseaddr >> 32 == 0 && below(processor.max_size_32)
    };
    fits && secs.size >= 2 * PAGE_SIZE
        && secs.size.is_power_of_two()
        && secs.baseaddr.is_multiple_of(secs.size)
}

fn reserved_is_zero(secs: &Secs) -> bool {
    secs.reserved1 == [0; 24]
        && secs.reserved2 == [0; 32]
        && secs.reserved3 == [0; 32]
        && secs.reserved4.iter().all(|&byte| byte == 0)
}
