//! The launcher: the part of a package that runs outside.
//!
//! It finds the sections of its own file, recomputes the measurement of what they hold, checks the signature, maps
//! everything to its place, enters the kernel, and answers its host calls. It is not trusted with the application's
//! secrets on the `sgx` target; on the `linux` target there is no protection and it says so.
//!
//! * [`arguments`]: the process's own command line, environment and auxiliary vector; the launcher's options.
//! * [`package`]: sections and descriptor of the package file.
//! * [`memory`]: the enclave's address range.
//! * [`measure`]: MRENCLAVE, recomputed.
//! * [`sigstruct`]: what EINIT checks of SIGSTRUCT.
//! * [`target`]: which way to run was asked for, and whether it can be had.
//! * [`start`]: the start-up block for the kernel; [`vdso`]: the host's clock functions in it.
//! * [`threads`]: host threads, entering the kernel.
//! * [`linux`]: the target of that name. [`enclave`]: the targets `sgx` and `sim`.
//! * [`signals`]: signals from outside; [`faults`]: what a signal says of an exception.
//! * [`hostcall`]: the kernel's requests; [`honest`]: how they are answered. [`stats`]: counts for `MYST_STATS`.
//! * [`failure`]: how the launcher says that it cannot.
//! * [`spin`]: a lock.
//! * [`sys`]: system calls that no library wraps without a C library.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod arguments;
pub mod enclave;
pub mod failure;
pub mod faults;
pub mod honest;
pub mod hostcall;
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod linux;
pub mod measure;
pub mod memory;
pub mod package;
pub mod signals;
pub mod sigstruct;
pub mod spin;
pub mod start;
pub mod stats;
pub mod sys;
pub mod target;
pub mod threads;
pub mod vdso;

pub use failure::{Failure, Result};
#[cfg(not(feature = "hostile"))]
pub use honest as conduct;
#[cfg(feature = "hostile")]
pub use hostile as conduct;
