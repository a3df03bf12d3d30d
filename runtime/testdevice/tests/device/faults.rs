//! Exceptions in the enclave: what its caller and its own exception handler get to know.

use mystikos_abi::sgx::EXITINFO_VALID;

use crate::code::{command, Run};
use crate::enclave::{build, Built, ABSENT, CODE, DATA, PAGE, READ_ONLY, THREADS};
use crate::under_device;

const EENTER: u32 = 2;
const ERESUME: u32 = 3;
const EEXIT: u32 = 4;

const HARDWARE: u32 = EXITINFO_VALID | 3 << 8;

/// Enters, must be left by an exception of this vector, error code and address, which the enclave's handler sees as this
/// EXITINFO and EXINFO; the instruction is passed over, and the enclave goes on.
fn faults(
    built: &Built,
    arguments: [u64; 3],
    expected: (u16, u16, u64),
    exitinfo: u32,
    length: u64,
) {
    let ssa = built.at(THREADS[0] + PAGE);
    let mut exits = Vec::new();
    let (left, run) = built.enter_handled(arguments, |run| {
        if run.function == EEXIT {
            return 0;
        }
        exits.push((run.function, run.vector, run.error, run.address));
        if exits.len() > 1 {
            return -1;
        }
        let mut nested = Run::new(run.tcs);
        let left = built.enter_with(EENTER, [command::SKIP, ssa, length], &mut nested);
        assert_eq!(nested.function, EEXIT);
        assert_eq!(left.rdi as u32, exitinfo);
        if matches!(expected.0, 13 | 14) {
            assert_eq!((left.rsi, left.rdx as u16), (expected.2, expected.1));
        }
        ERESUME as i32
    });
    // The low bits of the address are the enclave's secret.
    let page = expected.2 & !(PAGE - 1);
    assert_eq!(exits, [(ERESUME, expected.0, expected.1, page)]);
    assert_eq!(
        (left.result, run.function),
        (0, EEXIT),
        "goes on behind the instruction"
    );
}

#[test]
fn an_undefined_instruction() {
    under_device(&[], "faults::an_undefined_instruction", || {
        faults(&build(), [command::UD2, 0, 0], (6, 0, 0), HARDWARE | 6, 2);
    });
}

#[test]
fn a_system_call_is_an_undefined_instruction() {
    under_device(
        &[],
        "faults::a_system_call_is_an_undefined_instruction",
        || {
            let built = build();
            let exit = libc::SYS_exit_group as u64;
            faults(
                &built,
                [command::SYSCALL, exit, 0],
                (6, 0, 0),
                HARDWARE | 6,
                2,
            );
            faults(&built, [command::INT80, 1, 0], (6, 0, 0), HARDWARE | 6, 2);
        },
    );
}

#[test]
fn cpuid_is_an_undefined_instruction() {
    under_device(&[], "faults::cpuid_is_an_undefined_instruction", || {
        // SAFETY: asks whether CPUID can be made to fault; there is no CPUID between.
        let can_fault = unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1012, 0) == 0 };
        if can_fault {
            faults(&build(), [command::CPUID, 0, 0], (6, 0, 0), HARDWARE | 6, 2);
        }
    });
}

#[test]
fn a_division_by_zero() {
    under_device(&[], "faults::a_division_by_zero", || {
        faults(&build(), [command::DIVIDE, 0, 0], (0, 0, 0), HARDWARE, 2);
    });
}

#[test]
fn a_page_that_is_not_mapped() {
    under_device(&[], "faults::a_page_that_is_not_mapped", || {
        let built = build();
        let address = built.at(ABSENT) + 0x123;
        faults(
            &built,
            [command::READ, address, 0],
            (14, 4, address),
            HARDWARE | 14,
            3,
        );
        faults(
            &built,
            [command::WRITE, address, 0],
            (14, 6, address),
            HARDWARE | 14,
            3,
        );
    });
}

#[test]
fn a_page_that_may_only_be_read() {
    under_device(&[], "faults::a_page_that_may_only_be_read", || {
        let built = build();
        let address = built.at(READ_ONLY) + 8;
        assert_eq!(
            built.enter([command::READ, address, 0]).0.rdi,
            0x0707_0707_0707_0707
        );
        // Its mapping forbids it already.
        faults(
            &built,
            [command::WRITE, address, 1],
            (14, 6, address),
            HARDWARE | 14,
            3,
        );
        let code = built.at(CODE);
        faults(
            &built,
            [command::WRITE, code, 1],
            (14, 6, code),
            HARDWARE | 14,
            3,
        );
    });
}

#[test]
fn a_thread_control_structure_is_out_of_reach_in_the_enclave() {
    under_device(
        &[],
        "faults::a_thread_control_structure_is_out_of_reach_in_the_enclave",
        || {
            let built = build();
            let address = built.at(THREADS[1]);
            faults(
                &built,
                [command::READ, address, 0],
                (14, 0x8005, address),
                HARDWARE | 14,
                3,
            );
            faults(
                &built,
                [command::WRITE, address, 1],
                (14, 0x8007, address),
                HARDWARE | 14,
                3,
            );
        },
    );
}

#[test]
fn data_cannot_be_executed() {
    under_device(&[], "faults::data_cannot_be_executed", || {
        let built = build();
        let address = built.at(DATA);
        let (left, run) = built.enter([command::JUMP, address, 0]);
        assert_eq!((left.result, run.function), (0, ERESUME));
        assert_eq!((run.vector, run.error, run.address), (14, 0x14, address));
    });
}

#[test]
fn an_address_that_cannot_be_is_a_general_protection_fault() {
    under_device(
        &[],
        "faults::an_address_that_cannot_be_is_a_general_protection_fault",
        || {
            faults(
                &build(),
                [command::READ, 1 << 63, 0],
                (13, 0, 0),
                HARDWARE | 13,
                3,
            );
        },
    );
}

#[test]
fn memory_outside_that_is_not_there() {
    under_device(&[], "faults::memory_outside_that_is_not_there", || {
        faults(
            &build(),
            [command::READ, 8, 0],
            (14, 4, 8),
            HARDWARE | 14,
            3,
        );
    });
}

#[test]
fn a_breakpoint_is_a_signal_whatever_happens() {
    under_device(
        &[],
        "faults::a_breakpoint_is_a_signal_whatever_happens",
        || {
            use std::sync::atomic::{AtomicU64, Ordering};
            static SEEN: AtomicU64 = AtomicU64::new(0);
            extern "C" fn on_trap(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
                // SAFETY: the kernel passes a ucontext_t.
                let context = unsafe { &*context.cast::<libc::ucontext_t>() };
                let registers = &context.uc_mcontext.gregs;
                let (rip, rax) = (
                    registers[libc::REG_RIP as usize],
                    registers[libc::REG_RAX as usize],
                );
                assert_eq!(rax, i64::from(ERESUME));
                // SAFETY: RIP is the asynchronous exit pointer, which holds an ENCLU.
                let bytes = unsafe { std::slice::from_raw_parts(rip as *const u8, 3) };
                assert_eq!(bytes, [0x0f, 0x01, 0xd7]);
                SEEN.fetch_add(1, Ordering::SeqCst);
            }
            // SAFETY: a handler that may be called at the ENCLU; a structure of numbers.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_trap as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut());
            }
            // Behind INT3 the enclave goes on by itself.
            let (left, run) = build().enter([command::INT3, 0, 0]);
            assert_eq!((left.result, run.function), (0, EEXIT));
            assert_eq!(SEEN.load(Ordering::SeqCst), 1);
        },
    );
}

#[test]
fn a_signal_finds_the_thread_outside() {
    under_device(&[], "faults::a_signal_finds_the_thread_outside", || {
        use std::sync::atomic::{AtomicU64, Ordering};
        static WORD: AtomicU64 = AtomicU64::new(0);
        extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
            // SAFETY: the kernel passes a ucontext_t.
            let context = unsafe { &*context.cast::<libc::ucontext_t>() };
            let registers = &context.uc_mcontext.gregs;
            assert_eq!(registers[libc::REG_RAX as usize], i64::from(ERESUME));
            assert_eq!(
                registers[libc::REG_R8 as usize],
                0,
                "nothing of the enclave is seen"
            );
            WORD.store(1, Ordering::SeqCst);
        }
        // SAFETY: as above, for the highest real-time signal.
        let thread = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGRTMAX(), &action, std::ptr::null_mut());
            libc::pthread_self()
        };
        let built = build();
        let address = WORD.as_ptr() as u64;
        std::thread::scope(|scope| {
            let built = &built;
            let (sender, receiver) = std::sync::mpsc::channel();
            scope.spawn(move || {
                receiver.recv().expect("a word");
                // Not before the thread is in the enclave: another entry on its TCS fails then.
                loop {
                    let (_, run) = built.enter([command::ADD, 0, 0]);
                    if run.function == EENTER {
                        break;
                    }
                }
                // SAFETY: the thread waits for this.
                unsafe { libc::pthread_kill(thread, libc::SIGRTMAX()) };
            });
            sender.send(()).expect("a receiver");
            // The other thread may be the one that is inside for a moment.
            let left = loop {
                let (left, run) = built.enter([command::SPIN, address, 0]);
                if run.function == EEXIT {
                    break left;
                }
            };
            assert_eq!(left.rdi, crate::entering::SPUN);
        });
    });
}
