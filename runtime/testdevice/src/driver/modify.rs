//! Requests of SGX2, which change pages of an enclave that runs (ioctl.c).

use libc::{EFAULT, EINVAL, ENODEV, EPERM};
use mystikos_abi::sgx::{SecInfo, SECINFO_R, SECINFO_W, SECINFO_X};
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::{Enclave, Epc, Failure, Fault};

use super::build::{copy_in, copy_out};
use super::{page_type, Caller, Encl, Machine, Page};
use crate::protection::Prot;
use crate::refusal::{demand, refusal, Refusal, Result};
use crate::uapi::{ModifyTypes, RemovePages, RestrictPermissions};

const PERMISSIONS: u64 = SECINFO_R | SECINFO_W | SECINFO_X;
const NO_PAGE: Refusal = refusal(EFAULT, "sgx_encl_load_page: a page that was added");

fn secinfo(flags: u64) -> SecInfo {
    SecInfo {
        flags,
        reserved: [0; 7],
    }
}

impl<M: Epc> Encl<M> {
    /// sgx_ioc_sgx2_ready.
    fn ready(&self, machine: &Machine) -> Result {
        demand(
            machine.sgx2,
            ENODEV,
            "sgx_ioc_sgx2_ready: a processor with SGX2",
        )?;
        demand(self.initialised(), EINVAL, "sgx_ioc_sgx2_ready: after INIT")
    }

    fn page(
        &mut self,
        offset: u64,
        machine: &Machine,
    ) -> Result<(&mut Enclave<M>, &mut Page, u64)> {
        demand(!machine.lost, NO_PAGE.errno, NO_PAGE.rule)?;
        let enclave = self.enclave.as_mut().ok_or(NO_PAGE)?;
        let page = self.pages.get_mut(&offset).ok_or(NO_PAGE)?;
        let linear = enclave.secs().baseaddr + offset;
        Ok((enclave, page, linear))
    }

    /// sgx_ioc_enclave_restrict_permissions.
    pub(super) fn restrict_permissions<C: Caller<Memory = M>>(
        &mut self,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        self.ready(machine)?;
        let mut params: RestrictPermissions = copy_in(caller, argument)?;
        self.check_range(params.offset, params.length)?;
        let permissions = params.permissions;
        demand(
            permissions & !PERMISSIONS == 0,
            EINVAL,
            "sgx_ioc_enclave_restrict_permissions: R, W and X only",
        )?;
        demand(
            permissions & SECINFO_W == 0 || permissions & SECINFO_R != 0,
            EINVAL,
            "sgx_ioc_enclave_restrict_permissions: W needs R",
        )?;
        demand(
            params.result == 0 && params.count == 0,
            EINVAL,
            "sgx_ioc_enclave_restrict_permissions: result and count are 0",
        )?;
        let (count, outcome) = self.each_page(
            params.offset,
            params.length,
            machine,
            |encl, offset, machine| encl.restrict_page(offset, permissions, machine),
        );
        params.count = count;
        params.result = outcome.map_or_else(|(status, _)| status, |()| 0);
        copy_out(caller, argument, &params)?;
        outcome.map_err(|(_, refusal)| refusal)
    }

    fn restrict_page(&mut self, offset: u64, permissions: u64, machine: &mut Machine) -> Changed {
        let (enclave, page, linear) = self.page(offset, machine)?;
        demand(
            page.kind == page_type::REG,
            EINVAL,
            "sgx_enclave_restrict_permissions: a regular page",
        )?;
        Ok(enclave.emodpr(linear, secinfo(permissions))?)
    }

    /// sgx_ioc_enclave_modify_types.
    pub(super) fn modify_types<C: Caller<Memory = M>>(
        &mut self,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        self.ready(machine)?;
        let mut params: ModifyTypes = copy_in(caller, argument)?;
        self.check_range(params.offset, params.length)?;
        demand(
            params.page_type & !0xff == 0,
            EINVAL,
            "sgx_ioc_enclave_modify_types: a page type",
        )?;
        demand(
            params.result == 0 && params.count == 0,
            EINVAL,
            "sgx_ioc_enclave_modify_types: result and count are 0",
        )?;
        let kind = params.page_type;
        let allowed = demand(
            kind == page_type::TCS || kind == page_type::TRIM,
            EINVAL,
            "sgx_enclave_modify_types: to TCS or TRIM",
        );
        let (count, outcome) = match allowed {
            Ok(()) => self.each_page(
                params.offset,
                params.length,
                machine,
                |encl, offset, machine| encl.modify_page(offset, kind, machine),
            ),
            Err(refusal) => (0, Err((0, refusal))),
        };
        params.count = count;
        params.result = outcome.map_or_else(|(status, _)| status, |()| 0);
        copy_out(caller, argument, &params)?;
        outcome.map_err(|(_, refusal)| refusal)
    }

    fn modify_page(&mut self, offset: u64, kind: u64, machine: &mut Machine) -> Changed {
        let (enclave, page, linear) = self.page(offset, machine)?;
        demand(
            page.kind == page_type::REG || (page.kind == page_type::TCS && kind == page_type::TRIM),
            EINVAL,
            "sgx_enclave_modify_types: a regular page, or a TCS to be trimmed",
        )?;
        let becomes_tcs = kind == page_type::TCS;
        if becomes_tcs {
            demand(
                page.max_prot.contains(Prot::READ | Prot::WRITE),
                EPERM,
                "sgx_enclave_modify_types: what becomes a TCS was readable and writable",
            )?;
        }
        enclave.emodt(linear, secinfo(kind << 8))?;
        if becomes_tcs {
            page.max_prot = Prot::READ | Prot::WRITE;
        }
        page.kind = kind;
        Ok(())
    }

    /// sgx_ioc_enclave_remove_pages.
    pub(super) fn remove_pages<C: Caller<Memory = M>>(
        &mut self,
        argument: u64,
        caller: &mut C,
        machine: &mut Machine,
    ) -> Result {
        self.ready(machine)?;
        let mut params: RemovePages = copy_in(caller, argument)?;
        self.check_range(params.offset, params.length)?;
        demand(
            params.count == 0,
            EINVAL,
            "sgx_ioc_enclave_remove_pages: count is 0",
        )?;
        let (count, outcome) =
            self.each_page(params.offset, params.length, machine, Self::remove_page);
        params.count = count;
        copy_out(caller, argument, &params)?;
        outcome.map_err(|(_, refusal)| refusal)
    }

    fn remove_page(&mut self, offset: u64, machine: &mut Machine) -> Changed {
        let (enclave, page, linear) = self.page(offset, machine)?;
        demand(
            page.kind == page_type::TRIM,
            EPERM,
            "sgx_encl_remove_pages: a trimmed page",
        )?;
        // EMODPR faults on a trimmed page once it was accepted; before, it says that it cannot be modified.
        let accepted = matches!(
            enclave.emodpr(linear, secinfo(PERMISSIONS)),
            Err(Failure::Fault(Fault::Pf { .. }))
        );
        demand(
            accepted,
            EPERM,
            "sgx_encl_remove_pages: the enclave has accepted it (EACCEPT)",
        )?;
        enclave.eremove(linear)?;
        self.pages.remove(&offset);
        machine.free += 1;
        Ok(())
    }

    /// Runs through a range until something fails: bytes done, and the failure with EMOD*'s error code.
    fn each_page(
        &mut self,
        offset: u64,
        length: u64,
        machine: &mut Machine,
        mut change: impl FnMut(&mut Self, u64, &mut Machine) -> Changed,
    ) -> (u64, std::result::Result<(), (u64, Refusal)>) {
        let mut done = 0;
        while done < length {
            if let Err(Cause { status, refusal }) = change(self, offset + done, machine) {
                return (done, Err((status, refusal)));
            }
            done += PAGE_SIZE;
        }
        (done, Ok(()))
    }
}

/// Why a page was not changed.
struct Cause {
    /// Error code of the leaf function, 0 for none.
    status: u64,
    refusal: Refusal,
}

type Changed = std::result::Result<(), Cause>;

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Self {
        Cause { status: 0, refusal }
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Status(status) => Cause {
                status: u64::from(status.code()),
                refusal: refusal(EFAULT, status.name()),
            },
            Failure::Fault(_) => Cause {
                status: 0,
                refusal: refusal(EFAULT, "ENCLS: no fault"),
            },
        }
    }
}
