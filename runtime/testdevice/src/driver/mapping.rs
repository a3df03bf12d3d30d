//! What may be mapped, and what a page fault comes to (driver.c, encl.c).

use std::ops::Range;

use libc::{EACCES, EINVAL, MAP_PRIVATE, MAP_TYPE};
use mystikos_abi::sgx::pfec;
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::{Access, Epc, Fault};

use super::{page_type, Encl, Machine, Page};
use crate::protection::Prot;
use crate::refusal::{demand, Result};

/// How a device file was opened.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// FMODE_READ.
    pub read: bool,
    /// FMODE_WRITE.
    pub write: bool,
}

/// What the kernel makes of a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The page is there now: the access is made again.
    Again,
    /// The access fails with #PF of this error code; as a signal it is SIGSEGV.
    Segv(u32),
    /// As [`Resolution::Segv`], but the signal is SIGBUS.
    Bus(u32),
}

impl<M: Epc> Encl<M> {
    /// What mmap(2) of the device file demands of its arguments, wherever the mapping lies.
    pub fn check_mmap(&self, prot: Prot, flags: i32, mode: Mode) -> Result {
        demand(
            flags & MAP_TYPE != MAP_PRIVATE,
            EINVAL,
            "sgx_get_unmapped_area: not MAP_PRIVATE",
        )?;
        demand(
            mode.read && (mode.write || !prot.contains(Prot::WRITE)),
            EACCES,
            "do_mmap: the device file is open for reading, and for writing if the mapping is",
        )
    }

    /// sgx_encl_may_map, for mmap(2) and mprotect(2).
    pub fn may_map(&self, range: &Range<u64>, prot: Prot, read_implies_exec: bool) -> Result {
        if let Some(elrange) = self.range().filter(|_| self.initialised()) {
            demand(
                range.start >= elrange.start && range.end <= elrange.end,
                EACCES,
                "sgx_encl_may_map: inside ELRANGE, after INIT",
            )?;
        }
        demand(
            !read_implies_exec,
            EACCES,
            "sgx_encl_may_map: not with the personality READ_IMPLIES_EXEC",
        )?;
        demand(
            self.pages_in(range)
                .all(|(_, page)| page.max_prot.contains(prot)),
            EACCES,
            "sgx_encl_may_map: no more rights than every page was added with",
        )
    }

    /// The pages that were added in a range of addresses.
    pub fn pages_in(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Page)> {
        let elrange = self.range().unwrap_or(0..0);
        let base = elrange.start;
        let offset = |address: u64| address.clamp(elrange.start, elrange.end) - base;
        self.pages
            .range(offset(range.start)..offset(range.end))
            .map(move |(offset, page)| (base + offset, page))
    }

    /// What code in the enclave can do with each page of a range that is mapped with `prot`: what neither page tables nor
    /// EPCM deny. Pages that are not named can not be reached.
    pub fn reachable<'a>(
        &'a self,
        range: &Range<u64>,
        prot: Prot,
        machine: &'a Machine,
    ) -> impl Iterator<Item = (u64, Prot)> + 'a {
        let granted = |page: u64| {
            self.enclave
                .as_ref()
                .map_or(Prot::empty(), |e| e.rights(page).into())
        };
        self.pages_in(range)
            .filter(move |(_, page)| !machine.lost && page.max_prot.contains(prot))
            .map(move |(linear, _)| (linear, prot & granted(linear)))
    }

    /// Whether the processor itself gets at a page by its linear address, as it must at a TCS or an SSA frame.
    pub fn is_mapped(&self, linear: u64, mapped: Option<Prot>) -> bool {
        let prot = mapped.unwrap_or_default();
        prot.contains(Prot::READ | Prot::WRITE)
            && self
                .page_at(linear)
                .is_some_and(|page| page.max_prot.contains(prot))
    }

    /// A page fault of code in the enclave at an address that is mapped as `mapped`, if at all (sgx_vma_fault).
    pub fn fault(
        &mut self,
        linear: u64,
        access: Access,
        mapped: Option<Prot>,
        machine: &mut Machine,
    ) -> Resolution {
        let kind = pfec::U
            | match access {
                Access::Read => 0,
                Access::Write => pfec::W,
                Access::Execute => pfec::I,
            };
        let wanted = match access {
            Access::Read => Prot::READ | Prot::WRITE | Prot::EXEC,
            Access::Write => Prot::WRITE,
            Access::Execute => Prot::EXEC,
        };
        let Some(prot) = mapped.filter(|prot| prot.intersects(wanted)) else {
            return Resolution::Segv(kind);
        };
        let Some(page) = self.page_at(linear).copied() else {
            return self.add_on_demand(linear, kind, machine);
        };
        if !page.max_prot.contains(prot) {
            return Resolution::Bus(kind);
        }
        if machine.lost {
            return Resolution::Segv(kind | pfec::P | pfec::SGX);
        }
        let checked = self
            .enclave
            .as_ref()
            .map(|e| e.check_access(linear, access));
        match checked {
            Some(Err(Fault::Pf { code, .. })) => Resolution::Segv(code),
            Some(Err(_)) | None => Resolution::Bus(kind),
            // Allowed meanwhile, by another thread.
            Some(Ok(())) => Resolution::Again,
        }
    }

    /// sgx_encl_eaug_page: a page that was not added comes into being when it is touched.
    fn add_on_demand(&mut self, linear: u64, kind: u32, machine: &mut Machine) -> Resolution {
        let offset = self
            .range()
            .map_or(0, |elrange| page_of(linear).wrapping_sub(elrange.start));
        let possible = machine.sgx2 && self.initialised() && !machine.lost;
        if !possible || machine.take(1).is_err() {
            return Resolution::Bus(kind);
        }
        let added = self.grow(machine).is_ok()
            && self
                .enclave
                .as_mut()
                .is_some_and(|enclave| enclave.eaug(page_of(linear)).is_ok());
        if !added {
            machine.free += 1;
            return Resolution::Bus(kind);
        }
        let page = Page {
            max_prot: Prot::all(),
            kind: page_type::REG,
        };
        self.pages.insert(offset, page);
        Resolution::Again
    }

    fn page_at(&self, linear: u64) -> Option<&Page> {
        let elrange = self.range().filter(|elrange| elrange.contains(&linear))?;
        self.pages.get(&(page_of(linear) - elrange.start))
    }
}

/// Start of the page that an address lies in.
pub const fn page_of(linear: u64) -> u64 {
    linear & !(PAGE_SIZE - 1)
}
