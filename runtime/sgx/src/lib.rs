//! Software SGX: the processor's part of Intel SGX as a library, to the letter of the SDM (volume 3D).
//!
//! The launcher's `sim` target runs an enclave on it: the ENCLU instructions that the enclave executes trap, and signal
//! handlers call [`Enclave::enclu`] and [`Enclave::aex`]. The test device backs `/dev/sgx_enclave` with it from another
//! process. There is no secrecy in it: who can read the process can read the enclave, and every key comes from a
//! constant that everyone knows. It proves that the enclave and the path into it are right, on any machine.
//!
//! Principles:
//! * An [`Enclave`] is what the processor would hold: SECS, EPCM and measurement. It reaches the pages through [`Epc`],
//!   as the processor does, whatever page tables say. A thread's registers come and go in a [`Cpu`].
//! * Each leaf function is a file, and reads like its listing in the SDM: the checks in their order, then what changes.
//!   A leaf function that faults has changed nothing. Where a listing contradicts itself, a comment says what was taken.
//! * [`Enclave::enclu`] and [`Enclave::aex`] neither allocate nor panic: they run in signal handlers. They execute no CPUID
//!   either, once [`prepare_keys`] was called.
//! * The library has no lock. Whoever shares an enclave among threads has one, so that checks for concurrent use, and
//!   the errors they give, have no place here.
//!
//! Not built: CET; 32-bit mode (a 32-bit enclave can be created but not entered); paging of the EPC (EBLOCK, EWB, ELD,
//! VA pages) and with it ETRACK, since no translation outlives a change of the EPCM if the caller unmaps what
//! [`Enclave::rights`] no longer gives; EINIT tokens; debugger access (EDBGRD, EDBGWR); EVERIFYREPORT2.
//!
//! * `processor`: what the processor supports, and its keys.
//! * [`cpu`]: registers of a logical processor, the hidden ones included.
//! * `enclave`: the enclave, and how operands are checked.
//! * `epcm`: EPC and EPCM.
//! * `thread`: TCS and SSA frames; `xsave`: extended state in them.
//! * `encls`: ECREATE, EADD, EEXTEND, EINIT, EAUG, EMODPR, EMODT, EREMOVE.
//! * `enclu`: EENTER, ERESUME, EEXIT, EREPORT, EGETKEY, EACCEPT, EACCEPTCOPY, EMODPE, EDECCSSA.
//! * `aex`: asynchronous exits.
//! * `keys`: key derivation.
//! * [`measurement`] and [`sigstruct`]: MRENCLAVE and SIGSTRUCT, of use by themselves.
//! * `fault`: exceptions and error codes.
//! * `testing`: an enclave to build and a signer, for tests here and in other crates.

#![cfg_attr(not(any(test, feature = "testing")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aex;
pub mod cpu;
mod enclave;
mod encls;
mod enclu;
mod epcm;
mod fault;
mod keys;
pub mod measurement;
mod processor;
#[cfg(test)]
mod random;
pub mod sigstruct;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod thread;
mod xsave;

pub use cpu::{Cpu, LogicalProcessor, Registers};
pub use enclave::Enclave;
pub use enclu::{Leaf, ENCLU_SIZE};
pub use epcm::{Access, Epc, PageType, Rights};
pub use fault::{Exception, Failure, Fault, Status};
pub use keys::prepare as prepare_keys;
pub use processor::{Processor, SIMULATED_CPUSVN};
pub use xsave::XsaveLayout;
