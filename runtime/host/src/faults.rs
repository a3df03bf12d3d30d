//! What a signal that an instruction raised says of the processor's exception.

use linux_raw_sys::general as raw;
use mystikos_abi::sgx::vector;

use crate::sys::{self, Registers};
use crate::{failure, sys::Context};

/// An exception, as the processor raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector (SDM volume 3A, 6.15).
    pub vector: u8,
    /// Error code.
    pub error: u32,
    /// Address of a page fault, else 0.
    pub address: u64,
}

impl Exception {
    /// The exception behind a signal. The registers are set to where it is raised in an enclave: at a `syscall` instruction,
    /// which the host kernel has passed, and at a jump into another mode. Ends the process when somebody else sent the signal.
    ///
    /// # Safety
    ///
    /// The arguments are those of a signal handler.
    pub unsafe fn of(signal: i32, info: *const raw::siginfo_t, context: *mut Context) -> Exception {
        // SAFETY: the caller's. The first three words of siginfo_t are signal number, errno and code.
        let (head, registers) = unsafe { (*info.cast::<[i32; 3]>(), &mut (*context).registers) };
        // Sent by a process and not raised by an instruction: as without a handler.
        if head[2] <= 0 {
            failure::say(format_args!(
                "ended by signal {signal} from another process"
            ));
            sys::exit_group(128 + signal);
        }
        let raised = if signal as u32 == raw::SIGSYS {
            registers.rip -= 2;
            vector::UD
        } else {
            registers.trap as u8
        };
        Exception {
            vector: mode_left(registers).unwrap_or(raised),
            error: registers.error as u32,
            address: if raised == vector::PF {
                registers.cr2
            } else {
                0
            },
        }
    }
}

/// In an enclave there is no way into another mode: the jump itself raises #GP.
fn mode_left(registers: &mut Registers) -> Option<u8> {
    let left = registers.segments & 0xffff != sys::USER_CS;
    registers.segments = registers.segments & !0xffff | sys::USER_CS;
    left.then_some(vector::GP)
}
