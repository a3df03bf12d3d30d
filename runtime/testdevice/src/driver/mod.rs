//! The driver of `/dev/sgx_enclave` as a model: the rules of Linux's arch/x86/kernel/cpu/sgx (driver.c, ioctl.c, encl.c),
//! in its order, with its error numbers, on top of the software SGX.
//!
//! Nothing here knows of ptrace: what belongs to the calling process is behind [`Caller`].
//!
//! * [`build`]: CREATE, ADD_PAGES, INIT, PROVISION.
//! * [`modify`]: the requests of SGX2.
//! * [`mapping`]: mmap, mprotect and page faults.

pub mod build;
pub mod mapping;
pub mod modify;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libc::{EBUSY, EINVAL, ENOTTY};
use mystikos_abi::sgx::{ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_DEBUG, ATTRIBUTE_KSS, ATTRIBUTE_MODE64BIT};
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::{Enclave, Epc, Processor};

use crate::journal::Counts;
use crate::protection::Prot;
use crate::refusal::{demand, refusal, Result};
use crate::uapi::request;

/// The process that calls, as the kernel sees it.
pub trait Caller {
    /// Memory of an ELRANGE.
    type Memory: Epc;
    /// copy_from_user: false for EFAULT.
    fn read(&self, address: u64, to: &mut [u8]) -> bool;
    /// copy_to_user: false for EFAULT.
    fn write(&mut self, address: u64, from: &[u8]) -> bool;
    /// find_vma: whether the first mapping that ends above `address` has VM_MAYEXEC; `None` if there is none.
    fn may_execute(&mut self, address: u64) -> Option<bool>;
    /// `fd` is an open /dev/sgx_provision.
    fn is_provision(&self, fd: u64) -> bool;
    /// Memory for an ELRANGE of `size` bytes.
    fn memory(&mut self, size: u64) -> Option<Self::Memory>;
}

/// The machine below the driver.
pub struct Machine {
    /// What the processor supports.
    pub processor: Processor,
    /// The processor has the SGX2 leaves.
    pub sgx2: bool,
    /// Pages of the EPC.
    pub epc_pages: u64,
    /// Those that are free.
    pub free: u64,
    /// The machine has slept, and what was in the EPC is lost.
    pub lost: bool,
    /// What goes wrong.
    pub troubles: Troubles,
    /// Instructions that were executed.
    pub counts: Counts,
}

/// What goes wrong although the caller does everything right.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Error number of every other request, before anything is done.
    pub transient: Option<i32>,
    /// Requests so far.
    pub requests: u64,
    /// Pages that one request gets done at most, as when signals arrive.
    pub pages_at_once: Option<u64>,
    /// Every source of ADD_PAGES lies on a noexec mount.
    pub noexec: bool,
}

impl Machine {
    fn take(&mut self, pages: u64) -> Result {
        self.free = self.free.checked_sub(pages).ok_or(refusal(
            libc::ENOMEM,
            "sgx_alloc_epc_page: a free page of the EPC, and none can be reclaimed",
        ))?;
        Ok(())
    }
}

/// What the driver knows of a page besides the EPCM (`struct sgx_encl_page`).
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// vm_max_prot_bits.
    pub max_prot: Prot,
    /// SECINFO page type.
    pub kind: u64,
}

/// SECINFO page types without their shift.
pub mod page_type {
    #![allow(missing_docs)]
    pub const TCS: u64 = 1;
    pub const REG: u64 = 2;
    pub const TRIM: u64 = 4;
}

/// What users may ask for without /dev/sgx_provision (SGX_ATTR_UNPRIV_MASK).
const ATTRIBUTES_FOR_ALL: u64 =
    ATTRIBUTE_DEBUG | ATTRIBUTE_MODE64BIT | ATTRIBUTE_KSS | ATTRIBUTE_AEXNOTIFY;

/// Version array slots in a page of the EPC.
const VA_SLOTS: u64 = 512;

/// An open device file (`struct sgx_encl`).
pub struct Encl<M: Epc> {
    /// After CREATE.
    pub enclave: Option<Enclave<M>>,
    /// Pages by their offset.
    pub pages: BTreeMap<u64, Page>,
    attributes_mask: u64,
    /// Pages that version array slots were needed for (page_cnt).
    slots: u64,
    /// SGX_ENCL_IOCTL: a request is being served.
    busy: bool,
}

impl<M: Epc> Default for Encl<M> {
    fn default() -> Self {
        Encl {
            enclave: None,
            pages: BTreeMap::new(),
            attributes_mask: ATTRIBUTES_FOR_ALL,
            slots: 0,
            busy: false,
        }
    }
}

impl<M: Epc> Encl<M> {
    /// SGX_ENCL_INITIALIZED.
    pub fn initialised(&self) -> bool {
        self.enclave.as_ref().is_some_and(Enclave::initialised)
    }

    /// ELRANGE, after CREATE.
    pub fn range(&self) -> Option<std::ops::Range<u64>> {
        let secs = self.enclave.as_ref()?.secs();
        Some(secs.baseaddr..secs.baseaddr + secs.size)
    }

    /// Marks that a request is being served, as it is for other threads while one of them is in the kernel.
    pub fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// ioctl(2).
    pub fn ioctl<C: Caller<Memory = M>>(
        &mut self,
        request: u32,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        demand(!self.busy, EBUSY, "sgx_ioctl: one request at a time")?;
        let number = machine.troubles.requests;
        machine.troubles.requests += 1;
        if let Some(errno) = machine
            .troubles
            .transient
            .filter(|_| number.is_multiple_of(2))
        {
            return Err(refusal(errno, "trouble asked for: try again"));
        }
        match request {
            request::CREATE => self.create(argument, caller, machine),
            request::ADD_PAGES => self.add_pages(argument, caller, machine),
            request::INIT => self.init(argument, caller, machine),
            request::PROVISION => self.provision(argument, caller),
            request::RESTRICT_PERMISSIONS => self.restrict_permissions(argument, caller, machine),
            request::MODIFY_TYPES => self.modify_types(argument, caller, machine),
            request::REMOVE_PAGES => self.remove_pages(argument, caller, machine),
            _ => Err(refusal(ENOTTY, "sgx_ioctl: a request of this driver")),
        }
    }

    /// sgx_encl_grow: a slot in a version array page for one more page.
    fn grow(&mut self, machine: &mut Machine) -> Result {
        if self.slots.is_multiple_of(VA_SLOTS) {
            machine.take(1)?;
        }
        self.slots += 1;
        Ok(())
    }

    /// sgx_validate_offset_length.
    fn check_range(&self, offset: u64, length: u64) -> Result {
        let size = self.enclave.as_ref().map_or(0, |e| e.secs().size);
        let aligned = |value: u64| value.is_multiple_of(PAGE_SIZE);
        demand(
            aligned(offset),
            EINVAL,
            "sgx_validate_offset_length: offset is a multiple of a page",
        )?;
        demand(
            length != 0 && aligned(length),
            EINVAL,
            "sgx_validate_offset_length: length is a multiple of a page, and not 0",
        )?;
        demand(
            offset
                .checked_add(length)
                .is_some_and(|end| end - PAGE_SIZE < size),
            EINVAL,
            "sgx_validate_offset_length: the range ends in the enclave",
        )
    }
}
