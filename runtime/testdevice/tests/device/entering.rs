//! `__vdso_sgx_enter_enclave`: its calling convention, EENTER and EEXIT.

use crate::code::{command, Left, Run};
use crate::enclave::{build, DATA, PAGE, THREADS};
use crate::under_device;

const EENTER: u32 = 2;
const EEXIT: u32 = 4;

#[test]
fn registers_go_in_and_come_out() {
    under_device(&[], "entering::registers_go_in_and_come_out", || {
        let (left, run) = build().enter([command::ADD, 40, 2]);
        assert_eq!(
            left,
            Left {
                result: 0,
                rdi: 42,
                rsi: 40,
                rdx: 2
            }
        );
        assert_eq!(run.function, EEXIT);
    });
}

#[test]
fn segment_bases_are_the_enclaves_inside_and_the_programs_outside() {
    under_device(
        &[],
        "entering::segment_bases_are_the_enclaves_inside_and_the_programs_outside",
        || {
            let built = build();
            thread_local!(static LOCAL: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
            LOCAL.set(7);
            let (left, _) = built.enter([command::BASES, 0, 0]);
            assert_eq!(
                (left.rdi, left.rsi),
                (built.at(DATA), built.at(DATA + PAGE))
            );
            assert_eq!(LOCAL.get(), 7);
        },
    );
}

#[test]
fn the_stack_outside_is_the_enclaves_too() {
    under_device(
        &[],
        "entering::the_stack_outside_is_the_enclaves_too",
        || {
            let here = 0u8;
            let (left, _) = build().enter([command::BASES, 0, 0]);
            assert!((left.rdx as i64 - &raw const here as i64).abs() < 1 << 20);
        },
    );
}

#[test]
fn only_eenter_and_eresume_are_functions() {
    under_device(
        &[],
        "entering::only_eenter_and_eresume_are_functions",
        || {
            let built = build();
            for function in [0, 1, 4, 5, u32::MAX] {
                let left = built.enter_with(function, [command::ADD, 0, 0], &mut built.run());
                assert_eq!(left.result, -libc::EINVAL);
            }
        },
    );
}

#[test]
fn reserved_fields_must_be_zero() {
    under_device(&[], "entering::reserved_fields_must_be_zero", || {
        let built = build();
        for word in [0, 13, 26] {
            let mut run = built.run();
            run.reserved[word] = 1 << 40;
            let left = built.enter_with(EENTER, [command::ADD, 0, 0], &mut run);
            assert_eq!(left.result, -libc::EINVAL);
        }
    });
}

#[test]
fn a_handler_decides_how_it_goes_on() {
    under_device(&[], "entering::a_handler_decides_how_it_goes_on", || {
        let built = build();
        // First enters once more, then returns -5.
        extern "C" fn handler(
            rdi: u64,
            _: u64,
            _: u64,
            rsp: u64,
            _: u64,
            _: u64,
            run: &mut Run,
        ) -> i32 {
            assert_ne!(rsp, 0);
            run.data += 1;
            assert_eq!(rdi, 42);
            if run.data == 1 {
                77
            } else {
                -5
            }
        }
        let mut run = built.run();
        run.handler = handler as *const () as u64;
        let left = built.enter_with(EENTER, [command::ADD, 40, 2], &mut run);
        // 77 is no function.
        assert_eq!((left.result, run.data), (-libc::EINVAL, 1));
        let left = built.enter_with(EENTER, [command::ADD, 40, 2], &mut run);
        assert_eq!((left.result, run.data), (-5, 2));
    });
}

#[test]
fn two_threads_are_inside_at_the_same_time() {
    under_device(
        &[],
        "entering::two_threads_are_inside_at_the_same_time",
        || {
            let built = build();
            let words = [0u64; 2];
            let address = |i: usize| &raw const words[i] as u64;
            std::thread::scope(|scope| {
                let spinning = scope.spawn(|| built.enter([command::SPIN, address(0), 0]).0);
                let mut run = Run::new(built.at(THREADS[1]));
                for _ in 0..100 {
                    let left = built.enter_with(EENTER, [command::ADD, 1, 2], &mut run);
                    assert_eq!(left.rdi, 3);
                }
                let left = built.enter_with(EENTER, [command::WRITE, address(0), 1], &mut run);
                assert_eq!(left.result, 0);
                assert_eq!(spinning.join().expect("no panic").rdi, SPUN);
            });
        },
    );
}

/// What [`command::SPIN`] adds up.
pub const SPUN: u64 = 0x0101_0101_0101_0101 * (1 + 1 + 2 + 4 + 16 + 32);

#[test]
fn a_thread_that_is_inside_cannot_be_entered() {
    under_device(
        &[],
        "entering::a_thread_that_is_inside_cannot_be_entered",
        || {
            let built = build();
            let word = 0u64;
            let address = &raw const word as u64;
            std::thread::scope(|scope| {
                // The other thread may be the one that is inside for a moment.
                let spinning = scope.spawn(|| loop {
                    let (left, run) = built.enter([command::SPIN, address, 0]);
                    if run.function == EEXIT {
                        break left;
                    }
                });
                let busy = loop {
                    let (left, run) = built.enter([command::ADD, 0, 0]);
                    // Until the other thread is in; then #GP at the entry itself.
                    if run.function == EENTER {
                        break (left.result, run.vector);
                    }
                };
                assert_eq!(busy, (0, 13));
                let mut run = Run::new(built.at(THREADS[1]));
                built.enter_with(EENTER, [command::WRITE, address, 1], &mut run);
                assert_eq!(spinning.join().expect("no panic").rdi, SPUN);
            });
        },
    );
}

#[test]
fn interrupts_do_not_show() {
    let options = ["--interrupts", "100"];
    under_device(&options, "entering::interrupts_do_not_show", || {
        let built = build();
        for _ in 0..20 {
            let (left, run) = built.enter([command::COUNT, 10_000_000, 0]);
            assert_eq!(
                (left.result, left.rdi, run.function),
                (0, 10_000_000, EEXIT)
            );
        }
    });
}
