//! EMODPE.

use mystikos_abi::sgx::{SECINFO_R, SECINFO_W, SECINFO_X};
use mystikos_abi::PAGE_SIZE;

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::Fault;

impl<M: Epc> Enclave<M> {
    /// EMODPE: adds the permissions in the SECINFO at RBX to the page at RCX. Flags and RAX stay.
    pub(crate) fn emodpe(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let (rbx, rcx) = (cpu.regs.rbx, cpu.regs.rcx);
        self.aligned(rbx, 64)?;
        let offset = self.aligned(rcx, PAGE_SIZE)?;
        self.resolve(rbx, Access::Read)?;
        let entry = self.resolve(rcx, Access::Read)?;
        let secinfo = self.read_secinfo(rbx)?;
        if secinfo.flags & !SECINFO_DEFINED != 0 || secinfo.reserved != [0; 7] {
            return Err(Fault::Gp);
        }
        if !entry.settled(PageType::Reg) {
            return Err(entry.page_fault(rcx, Access::Read));
        }
        let flags = entry.flags() | secinfo.flags & (SECINFO_R | SECINFO_W | SECINFO_X);
        if flags & (SECINFO_R | SECINFO_W) == SECINFO_W {
            return Err(Fault::Gp);
        }
        self.epcm.update(offset, Entry::new(flags));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, SECINFO_PR, SECINFO_R, SECINFO_REG, SECINFO_TRIM, SECINFO_W, SECINFO_X,
    };
    use zerocopy::IntoBytes;

    use crate::testing::{
        absent_fault, epcm_fault, poke, Operand, Plan, Thread, ABSENT, BASE, DATA, READ_ONLY, SIZE,
        TCS,
    };
    use crate::{Fault, Leaf, Rights};

    const SECINFO: u64 = DATA + 0x40;

    fn extend(linear: u64, flags: u64) -> Result<Option<u64>, Fault> {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        poke(&mut enclave, SECINFO, SecInfo::new(flags).as_bytes());
        thread.call(&mut enclave, Leaf::Emodpe, [SECINFO, linear, 0])?;
        Ok(enclave.secinfo_flags(linear))
    }

    #[test]
    fn permissions_are_added_and_none_taken() {
        let flags = SECINFO_REG | SECINFO_R | SECINFO_X;
        assert_eq!(extend(READ_ONLY, SECINFO_X), Ok(Some(flags)));
        let all = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_X;
        assert_eq!(extend(DATA, SECINFO_X), Ok(Some(all)));
        let flags = SECINFO_REG | SECINFO_R;
        assert_eq!(extend(READ_ONLY, 0), Ok(Some(flags)));
    }

    #[test]
    fn no_register_or_flag_changes_but_rip() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rflags |= 0x8d5;
        let mut before = thread.clone();
        let operands = [SECINFO, READ_ONLY, 0];
        thread
            .call(&mut enclave, Leaf::Emodpe, operands)
            .expect("EMODPE");
        (before.regs.rbx, before.regs.rcx, before.regs.rdx) = (SECINFO, READ_ONLY, 0);
        (before.regs.rax, before.regs.rip) = (6, before.regs.rip + 3);
        assert_eq!(thread, before);
    }

    #[test]
    fn a_restriction_that_waits_for_eaccept_goes_on_waiting() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        poke(&mut enclave, SECINFO, SecInfo::new(SECINFO_R).as_bytes());
        enclave.emodpr(READ_ONLY, SecInfo::new(0)).expect("EMODPR");
        assert_eq!(enclave.rights(READ_ONLY), Rights::default());
        let operands = [SECINFO, READ_ONLY, 0];
        thread
            .call(&mut enclave, Leaf::Emodpe, operands)
            .expect("EMODPE");
        let flags = SECINFO_REG | SECINFO_R | SECINFO_PR;
        assert_eq!(enclave.secinfo_flags(READ_ONLY), Some(flags));
    }

    #[test]
    fn secinfo_is_aligned_in_the_enclave_and_readable() {
        let operand = Operand {
            leaf: Leaf::Emodpe,
            right: [SECINFO, DATA, 0],
            index: 0,
            align: 64,
            write: false,
        };
        operand.is_checked();
    }

    #[test]
    fn reserved_fields_of_secinfo_are_zero() {
        assert_eq!(extend(DATA, SECINFO_R | 0x40), Err(Fault::Gp));
        assert_eq!(extend(DATA, SECINFO_R | 1 << 16), Err(Fault::Gp));
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        poke(&mut enclave, SECINFO + 63, &[1]);
        let done = thread.call(&mut enclave, Leaf::Emodpe, [SECINFO, DATA, 0]);
        assert_eq!(done, Err(Fault::Gp));
    }

    #[test]
    fn the_page_is_aligned_and_in_elrange() {
        for linear in [DATA + 0x800, BASE - 0x1000, BASE + SIZE] {
            assert_eq!(extend(linear, SECINFO_R), Err(Fault::Gp));
        }
    }

    #[test]
    fn the_page_is_regular_and_there() {
        assert_eq!(extend(ABSENT, SECINFO_R), Err(absent_fault(ABSENT, false)));
        assert_eq!(extend(TCS, SECINFO_R), Err(epcm_fault(TCS, false)));
    }

    #[test]
    fn a_page_that_is_pending_or_modified_cannot_be_extended() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        enclave.eaug(ABSENT).expect("EAUG");
        enclave
            .emodt(READ_ONLY, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        for linear in [ABSENT, READ_ONLY] {
            let done = thread.call(&mut enclave, Leaf::Emodpe, [SECINFO, linear, 0]);
            assert_eq!(done, Err(epcm_fault(linear, false)));
        }
    }

    #[test]
    fn writing_needs_reading() {
        let mut plan = Plan::new();
        plan.page(READ_ONLY).secinfo = SECINFO_REG;
        let mut enclave = plan.build();
        let mut thread = Thread::inside(&mut enclave);
        for (flags, expected) in [(SECINFO_W, Err(Fault::Gp)), (SECINFO_R | SECINFO_W, Ok(()))] {
            poke(&mut enclave, SECINFO, SecInfo::new(flags).as_bytes());
            let done = thread.call(&mut enclave, Leaf::Emodpe, [SECINFO, READ_ONLY, 0]);
            assert_eq!(done, expected);
        }
    }

    #[test]
    fn checks_come_in_their_order() {
        let mut plan = Plan::new();
        plan.page(READ_ONLY).secinfo = SECINFO_REG;
        let mut enclave = plan.build();
        let thread = Thread::inside(&mut enclave);
        let reserved = DATA + 0x80;
        poke(&mut enclave, reserved, SecInfo::new(0x40).as_bytes());
        poke(&mut enclave, SECINFO, SecInfo::new(SECINFO_W).as_bytes());
        for (operands, fault) in [
            ([ABSENT, DATA + 8], Fault::Gp),
            ([ABSENT, BASE + SIZE], Fault::Gp),
            ([ABSENT, ABSENT + 0x1000], absent_fault(ABSENT, false)),
            ([READ_ONLY, ABSENT], absent_fault(ABSENT, false)),
            ([READ_ONLY, TCS], epcm_fault(READ_ONLY, false)),
            ([reserved, TCS], Fault::Gp),
            ([SECINFO, TCS], epcm_fault(TCS, false)),
        ] {
            let [rbx, rcx] = operands;
            let done = thread
                .clone()
                .call(&mut enclave, Leaf::Emodpe, [rbx, rcx, 0]);
            assert_eq!(done, Err(fault), "{operands:x?}");
        }
    }
}
