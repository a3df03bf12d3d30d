//! How a leaf function fails: by an exception, or by an error code in RAX with ZF set.

use core::fmt;

use mystikos_abi::sgx::{status, vector};

/// An exception that an instruction raises. Nothing has changed when one is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// #UD.
    Ud,
    /// #GP(0).
    Gp,
    /// #PF.
    Pf {
        /// Linear address.
        address: u64,
        /// Error code, with [`mystikos_abi::sgx::pfec::SGX`] if the EPCM is the cause.
        code: u32,
    },
}

impl Fault {
    /// The exception as AEX takes it, for a fault of an instruction inside.
    pub const fn exception(self) -> Exception {
        match self {
            Fault::Ud => Exception {
                vector: vector::UD,
                code: 0,
                address: 0,
            },
            Fault::Gp => Exception {
                vector: vector::GP,
                code: 0,
                address: 0,
            },
            Fault::Pf { address, code } => Exception {
                vector: vector::PF,
                code,
                address,
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Ud => f.write_str("#UD"),
            Fault::Gp => f.write_str("#GP(0)"),
            Fault::Pf { address, code } => write!(f, "#PF({code:#x}) at {address:#x}"),
        }
    }
}

/// An exception that ends a stay in the enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code; 0 for vectors without.
    pub code: u32,
    /// CR2, for #PF.
    pub address: u64,
}

/// An error code that a leaf function leaves in RAX (SDM volume 3D, table 38-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Status {
    InvalidSigStruct = status::INVALID_SIG_STRUCT,
    InvalidAttribute = status::INVALID_ATTRIBUTE,
    InvalidMeasurement = status::INVALID_MEASUREMENT,
    InvalidSignature = status::INVALID_SIGNATURE,
    EnclaveAct = status::ENCLAVE_ACT,
    InvalidEinitToken = status::INVALID_EINITTOKEN,
    PageAttributesMismatch = status::PAGE_ATTRIBUTES_MISMATCH,
    PageNotModifiable = status::PAGE_NOT_MODIFIABLE,
    InvalidCpuSvn = status::INVALID_CPUSVN,
    InvalidIsvSvn = status::INVALID_ISVSVN,
    InvalidKeyName = status::INVALID_KEYNAME,
}

impl Status {
    /// The value in RAX.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The SDM's name.
    pub const fn name(self) -> &'static str {
        match self {
            Status::InvalidSigStruct => "SGX_INVALID_SIG_STRUCT",
            Status::InvalidAttribute => "SGX_INVALID_ATTRIBUTE",
            Status::InvalidMeasurement => "SGX_INVALID_MEASUREMENT",
            Status::InvalidSignature => "SGX_INVALID_SIGNATURE",
            Status::EnclaveAct => "SGX_ENCLAVE_ACT",
            Status::InvalidEinitToken => "SGX_INVALID_EINITTOKEN",
            Status::PageAttributesMismatch => "SGX_PAGE_ATTRIBUTES_MISMATCH",
            Status::PageNotModifiable => "SGX_PAGE_NOT_MODIFIABLE",
            Status::InvalidCpuSvn => "SGX_INVALID_CPUSVN",
            Status::InvalidIsvSvn => "SGX_INVALID_ISVSVN",
            Status::InvalidKeyName => "SGX_INVALID_KEYNAME",
        }
    }
}

/// How an ENCLS leaf fails that also knows error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It raises an exception.
    Fault(Fault),
    /// It sets ZF and leaves a code in RAX.
    Status(Status),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Status(status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => f.write_str(status.name()),
            Failure::Fault(fault) => fault.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Fault, Status};

    #[test]
    fn failures_are_told_as_the_sdm_names_them() {
        let told = |failure: Failure| format!("{failure}");
        let status = Status::InvalidSigStruct;
        assert_eq!(told(status.into()), "SGX_INVALID_SIG_STRUCT");
        assert_eq!(told(Fault::Ud.into()), "#UD");
        assert_eq!(told(Fault::Gp.into()), "#GP(0)");
        let fault = Fault::Pf {
            address: 0x1000,
            code: 0x8007,
        };
        assert_eq!(told(fault.into()), "#PF(0x8007) at 0x1000");
    }
}
