//! Which way to run was asked for, and whether it can be had. Nothing unprotected ever runs silently.

use alloc::boxed::Box;

use crate::arguments::Process;
use crate::enclave::driver::Driver;
use crate::enclave::hardware::{self, Hardware};
use crate::enclave::software::Software;
use crate::failure::say;
use crate::package::Package;
use crate::{fail, Result};

/// The way to run.
pub enum Choice {
    /// In a plain process.
    Linux,
    /// In an enclave that this driver builds.
    Enclave(Box<dyn Driver>),
}

/// Decides by `MYST_TARGET`, else by the machine and the package. `MYST_SIM_GARBAGE=1` is for tests of the kernel.
pub fn choose(process: &Process, package: &Package<'_>) -> Result<Choice> {
    match process.variable(b"MYST_TARGET") {
        Some(b"linux") => {
            if !package.is_debug() {
                say(format_args!(
                    "MYST_TARGET=linux: this release package runs without any protection"
                ));
            }
            Ok(Choice::Linux)
        }
        Some(b"sim") => {
            if !package.is_debug() {
                say(format_args!("MYST_TARGET=sim: this release package runs in a simulated enclave, without any protection"));
            }
            let driver = match process.variable(b"MYST_SIM_GARBAGE") {
                Some(b"1") => Software::hostile(),
                _ => Software::default(),
            };
            Ok(Choice::Enclave(Box::new(driver)))
        }
        Some(b"sgx") => sgx(process),
        Some(other) => Err(fail!(
            "MYST_TARGET: got \"{}\", expected sgx, sim or linux",
            alloc::string::String::from_utf8_lossy(other)
        )),
        None => by_machine(process, package),
    }
}

fn sgx(process: &Process) -> Result<Choice> {
    Ok(Choice::Enclave(Box::new(Hardware::open(process.vdso)?)))
}

fn by_machine(process: &Process, package: &Package<'_>) -> Result<Choice> {
    if hardware::is_there() {
        return sgx(process);
    }
    if !package.is_debug() {
        return Err(fail!(
            "this is a release package (\"Debug\": 0) and this machine has no /dev/sgx_enclave; MYST_TARGET=linux runs it without any protection"
        ));
    }
    say(format_args!(
        "no SGX here: running this debug package without any protection"
    ));
    Ok(Choice::Linux)
}
