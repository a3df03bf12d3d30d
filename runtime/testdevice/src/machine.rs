//! The machine that the options describe.

use std::arch::x86_64::__cpuid_count;

use mystikos_sgx::{Processor, XsaveLayout};

use crate::driver::{Machine, Troubles};
use crate::journal::Counts;
use crate::options::Options;
use crate::tracer::xcr0;

/// Makes it.
pub fn machine(options: &Options) -> Machine {
    let mut processor = Processor::simulated(xcr0());
    processor.xsave = XsaveLayout::of_machine(|subleaf| {
        let leaf = __cpuid_count(0xd, subleaf);
        (leaf.eax, leaf.ebx)
    });
    if options.sgx1 {
        processor.miscselect = 0;
    }
    if options.deny_launch {
        // The hash of nobody's key, and the driver cannot change it.
        processor.lepubkeyhash = Some([0; 32]);
    }
    Machine {
        processor,
        sgx2: !options.sgx1,
        epc_pages: options.epc_pages,
        free: options.epc_pages,
        lost: false,
        troubles: Troubles {
            transient: options.transient,
            requests: 0,
            pages_at_once: options.partial,
            noexec: options.noexec,
        },
        counts: Counts::default(),
    }
}
