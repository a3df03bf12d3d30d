//! `sgx-test-device [option]… -- program [argument]…`

use std::io;
use std::process::ExitCode;

use mystikos_testdevice::options::{self, Options, USAGE};
use mystikos_testdevice::{machine, signals, start, tracer};

/// Exit status when the device itself fails, or is misused.
const FAILED: u8 = 126;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sgx-test-device: {error}; --help tells how to use it");
            return ExitCode::from(FAILED);
        }
    };
    match run(&options) {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            eprintln!("sgx-test-device: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Options) -> io::Result<i32> {
    let main = start::start(&options.command)?;
    signals::forward_to(main)?;
    let mut tracer = tracer::Tracer::new(main, machine::machine(options), options)?;
    let status = tracer.run();
    let counts = tracer.finish();
    if options.stats {
        eprintln!("sgx-test-device: {counts}");
    }
    status
}
