//! The `sgx` and `sim` targets: an enclave is built by a driver and entered with the calling convention of
//! `__vdso_sgx_enter_enclave`. Everything in this file is the same for both.
//!
//! * [`driver`]: what a driver does.
//! * [`load`]: replays the descriptor through a driver.
//! * [`hardware`]: `/dev/sgx_enclave` and the vDSO.
//! * [`software`]: the software SGX in this process.
//! * [`interrupts`]: how a thread in the enclave is made to look at what is pending.

pub mod driver;
pub mod hardware;
pub mod interrupts;
pub mod load;
pub mod software;

use alloc::boxed::Box;

use mystikos_abi::hostcall::exit;
use mystikos_abi::sgx::{enclu as leaf, pfec, vector};
use rustix::mm::ProtFlags;

use crate::signals::Handlers;
use crate::threads::{Left, Seat, Target};
use crate::{conduct, failure, stats, sys, Result};

use driver::{Driver, Run};
pub use interrupts::Local;

/// An initialised enclave with its driver.
struct Enclave(Box<dyn Driver>);

/// The target for an enclave that [`load::load`] has built.
pub fn target(driver: Box<dyn Driver>) -> Box<dyn Target> {
    Box::new(Enclave(driver))
}

impl Target for Enclave {
    fn handlers(&self) -> Handlers {
        self.0.handlers()
    }

    fn prepare_block(&self, _: usize) -> Result<()> {
        Ok(()) // all pages were added before EINIT
    }

    fn run_thread(&self, seat: &Seat) {
        self.0.prepare_thread();
        seat.local.enclave.begin(seat.tcs);
        let mut run = Run::new(seat.tcs);
        let (mut function, mut rdi) = (leaf::EENTER, seat.start);
        let mut unreported = Unreported::default();
        loop {
            let resuming = &seat.local.enclave;
            if function == leaf::ERESUME && resuming.must_enter(&seat.local.interrupted) {
                function = leaf::EENTER;
            }
            // SAFETY: the driver's function keeps to the convention; the enclave's memory is not the launcher's.
            let left =
                unsafe { driver::enter(self.0.entry(), function, rdi, seat.shown_area, &mut run) };
            resuming.done();
            if !self.0.counts_entries() {
                stats::count_entry(function, run.function);
            }
            rdi = 0;
            function = match run.function {
                leaf::EEXIT if left.reason == exit::RESUME => match conduct::tells_again() {
                    true => leaf::EENTER,
                    false => leaf::ERESUME,
                },
                leaf::EEXIT if left.reason == exit::KERNEL_FAULT => {
                    let at = left.a.wrapping_sub(seat.enclave.memory.base);
                    failure::kernel_failed(at, u32::from(run.exception_vector), left.b)
                }
                leaf::EEXIT if left.reason == exit::GS_BASE => failure::gs_base_changed(),
                leaf::EEXIT => {
                    unreported.host_call();
                    if !stats::timed(|| seat.serve(left)) {
                        break;
                    }
                    leaf::EENTER
                }
                // The kernel is not told.
                leaf::ERESUME if conduct::tells_nothing() => leaf::ERESUME,
                // Left by an exception: the kernel looks at what it was, and is told in case the processor does not say.
                leaf::ERESUME => {
                    if !is_reported(run.exception_vector) && unreported.again() {
                        end_unreported(&run);
                    }
                    resuming.handle();
                    rdi = conduct::told_vector(run.exception_vector);
                    leaf::EENTER
                }
                _ => entry_failed(&run, left),
            };
        }
        self.0.release_thread();
    }

    fn protect(&self, address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()> {
        self.0.protect(address, size, flags)
    }

    fn discard(&self, _: u64, _: u64) -> rustix::io::Result<()> {
        Err(rustix::io::Errno::OPNOTSUPP) // the content of enclave pages is the enclave's
    }
}

/// Exceptions in a row that the processor does not report inside: the kernel takes them for interrupts and resumes, again
/// and again.
#[derive(Default)]
struct Unreported {
    count: u32,
    host_calls: u32,
}

impl Unreported {
    /// So many are the same one.
    const MOST: u32 = 1000;
    /// Host calls that the kernel makes for an interrupt, at the most.
    const CALLS: u32 = 2;

    fn host_call(&mut self) {
        self.host_calls = self.host_calls.saturating_add(1);
    }

    /// One more; true when it will not end.
    fn again(&mut self) -> bool {
        if self.host_calls > Self::CALLS {
            self.count = 0;
        }
        self.host_calls = 0;
        self.count += 1;
        self.count > Self::MOST
    }
}

/// An enclave is told of exceptions of this vector (SDM volume 3D, 37.3; #GP and #PF with EXINFO).
fn is_reported(number: u16) -> bool {
    const REPORTED: [u8; 10] = [
        vector::DE,
        vector::DB,
        vector::BP,
        vector::BR,
        vector::UD,
        vector::GP,
        vector::PF,
        vector::MF,
        vector::AC,
        vector::XM,
    ];
    REPORTED.iter().any(|&known| u16::from(known) == number)
}

/// Ends the program as Linux does for what has no handler.
fn end_unreported(run: &Run) -> ! {
    const SIGBUS: i32 = 7;
    failure::say(format_args!(
        "ended by signal {SIGBUS}: the program raises exception {}, of which an enclave is not told",
        run.exception_vector
    ));
    sys::exit_group(128 + SIGBUS)
}

/// EENTER or ERESUME itself raised an exception.
fn entry_failed(run: &Run, left: Left) -> ! {
    let (number, code) = (run.exception_vector, u32::from(run.exception_error_code));
    if number == u16::from(vector::PF) && code & pfec::SGX != 0 {
        failure::say(format_args!(
            "the enclave's memory is gone (page fault {code:#x} at {:#x}): the machine has slept or the virtual machine was moved; start the program again",
            run.exception_addr
        ));
    } else {
        failure::say(format_args!(
            "the processor refuses to enter the enclave (vector {number}, error code {code:#x}, address {:#x}, reason {:#x}); please report this",
            run.exception_addr, left.reason
        ));
    }
    sys::exit_group(failure::EXIT_STATUS)
}
