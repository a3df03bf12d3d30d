//! Which way to run was asked for, and whether it can be had. Nothing unprotected ever runs silently.

use crate::arguments::Process;
use crate::failure::say;
use crate::package::Package;
use crate::{fail, Result};

/// Decides by `MYST_TARGET`, else by the machine and the package; returns when the `linux` target is to be used.
pub fn choose(process: &Process, package: &Package<'_>) -> Result<()> {
    match process.variable(b"MYST_TARGET") {
        Some(b"linux") => {
            if !package.is_debug() {
                say(format_args!("MYST_TARGET=linux: this release package runs without any protection"));
            }
            Ok(())
        }
        Some(b"sgx" | b"sim") => Err(fail!(
            "MYST_TARGET: the sgx and sim targets are not built yet; linux runs the package without protection"
        )),
        Some(other) => Err(fail!(
            "MYST_TARGET: got \"{}\", expected sgx, sim or linux",
            alloc::string::String::from_utf8_lossy(other)
        )),
        None => by_machine(package),
    }
}

fn by_machine(package: &Package<'_>) -> Result<()> {
    if rustix::fs::access(c"/dev/sgx_enclave", rustix::fs::Access::EXISTS).is_ok() {
        return Err(fail!(
            "this machine has SGX, but the sgx target is not built yet; MYST_TARGET=linux runs the package without protection"
        ));
    }
    if !package.is_debug() {
        return Err(fail!(
            "this is a release package (\"Debug\": 0) and this machine has no /dev/sgx_enclave; MYST_TARGET=linux runs it without any protection"
        ));
    }
    say(format_args!(
        "no SGX here: running this debug package without any protection"
    ));
    Ok(())
}
