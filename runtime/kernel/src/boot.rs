//! From the first entry to the application's first instruction.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mystikos_platform::exception::Trap;
use mystikos_platform::start::Start;
use mystikos_platform::{control, enclave, host, memory, Kernel};

use crate::config::{self, Config};
use crate::process::Thread;
use crate::{fs, loader, mm, process, signal, syscall, Errno, Result};

/// The kernel, as the platform calls it.
pub struct MystKernel;

impl Kernel for MystKernel {
    fn boot(start: Start) {
        let layout = memory::layout();
        let config = config::init(layout.config_record());
        control::set_vdso(start.head().vdso);
        mm::init(layout, start.has(host::start_flags::ZERO_PAGES));
        syscall::trace::init(&start, config);
        fs::init(layout.rootfs());
        let thread = process::init(&start, config);

        if let Err(error) = start_application(&thread, &start, config) {
            fail(&config.application_path, error);
        }
    }

    fn thread() {
        process::thread::enter_new();
    }

    fn system_call() {
        syscall::dispatch();
    }

    fn trap(trap: Trap) {
        signal::fault::handle(trap);
    }

    fn work() {
        signal::delivery::work();
    }
}

fn start_application(thread: &Arc<Thread>, start: &Start, config: &Config) -> Result<()> {
    let arguments = arguments(start, config)?;
    let environment = environment(start, config)?;
    loader::start_application(thread, arguments, environment)
}

/// Ends the program when the application cannot be started, as a shell would say it.
fn fail(path: &[u8], error: Errno) -> ! {
    let text = alloc::format!(
        "myst: {}: cannot be started: {}\n",
        alloc::string::String::from_utf8_lossy(path),
        error.name()
    );
    host::log(text.as_bytes());
    host::exit_program(125)
}

/// argv: ApplicationPath, then the host's arguments or the config's.
fn arguments(start: &Start, config: &Config) -> Result<Vec<Vec<u8>>> {
    let mut arguments = alloc::vec![config.application_path.clone()];
    if config.host_application_parameters {
        for argument in start.strings(start.head().args) {
            add(&mut arguments, argument)?;
        }
    } else {
        if start.head().args.size != 0 {
            host::log(
                b"myst: the arguments given are ignored: HostApplicationParameters is not set\n",
            );
        }
        arguments.extend(config.application_parameters.iter().cloned());
    }
    Ok(arguments)
}

/// The signed environment, then those host variables that are allowed in and not signed, then MYST_TARGET.
fn environment(start: &Start, config: &Config) -> Result<Vec<Vec<u8>>> {
    let mut environment = config.environment_variables.clone();
    for entry in start.strings(start.head().env) {
        let allowed = config
            .host_environment_variables
            .iter()
            .any(|n| n == name(entry));
        let known = environment.iter().any(|e| name(e) == name(entry));
        if allowed && !known && entry.contains(&b'=') {
            add(&mut environment, entry)?;
        }
    }
    environment.retain(|e| name(e) != b"MYST_TARGET");
    environment.push(target().to_vec());
    Ok(environment)
}

/// Adds a string of the host's; how many there are and how long is the host's choice, so memory may not suffice.
fn add(strings: &mut Vec<Vec<u8>>, string: &[u8]) -> Result<()> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(string.len())
        .and_then(|()| strings.try_reserve(1))
        .map_err(|_| Errno::ENOMEM)?;
    copy.extend_from_slice(string);
    strings.push(copy);
    Ok(())
}

/// An enclave cannot tell a processor from its simulation.
fn target() -> &'static [u8] {
    match enclave::in_enclave() {
        true => b"MYST_TARGET=sgx",
        false => b"MYST_TARGET=linux",
    }
}

fn name(entry: &[u8]) -> &[u8] {
    entry.split(|&b| b == b'=').next().unwrap_or(entry)
}
