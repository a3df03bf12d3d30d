//! `<asm/sgx.h>`: request numbers and argument structures of `/dev/sgx_enclave`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Requests, magic 0xA4.
#[allow(missing_docs)]
pub mod request {
    pub const CREATE: u32 = 0x4008_a400;
    pub const ADD_PAGES: u32 = 0xc030_a401;
    pub const INIT: u32 = 0x4008_a402;
    pub const PROVISION: u32 = 0x4008_a403;
    pub const RESTRICT_PERMISSIONS: u32 = 0xc028_a405;
    pub const MODIFY_TYPES: u32 = 0xc028_a406;
    pub const REMOVE_PAGES: u32 = 0xc018_a407;
}

/// The kernel's name of a request.
pub fn name(request: u32) -> &'static str {
    match request {
        request::CREATE => "SGX_IOC_ENCLAVE_CREATE",
        request::ADD_PAGES => "SGX_IOC_ENCLAVE_ADD_PAGES",
        request::INIT => "SGX_IOC_ENCLAVE_INIT",
        request::PROVISION => "SGX_IOC_ENCLAVE_PROVISION",
        request::RESTRICT_PERMISSIONS => "SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS",
        request::MODIFY_TYPES => "SGX_IOC_ENCLAVE_MODIFY_TYPES",
        request::REMOVE_PAGES => "SGX_IOC_ENCLAVE_REMOVE_PAGES",
        _ => "unknown",
    }
}

/// `struct sgx_enclave_add_pages`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddPages {
    /// Address of the content.
    pub src: u64,
    /// Offset of the first page from the enclave's base.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Address of a SECINFO.
    pub secinfo: u64,
    /// [`PAGE_MEASURE`] or 0.
    pub flags: u64,
    /// Out: bytes added.
    pub count: u64,
}

/// [`AddPages::flags`]: extend the measurement with the content.
pub const PAGE_MEASURE: u64 = 1;

/// `struct sgx_enclave_restrict_permissions`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RestrictPermissions {
    /// Offset of the first page from the enclave's base.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// SECINFO permission bits.
    pub permissions: u64,
    /// Out: EMODPR's error code.
    pub result: u64,
    /// Out: bytes changed.
    pub count: u64,
}

/// `struct sgx_enclave_modify_types`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ModifyTypes {
    /// Offset of the first page from the enclave's base.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Page type: 1 TCS, 4 TRIM.
    pub page_type: u64,
    /// Out: EMODT's error code.
    pub result: u64,
    /// Out: bytes changed.
    pub count: u64,
}

/// `struct sgx_enclave_remove_pages`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RemovePages {
    /// Offset of the first page from the enclave's base.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Out: bytes removed.
    pub count: u64,
}

// The size is part of a request's number (bits 29:16).
const _: () = {
    assert!(size_of::<AddPages>() == (request::ADD_PAGES >> 16 & 0x3fff) as usize);
    assert!(
        size_of::<RestrictPermissions>() == (request::RESTRICT_PERMISSIONS >> 16 & 0x3fff) as usize
    );
    assert!(size_of::<ModifyTypes>() == (request::MODIFY_TYPES >> 16 & 0x3fff) as usize);
    assert!(size_of::<RemovePages>() == (request::REMOVE_PAGES >> 16 & 0x3fff) as usize);
};
