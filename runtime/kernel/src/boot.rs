//! From the first entry to the application's first instruction.

use alloc::vec::Vec;

use mystikos_platform::exception::Trap;
use mystikos_platform::host::{self, Start};
use mystikos_platform::{control, memory, Kernel};

use crate::config::{self, Config};
use crate::{fs, loader, mm, process, signal, syscall};

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

        let arguments = arguments(&start, config);
        let environment = environment(&start, config);
        if let Err(error) = loader::start_application(&thread, arguments, environment) {
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

/// Ends the program when the application cannot be started, as a shell would say it.
fn fail(path: &[u8], error: crate::Errno) -> ! {
    let text = alloc::format!(
        "myst: {}: cannot be started: {}\n",
        alloc::string::String::from_utf8_lossy(path),
        error.name()
    );
    host::log(text.as_bytes());
    host::exit_program(125)
}

/// argv: ApplicationPath, then the host's arguments or the config's.
fn arguments(start: &Start, config: &Config) -> Vec<Vec<u8>> {
    let mut arguments = alloc::vec![config.application_path.clone()];
    if config.host_application_parameters {
        arguments.extend(start.strings(start.head().args).map(<[u8]>::to_vec));
    } else {
        if start.head().args.size != 0 {
            host::log(
                b"myst: the arguments given are ignored: HostApplicationParameters is not set\n",
            );
        }
        arguments.extend(config.application_parameters.iter().cloned());
    }
    arguments
}

/// The signed environment, then those host variables that are allowed in and not signed, then MYST_TARGET.
fn environment(start: &Start, config: &Config) -> Vec<Vec<u8>> {
    let mut environment = config.environment_variables.clone();
    for entry in start.strings(start.head().env) {
        let allowed = config
            .host_environment_variables
            .iter()
            .any(|n| n == name(entry));
        let known = environment.iter().any(|e| name(e) == name(entry));
        if allowed && !known && entry.contains(&b'=') {
            environment.push(entry.to_vec());
        }
    }
    environment.retain(|e| name(e) != b"MYST_TARGET");
    environment.push(b"MYST_TARGET=linux".to_vec());
    environment
}

fn name(entry: &[u8]) -> &[u8] {
    entry.split(|&b| b == b'=').next().unwrap_or(entry)
}
