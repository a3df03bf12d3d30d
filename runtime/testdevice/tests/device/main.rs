//! The device as a program sees it: each test runs itself as the program, and there builds and enters an enclave.

mod building;
mod code;
mod enclave;
mod entering;
mod faults;
mod memory;

use std::process::{Command, Output};

/// Names the test that is to be the program.
const PROGRAM: &str = "SGX_TEST_PROGRAM";

/// Runs a test function under the device, with its options; `body` is what runs there.
///
/// `name` is the path of the function that calls, as the test harness knows it.
fn under_device(options: &[&str], name: &str, body: impl FnOnce()) {
    if std::env::var_os(PROGRAM).is_some_and(|program| program == name) {
        return body();
    }
    let done = device(options, name);
    assert!(
        done.status.success(),
        "under the device: {}\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Runs the test `name` under the device.
fn device(options: &[&str], name: &str) -> Output {
    let own = std::env::current_exe().expect("this program");
    Command::new(env!("CARGO_BIN_EXE_sgx-test-device"))
        .args(options)
        .arg("--")
        .arg(own)
        .args(["--exact", name, "--nocapture"])
        .env(PROGRAM, name)
        .output()
        .expect("the device starts")
}
