//! A test device: `/dev/sgx_enclave` on machines without SGX, presented to a program from outside its process.
//!
//! `sgx-test-device -- program` runs the program under ptrace(2). What the program does with the device is checked
//! against the rules of Linux's driver and carried out by the software SGX; ENCLU instructions, which raise SIGILL, are
//! executed by it as well. The program is not changed and does not notice, so that a launcher's own code for SGX hardware
//! runs end to end. Nothing is protected: it is for tests, and no package contains it. Decision 15 tells how it works.
//!
//! * [`options`], [`start`], [`signals`]: the command line, the program's first instruction, signals for it.
//! * [`driver`]: the driver's rules, on the software SGX. [`uapi`]: its requests. [`refusal`]: how it says no.
//! * [`machine`]: what the processor and the EPC are like. [`memory`]: memory of an enclave.
//! * [`space`]: the device's mappings in a process. [`protection`]: rights.
//! * [`tracer`]: follows the program's threads. [`ptrace`]: what it uses for that. [`caller`]: a process that makes a
//!   request. [`files`]: open device files. [`vdso`]: the vDSO of a kernel with SGX. [`trap`]: exceptions behind signals.
//! * [`ticks`]: interrupts. [`journal`]: what happened.

pub mod caller;
pub mod driver;
pub mod files;
pub mod journal;
pub mod machine;
pub mod memory;
pub mod options;
pub mod protection;
pub mod ptrace;
pub mod refusal;
pub mod signals;
pub mod space;
pub mod start;
pub mod ticks;
pub mod tracer;
pub mod trap;
pub mod uapi;
pub mod vdso;
