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

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_INIT, ATTRIBUTE_KSS,
        ATTRIBUTE_MODE64BIT, ATTRIBUTE_PROVISIONKEY,
    };

    use crate::testing::{Plan, SIZE};
    use crate::{Fault, XsaveLayout};

    fn refused(edit: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::new();
        edit(&mut plan);
        assert_eq!(plan.create().err(), Some(Fault::Gp));
    }

    fn accepted(edit: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::new();
        edit(&mut plan);
        assert!(plan.create().is_ok());
    }

    #[test]
    fn fields_that_einit_sets_are_cleared() {
        let mut plan = Plan::new();
        plan.secs.mrenclave = [1; 32];
        plan.secs.mrsigner = [2; 32];
        (plan.secs.isvprodid, plan.secs.isvsvn) = (3, 4);
        let enclave = plan.create().expect("ECREATE");
        let secs = enclave.secs();
        assert_eq!((secs.mrenclave, secs.mrsigner), ([0; 32], [0; 32]));
        assert_eq!((secs.isvprodid, secs.isvsvn), (0, 0));
        assert!(!enclave.initialised());
    }

    #[test]
    fn xfrm_needs_x87_and_sse() {
        for xfrm in [0, 1, 2, 4, 6] {
            refused(|plan| plan.secs.attributes.xfrm = xfrm);
        }
        accepted(|plan| plan.secs.attributes.xfrm = 3);
    }

    #[test]
    fn xfrm_is_a_subset_of_what_the_processor_has() {
        refused(|plan| plan.secs.attributes.xfrm = 0x203);
        accepted(|plan| {
            plan.processor.xcr0 = 0x207;
            plan.secs.attributes.xfrm = 0x203;
        });
    }

    #[test]
    fn xfrm_is_a_value_that_xsetbv_accepts() {
        // A part of AVX-512, AVX-512 without AVX, a part of MPX, a part of AMX.
        for xfrm in [0x27, 0xe3, 0xb, 0x2_0003] {
            refused(|plan| {
                plan.processor.xcr0 = u64::MAX;
                plan.secs.ssaframesize = 4;
                plan.secs.attributes.xfrm = xfrm;
            });
        }
        for xfrm in [0xe7, 0x1b, 0x6_0003] {
            accepted(|plan| {
                plan.processor.xcr0 = u64::MAX;
                plan.secs.ssaframesize = 4;
                plan.secs.attributes.xfrm = xfrm;
            });
        }
    }

    #[test]
    fn miscselect_is_a_subset_of_what_the_processor_has() {
        refused(|plan| plan.secs.miscselect = 2);
        refused(|plan| {
            plan.processor.miscselect = 0;
            plan.secs.miscselect = 1;
        });
        accepted(|plan| plan.secs.miscselect = 0);
    }

    #[test]
    fn an_ssa_frame_holds_xsave_area_misc_region_and_gprsgx() {
        refused(|plan| plan.secs.ssaframesize = 0);
        // XSAVE area, GPRSGX and EXINFO fill 4096 bytes exactly, or need one more.
        for (size, misc, fits) in [
            (3320, 1, true),
            (3321, 1, false),
            (3336, 0, true),
            (3337, 0, false),
        ] {
            let edit = |plan: &mut Plan| {
                plan.processor.xsave = XsaveLayout::INTEL.with_component(2, 576, size);
                plan.secs.miscselect = misc;
            };
            if fits {
                accepted(edit);
            } else {
                refused(edit);
            }
        }
    }

    #[test]
    fn a_component_without_a_place_cannot_be_saved() {
        refused(|plan| plan.processor.xsave = XsaveLayout::INTEL.with_component(2, 0, 0));
    }

    #[test]
    fn the_base_of_a_64_bit_enclave_is_canonical() {
        refused(|plan| plan.secs.baseaddr = 0x8000_0000_0000);
        accepted(|plan| plan.secs.baseaddr = 0xffff_8000_0000_0000);
    }

    #[test]
    fn a_32_bit_enclave_lies_in_four_gigabytes() {
        let narrow = |plan: &mut Plan| plan.secs.attributes.flags &= !ATTRIBUTE_MODE64BIT;
        refused(narrow);
        accepted(|plan| {
            narrow(plan);
            plan.secs.baseaddr = 0x1000_0000;
        });
        refused(|plan| {
            narrow(plan);
            (plan.secs.baseaddr, plan.secs.size) = (0, 1 << 31);
        });
    }

    #[test]
    fn the_size_is_below_the_processors_limit() {
        refused(|plan| (plan.secs.baseaddr, plan.secs.size) = (0, 1 << 56));
        accepted(|plan| (plan.secs.baseaddr, plan.secs.size) = (0, 1 << 55));
    }

    #[test]
    fn the_size_is_a_power_of_two_and_at_least_two_pages() {
        for size in [0, 4096, 3 * 4096, SIZE + 4096] {
            refused(|plan| (plan.secs.baseaddr, plan.secs.size) = (0, size));
        }
        accepted(|plan| plan.secs.size = 8192);
    }

    #[test]
    fn the_base_is_aligned_to_the_size() {
        refused(|plan| plan.secs.baseaddr += SIZE / 2);
        accepted(|plan| plan.secs.baseaddr += SIZE);
    }

    #[test]
    fn attributes_are_a_subset_of_what_the_processor_has() {
        // INIT is the processor's to set; bits 3 and 6 (CET) and the upper ones are not there.
        for flag in [ATTRIBUTE_INIT, 8, 0x40, 0x100, 1 << 63] {
            refused(|plan| plan.secs.attributes.flags |= flag);
        }
        let known = ATTRIBUTE_PROVISIONKEY | ATTRIBUTE_EINITTOKENKEY | ATTRIBUTE_KSS;
        accepted(|plan| plan.secs.attributes.flags |= known | ATTRIBUTE_AEXNOTIFY);
    }

    #[test]
    fn reserved_fields_are_zero() {
        refused(|plan| plan.secs.reserved1[0] = 1);
        refused(|plan| plan.secs.reserved2[31] = 1);
        refused(|plan| plan.secs.reserved3[0] = 1);
        refused(|plan| plan.secs.reserved4[3833] = 1);
    }

    #[test]
    fn configid_and_configsvn_need_kss() {
        refused(|plan| plan.secs.configid[63] = 1);
        refused(|plan| plan.secs.configsvn = 1);
        accepted(|plan| *plan = Plan::with_kss());
    }
}
