//! Requests that build an enclave (ioctl.c).

use libc::{EACCES, EBUSY, EFAULT, EINVAL, EIO, EPERM};
use mystikos_abi::sgx::{
    sigstruct, SecInfo, Secs, ATTRIBUTE_PROVISIONKEY, SECINFO_PT, SECINFO_R, SECINFO_REG,
    SECINFO_TCS, SECINFO_W, SECINFO_X,
};
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::sigstruct::SigStruct;
use mystikos_sgx::{Enclave, Epc, Failure, Processor};
use zerocopy::{FromBytes, IntoBytes};

use super::{Caller, Encl, Machine, Page};
use crate::protection::Prot;
use crate::refusal::{demand, refusal, Refusal, Result};
use crate::uapi::{AddPages, PAGE_MEASURE};

const PERMISSIONS: u64 = SECINFO_R | SECINFO_W | SECINFO_X;
const CHUNK: u64 = 256;
/// Where SIGSTRUCT holds its VENDOR.
const VENDOR: std::ops::Range<usize> = 16..20;

const NO_ARGUMENT: Refusal = refusal(EFAULT, "copy_from_user: a readable argument");
const NO_RESULT: Refusal = refusal(EFAULT, "copy_to_user: a writable argument");
const LOST: Refusal = refusal(EIO, "ENCLS: the EPC still holds what was put there");

/// Copies a structure in.
pub(super) fn copy_in<T: FromBytes + IntoBytes>(caller: &impl Caller, address: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    match caller.read(address, value.as_mut_bytes()) {
        true => Ok(value),
        false => Err(NO_ARGUMENT),
    }
}

/// Copies a structure out.
pub(super) fn copy_out<T: IntoBytes + zerocopy::Immutable>(
    caller: &mut impl Caller,
    address: u64,
    value: &T,
) -> Result {
    match caller.write(address, value.as_bytes()) {
        true => Ok(()),
        false => Err(NO_RESULT),
    }
}

impl<M: Epc> Encl<M> {
    /// sgx_ioc_enclave_create.
    pub(super) fn create<C: Caller<Memory = M>>(
        &mut self,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        demand(
            self.enclave.is_none(),
            EINVAL,
            "sgx_ioc_enclave_create: the enclave is created once",
        )?;
        let source: u64 = copy_in(caller, argument)?;
        let secs: Secs = copy_in(caller, source)?;
        demand(
            secs.size.is_power_of_two(),
            EINVAL,
            "sgx_encl_create: SECS.SIZE is a power of two",
        )?;
        self.grow(machine)?;
        machine.take(1)?;
        demand(!machine.lost, LOST.errno, LOST.rule)?;
        let memory = caller.memory(secs.size).ok_or(refusal(
            libc::ENOMEM,
            "sgx_encl_create: memory for the backing storage",
        ))?;
        machine.counts.ecreate += 1;
        let enclave = Enclave::ecreate(machine.processor.clone(), &secs, memory)
            .map_err(|_| refusal(EIO, "ECREATE: a SECS that the processor accepts"))?;
        self.enclave = Some(enclave);
        Ok(())
    }

    /// sgx_ioc_enclave_add_pages.
    pub(super) fn add_pages<C: Caller<Memory = M>>(
        &mut self,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        demand(
            self.enclave.is_some() && !self.initialised(),
            EINVAL,
            "sgx_ioc_enclave_add_pages: after CREATE and before INIT",
        )?;
        let mut add: AddPages = copy_in(caller, argument)?;
        demand(
            add.src.is_multiple_of(PAGE_SIZE),
            EINVAL,
            "sgx_ioc_enclave_add_pages: src is a multiple of a page",
        )?;
        self.check_range(add.offset, add.length)?;
        let secinfo: SecInfo = copy_in(caller, add.secinfo)?;
        check_secinfo(&secinfo)?;

        let length = machine
            .troubles
            .pages_at_once
            .map_or(add.length, |pages| add.length.min(pages * PAGE_SIZE));
        let mut result = Ok(());
        let mut done = 0;
        while done < length {
            result = self.add_page(
                add.src + done,
                add.offset + done,
                &secinfo,
                add.flags,
                caller,
                machine,
            );
            if result.is_err() {
                break;
            }
            done += PAGE_SIZE;
        }
        add.count = done;
        copy_out(caller, argument, &add)?;
        result
    }

    /// sgx_encl_add_page.
    fn add_page<C: Caller<Memory = M>>(
        &mut self,
        source: u64,
        offset: u64,
        secinfo: &SecInfo,
        flags: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        machine.take(1)?;
        let added = self
            .grow(machine)
            .and_then(|()| self.add_grown_page(source, offset, secinfo, flags, caller, machine));
        if added.is_err() {
            machine.free += 1;
        }
        added
    }

    fn add_grown_page<C: Caller<Memory = M>>(
        &mut self,
        source: u64,
        offset: u64,
        secinfo: &SecInfo,
        flags: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        demand(
            !self.pages.contains_key(&offset),
            EBUSY,
            "sgx_encl_add_page: a page is added once",
        )?;
        let may_execute = caller
            .may_execute(source)
            .ok_or(refusal(EFAULT, "__sgx_encl_add_page: src is mapped"))?;
        demand(
            may_execute && !machine.troubles.noexec,
            EACCES,
            "__sgx_encl_add_page: src may be executed (no noexec mount)",
        )?;
        let mut content = [0; PAGE_SIZE as usize];
        demand(
            caller.read(source, &mut content),
            EFAULT,
            "__sgx_encl_add_page: src is readable",
        )?;
        demand(!machine.lost, LOST.errno, LOST.rule)?;

        let Some(enclave) = &mut self.enclave else {
            return Err(LOST);
        };
        let linear = enclave.secs().baseaddr + offset;
        // A page of zeros is what the memory holds already.
        let content = Some(&content).filter(|content| content.iter().any(|&byte| byte != 0));
        machine.counts.eadd += 1;
        enclave
            .eadd(linear, *secinfo, content)
            .map_err(|_| refusal(EIO, "EADD: a page that the processor accepts"))?;
        let kind = (secinfo.flags & SECINFO_PT) >> 8;
        let max_prot = max_prot(secinfo.flags);
        self.pages.insert(offset, Page { max_prot, kind });
        if flags & PAGE_MEASURE != 0 {
            for at in (0..PAGE_SIZE).step_by(CHUNK as usize) {
                machine.counts.eextend += 1;
                enclave
                    .eextend(linear + at)
                    .map_err(|_| refusal(EIO, "EEXTEND: a page that was added"))?;
            }
        }
        Ok(())
    }

    /// sgx_ioc_enclave_init.
    pub(super) fn init<C: Caller<Memory = M>>(
        &mut self,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        demand(
            self.enclave.is_some() && !self.initialised(),
            EINVAL,
            "sgx_ioc_enclave_init: after CREATE, once",
        )?;
        let source: u64 = copy_in(caller, argument)?;
        let signature: [u8; sigstruct::SIZE] = copy_in(caller, source)?;
        demand(
            matches!(signature[VENDOR], [0, 0, 0, 0] | [0x86, 0x80, 0, 0]),
            EINVAL,
            "sgx_ioc_enclave_init: SIGSTRUCT.VENDOR is 0 or 0x8086",
        )?;
        let Some(enclave) = &mut self.enclave else {
            return Err(LOST);
        };
        demand(
            enclave.secs().attributes.flags & !self.attributes_mask == 0,
            EACCES,
            "sgx_encl_init: attributes that are allowed (PROVISION first)",
        )?;
        check_signed_attributes(&machine.processor, &SigStruct(&signature))?;
        demand(!machine.lost, LOST.errno, LOST.rule)?;
        machine.counts.einit += 1;
        enclave.einit(&signature).map_err(|failure| match failure {
            Failure::Fault(_) => refusal(EIO, "EINIT: no fault"),
            Failure::Status(status) => refusal(EPERM, status.name()),
        })
    }

    /// sgx_ioc_enclave_provision.
    pub(super) fn provision<C: Caller<Memory = M>>(&mut self, argument: u64, caller: &C) -> Result {
        let fd: u64 = copy_in(caller, argument)?;
        demand(
            caller.is_provision(u64::from(fd as u32)),
            EINVAL,
            "sgx_set_attribute: a descriptor of /dev/sgx_provision",
        )?;
        self.attributes_mask |= ATTRIBUTE_PROVISIONKEY;
        Ok(())
    }
}

/// sgx_validate_secinfo.
fn check_secinfo(secinfo: &SecInfo) -> Result {
    let kind = secinfo.flags & SECINFO_PT;
    let permissions = secinfo.flags & PERMISSIONS;
    demand(
        kind == SECINFO_REG || kind == SECINFO_TCS,
        EINVAL,
        "sgx_validate_secinfo: page type REG or TCS",
    )?;
    demand(
        permissions & SECINFO_W == 0 || permissions & SECINFO_R != 0,
        EINVAL,
        "sgx_validate_secinfo: W needs R",
    )?;
    demand(
        kind != SECINFO_TCS || permissions == 0,
        EINVAL,
        "sgx_validate_secinfo: a TCS has no permissions",
    )?;
    demand(
        secinfo.flags & !(PERMISSIONS | SECINFO_PT) == 0,
        EINVAL,
        "sgx_validate_secinfo: no other flags",
    )?;
    demand(
        secinfo.reserved == [0; 7],
        EINVAL,
        "sgx_validate_secinfo: reserved fields are zero",
    )
}

/// The part of sgx_encl_init that asks whether this processor can have what the signature demands.
fn check_signed_attributes(processor: &Processor, signed: &SigStruct<'_>) -> Result {
    let (attributes, mask) = (signed.attributes(), signed.attributemask());
    demand(
        attributes.flags & mask.flags & !processor.attributes == 0,
        EINVAL,
        "sgx_encl_init: the processor has the attributes that SIGSTRUCT demands",
    )?;
    demand(
        signed.miscselect() & signed.miscmask() & !processor.miscselect == 0,
        EINVAL,
        "sgx_encl_init: the processor has the MISCSELECT that SIGSTRUCT demands",
    )?;
    demand(
        attributes.xfrm & mask.xfrm & !processor.xcr0 == 0,
        EINVAL,
        "sgx_encl_init: the processor has the XFRM that SIGSTRUCT demands",
    )
}

/// vm_max_prot_bits (sgx_encl_page_alloc): the processor itself writes to a TCS.
fn max_prot(flags: u64) -> Prot {
    let prot = Prot::of_bits(flags);
    if flags & SECINFO_PT == SECINFO_TCS {
        prot | Prot::READ | Prot::WRITE
    } else {
        prot
    }
}
