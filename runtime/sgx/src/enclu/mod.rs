//! The leaf functions of ENCLU, for the application and the enclave.

use mystikos_abi::sgx::enclu;

use crate::cpu::{rflags, Cpu};
use crate::enclave::Enclave;
use crate::epcm::Epc;
use crate::fault::{Fault, Status};

mod eaccept;
mod eacceptcopy;
mod edeccssa;
mod eenter;
mod eexit;
mod egetkey;
mod emodpe;
mod ereport;
mod eresume;

/// Bytes of the instruction: 0F 01 D7.
pub const ENCLU_SIZE: u64 = 3;

/// A leaf function, as EAX selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Leaf {
    Ereport = enclu::EREPORT,
    Egetkey = enclu::EGETKEY,
    Eenter = enclu::EENTER,
    Eresume = enclu::ERESUME,
    Eexit = enclu::EEXIT,
    Eaccept = enclu::EACCEPT,
    Emodpe = enclu::EMODPE,
    Eacceptcopy = enclu::EACCEPTCOPY,
    Edeccssa = enclu::EDECCSSA,
}

impl Leaf {
    /// The leaf function that EAX selects. EVERIFYREPORT2 belongs to TDX and is not there.
    pub const fn selected(eax: u32) -> Option<Self> {
        Some(match eax {
            enclu::EREPORT => Self::Ereport,
            enclu::EGETKEY => Self::Egetkey,
            enclu::EENTER => Self::Eenter,
            enclu::ERESUME => Self::Eresume,
            enclu::EEXIT => Self::Eexit,
            enclu::EACCEPT => Self::Eaccept,
            enclu::EMODPE => Self::Emodpe,
            enclu::EACCEPTCOPY => Self::Eacceptcopy,
            enclu::EDECCSSA => Self::Edeccssa,
            _ => return None,
        })
    }
}

impl<M: Epc> Enclave<M> {
    /// Executes the ENCLU (0F 01 D7) that RIP points at, with the leaf function in EAX.
    ///
    /// When it succeeds, RIP has advanced or is where the leaf function led to. When it faults, nothing has changed: the
    /// caller raises the exception, to the application if this was outside and by [`Enclave::aex`] if it was inside.
    pub fn enclu(&mut self, cpu: &mut Cpu<'_>) -> Result<Leaf, Fault> {
        // In 64-bit mode the upper half of RAX is ignored.
        let leaf = Leaf::selected(cpu.regs.rax as u32).ok_or(Fault::Gp)?;
        let enters = matches!(leaf, Leaf::Eenter | Leaf::Eresume);
        if enters == cpu.state.inside() {
            return Err(Fault::Gp);
        }
        match leaf {
            Leaf::Eenter => self.eenter(cpu)?,
            Leaf::Eresume => self.eresume(cpu)?,
            Leaf::Eexit => self.eexit(cpu)?,
            _ => {
                match leaf {
                    Leaf::Ereport => self.ereport(cpu)?,
                    Leaf::Egetkey => self.egetkey(cpu)?,
                    Leaf::Eaccept => self.eaccept(cpu)?,
                    Leaf::Emodpe => self.emodpe(cpu)?,
                    Leaf::Eacceptcopy => self.eacceptcopy(cpu)?,
                    _ => self.edeccssa(cpu)?,
                }
                cpu.regs.rip = cpu.regs.rip.wrapping_add(ENCLU_SIZE);
            }
        }
        Ok(leaf)
    }
}

impl Cpu<'_> {
    /// What a leaf function with an error code leaves: the code in RAX, ZF if there is one, the other status flags clear.
    pub(crate) fn complete(&mut self, result: Result<(), Status>) {
        let (code, zf) = match result {
            Ok(()) => (0, 0),
            Err(status) => (u64::from(status.code()), rflags::ZF),
        };
        self.regs.rax = code;
        self.regs.rflags = self.regs.rflags & !(rflags::STATUS | rflags::ZF) | zf;
    }
}

#[cfg(test)]
mod tests {
    use super::Leaf;
    use crate::testing::{Plan, Thread};
    use crate::Fault;

    const INSIDE: [Leaf; 7] = [
        Leaf::Ereport,
        Leaf::Egetkey,
        Leaf::Eexit,
        Leaf::Eaccept,
        Leaf::Emodpe,
        Leaf::Eacceptcopy,
        Leaf::Edeccssa,
    ];

    #[test]
    fn a_leaf_that_does_not_exist_is_gp() {
        let mut enclave = Plan::new().build();
        for leaf in [8, 10, 0xffff_ffff] {
            let mut thread = Thread::new();
            thread.regs.rax = leaf;
            assert_eq!(thread.enclu(&mut enclave), Err(Fault::Gp));
        }
    }

    #[test]
    fn the_upper_half_of_rax_is_ignored() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::new();
        thread.regs.rax = 0xdead_beef_0000_0002;
        assert_eq!(thread.enclu(&mut enclave), Ok(Leaf::Eenter));
    }

    #[test]
    fn leaves_for_the_enclave_are_gp_outside() {
        let mut enclave = Plan::new().build();
        for leaf in INSIDE {
            let done = Thread::new().leaf(&mut enclave, leaf);
            assert_eq!(done, Err(Fault::Gp), "{leaf:?}");
        }
    }

    #[test]
    fn leaves_that_enter_are_gp_inside() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        for leaf in [Leaf::Eenter, Leaf::Eresume] {
            assert_eq!(thread.leaf(&mut enclave, leaf), Err(Fault::Gp), "{leaf:?}");
        }
    }
}
