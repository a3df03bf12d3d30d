//! Rights to a page: those of mmap(2), of SECINFO, and of the EPCM have the same bits.

use mystikos_sgx::Rights;

bitflags::bitflags! {
    /// PROT_READ, PROT_WRITE, PROT_EXEC.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Prot: u8 {
        /// Readable.
        const READ = 1;
        /// Writable.
        const WRITE = 2;
        /// Executable.
        const EXEC = 4;
    }
}

impl Prot {
    /// The rights among the bits of a word.
    pub fn of_bits(bits: u64) -> Prot {
        Prot::from_bits_truncate((bits & 7) as u8)
    }
}

impl From<Rights> for Prot {
    fn from(rights: Rights) -> Prot {
        let mut prot = Prot::empty();
        prot.set(Prot::READ, rights.read);
        prot.set(Prot::WRITE, rights.write);
        prot.set(Prot::EXEC, rights.execute);
        prot
    }
}
