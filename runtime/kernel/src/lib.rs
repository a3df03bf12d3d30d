//! A small Linux in a library: the application's system calls end here and never reach the host as such.
//!
//! Principles: ordinary safe Rust (what is unsafe lives in `mystikos_platform`); handlers copy in, act, copy out; rules
//! live in the subsystems, not in the handlers; what the host says is checked; errno for errno as Linux.
//!
//! * [`boot`]: from the first entry to the application's first instruction.
//! * [`config`]: the measured config record.
//! * [`syscall`]: the table as data, dispatch, tracing.
//! * [`fs`]: files, file systems, pipes, polling.
//! * [`mm`]: the address space.
//! * [`loader`]: ELF programs, the initial stack, binding of system calls.
//! * [`process`]: processes, threads, waiting, futexes.
//! * [`signal`]: actions, masks, delivery, faults.
//! * [`cpu`]: instructions that are illegal in an enclave.
//! * [`time`]: clocks and timers.
//! * [`net`]: local sockets.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod boot;
pub mod config;
pub mod cpu;
pub mod fs;
pub mod loader;
pub mod mm;
pub mod net;
pub mod process;
pub mod signal;
pub mod syscall;
pub mod time;

pub use mystikos_platform::Errno;

/// What system calls and most of the kernel answer.
pub type Result<T> = core::result::Result<T, Errno>;
