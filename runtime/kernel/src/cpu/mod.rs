//! Instructions that are illegal in an enclave and that programs use all the same: done here, when #UD tells of them.
//!
//! * [`cpuid`]: what CPUID answers; [`features`]: which feature bits; [`caches`]: which caches.
//! * [`info`]: the same in words.
//! * [`stack`]: whether an instruction can have raised #SS, of which an enclave is not told.
//!
//! RDTSC and RDTSCP count the nanoseconds of CLOCK_MONOTONIC: at one speed, never backwards, the same for all threads.

pub mod caches;
pub mod cpuid;
pub mod features;
pub mod info;
pub mod stack;

use mystikos_abi::sgx::vector;
use mystikos_platform::control::UserRegs;
use mystikos_platform::sync::Once;
use mystikos_platform::{host, user};

use crate::{process, time, Result};
use cpuid::{Answers, Inside};

/// What a program gets for an instruction that raised #UD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done; the program goes on after it.
    Done,
    /// The exception that Linux programs see for it: vector and error code.
    Fault(u8, u32),
}

/// An instruction that means something outside of an enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Cpuid,
    Rdtsc,
    Rdtscp,
    /// IN, OUT and their kin, RDPMC: #GP for a program without the privilege.
    Privileged,
    /// INT n.
    Interrupt(u8),
}

/// Does what the instruction at RIP does on Linux outside of an enclave.
pub fn undefined(regs: &mut UserRegs) -> Outcome {
    match decode(regs.rip) {
        Some(Instruction::Cpuid) => match answers() {
            Ok(answers) => {
                let answer = answers.get(regs.rax as u32, regs.rcx as u32);
                let [a, b, c, d] = answer.map(u64::from);
                (regs.rax, regs.rbx, regs.rcx, regs.rdx) = (a, b, c, d);
                done(regs, 2)
            }
            Err(_) => Outcome::Fault(vector::UD, 0),
        },
        Some(Instruction::Rdtsc) => {
            count(regs);
            done(regs, 2)
        }
        Some(Instruction::Rdtscp) => {
            count(regs);
            // IA32_TSC_AUX of Linux: node << 12 | CPU.
            regs.rcx = u64::from(host::getcpu(process::cpu_count()));
            done(regs, 3)
        }
        Some(Instruction::Privileged) => Outcome::Fault(vector::GP, 0),
        // The gates that programs may use; they tell the address after the instruction.
        Some(Instruction::Interrupt(number @ (vector::BP | vector::OF))) => {
            regs.rip += 2;
            Outcome::Fault(number, 0)
        }
        // System calls of 32-bit programs, which this kernel has not.
        Some(Instruction::Interrupt(0x80)) | None => Outcome::Fault(vector::UD, 0),
        // The error code is the number of the gate, as a selector of the IDT.
        Some(Instruction::Interrupt(number)) => {
            Outcome::Fault(vector::GP, u32::from(number) << 3 | 2)
        }
    }
}

fn done(regs: &mut UserRegs, size: u64) -> Outcome {
    const RF: u64 = 1 << 16;
    regs.rip += size;
    regs.rflags &= !RF;
    Outcome::Done
}

fn count(regs: &mut UserRegs) {
    let now = time::monotonic();
    regs.rax = now & 0xffff_ffff;
    regs.rdx = now >> 32;
}

/// The instruction at an address. Its bytes were just fetched by the processor, but need not lie in one page.
fn decode(rip: u64) -> Option<Instruction> {
    let byte = |at: u64| user::read::<u8>(rip.wrapping_add(at)).ok();
    decode_bytes(byte)
}

fn decode_bytes(byte: impl Fn(u64) -> Option<u8>) -> Option<Instruction> {
    match byte(0)? {
        0x0f => match byte(1)? {
            0xa2 => Some(Instruction::Cpuid),
            0x31 => Some(Instruction::Rdtsc),
            0x33 => Some(Instruction::Privileged),
            0x01 if byte(2)? == 0xf9 => Some(Instruction::Rdtscp),
            _ => None,
        },
        0xcd => byte(1).map(Instruction::Interrupt),
        // INS, OUTS; IN, OUT with a port in the instruction, in DX.
        0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef => Some(Instruction::Privileged),
        // The same with an operand size or a repetition.
        0x66 | 0xf2 | 0xf3 => match byte(1)? {
            0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef => Some(Instruction::Privileged),
            _ => None,
        },
        _ => None,
    }
}

/// What CPUID answers; the same throughout a run. ENOMEM when the kernel has no memory left to find it out.
fn answers() -> Result<&'static Answers> {
    static ANSWERS: Once<Answers> = Once::new();
    if let Some(answers) = ANSWERS.get() {
        return Ok(answers);
    }
    // Made without holding others up; of two threads at once, the first to be ready decides.
    let inside = Inside::learn(process::cpu_count())?;
    let mut host = |leaf, subleaf| host::cpuid(leaf, subleaf).unwrap_or_default();
    let made = Answers::make(&mut host, &inside);
    Ok(ANSWERS.call_once(|| made))
}

/// What /proc/cpuinfo tells of the processor.
pub fn info() -> Result<info::Lines> {
    answers().map(info::lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<Instruction> {
        decode_bytes(|at| bytes.get(at as usize).copied())
    }

    #[test]
    fn instructions_are_told_by_their_bytes() {
        use Instruction::*;
        assert_eq!(decoded(&[0x0f, 0xa2]), Some(Cpuid));
        assert_eq!(decoded(&[0x0f, 0x31]), Some(Rdtsc));
        assert_eq!(decoded(&[0x0f, 0x01, 0xf9]), Some(Rdtscp));
        assert_eq!(decoded(&[0x0f, 0x33]), Some(Privileged));
        assert_eq!(decoded(&[0xe4, 0x80]), Some(Privileged));
        assert_eq!(decoded(&[0x66, 0xed]), Some(Privileged));
        assert_eq!(decoded(&[0xf3, 0x6e]), Some(Privileged));
        assert_eq!(decoded(&[0xcd, 0x21]), Some(Interrupt(0x21)));
        for other in [
            &[0x0f, 0x0b][..],
            &[0x0f, 0x01, 0xd7],
            &[0x66, 0x90],
            &[0x90],
        ] {
            assert_eq!(decoded(other), None, "{other:x?}");
        }
    }

    #[test]
    fn bytes_that_cannot_be_read_are_no_instruction() {
        for cut in [&[][..], &[0x0f], &[0x0f, 0x01], &[0xcd], &[0x66]] {
            assert_eq!(decoded(cut), None, "{cut:x?}");
        }
    }

    #[test]
    fn an_instruction_that_is_done_is_passed() {
        let mut regs = UserRegs {
            rip: 0x1000,
            rflags: 0x1_0202,
            ..UserRegs::default()
        };
        assert_eq!(done(&mut regs, 3), Outcome::Done);
        assert_eq!((regs.rip, regs.rflags), (0x1003, 0x202));
    }
}
