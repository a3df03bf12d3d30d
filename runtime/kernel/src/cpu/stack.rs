//! #SS, the fault of an access through the stack segment to an address that is not canonical. It is among the exceptions of
//! which an enclave is not told (SDM volume 3D, 37.3), so the host tells of it; and since a host could lie, this looks at the
//! instruction: #SS can be raised by those that push and pop, and by those whose operand lies relative to RSP or RBP.
//!
//! What is not known here (gathers, whose index is a vector) is not believed.

use mystikos_platform::control::UserRegs;
use mystikos_platform::user;

/// Most bytes of an instruction.
const LONGEST: u64 = 15;
/// More bytes than an operand has that is checked before it is used.
const AROUND: u64 = 64;

const RSP: usize = 4;
const RBP: usize = 5;

/// The instruction at RIP can have raised #SS, as registers are.
pub fn faults(regs: &UserRegs) -> bool {
    let byte = |at: u64| user::read::<u8>(regs.rip.wrapping_add(at)).ok();
    can_fault(byte, regs).unwrap_or(false)
}

/// `None` when the bytes cannot be read or are no instruction that is known here.
fn can_fault(byte: impl Fn(u64) -> Option<u8>, regs: &UserRegs) -> Option<bool> {
    let mut code = Code {
        byte,
        at: 0,
        regs,
        fs_or_gs: false,
        rex: 0,
    };
    code.prefixes()?;
    match code.next()? {
        0x0f => match code.next()? {
            0x38 | 0x3a => {
                code.next()?;
                code.operand(&[1])
            }
            // PUSH and POP of FS and GS.
            0xa0 | 0xa1 | 0xa8 | 0xa9 => Some(code.is_off(RSP)),
            opcode => match has_operand_0f(opcode) {
                true => code.operand(&[1]),
                false => Some(false),
            },
        },
        0xc4 => {
            let extended = !code.next()?;
            code.next()?;
            code.vector(extended, extended & 0x1f ^ 0x1f == 2, &[1])
        }
        0xc5 => {
            code.next()?;
            code.vector(0, false, &[1])
        }
        0x62 => {
            let first = code.next()?;
            code.next()?;
            code.next()?;
            // The displacement of a byte counts in units of the operand's size.
            code.vector(!first, first & 7 == 2, &[1, 2, 4, 8, 16, 32, 64])
        }
        // PUSH, POP; PUSHF, POPF; RET; ENTER; CALL.
        0x50..=0x5f | 0x68 | 0x6a | 0x9c | 0x9d | 0xc2 | 0xc3 | 0xc8 | 0xe8 => {
            Some(code.is_off(RSP))
        }
        // LEAVE makes RBP the stack pointer and pops.
        0xc9 => Some(code.is_off(RBP)),
        // POP to memory, and CALL and PUSH of memory.
        0x8f => Some(code.is_off(RSP) || code.operand(&[1])?),
        0xff if matches!(code.peek()? >> 3 & 7, 2 | 6) => {
            Some(code.is_off(RSP) || code.operand(&[1])?)
        }
        opcode => match has_operand(opcode) {
            true => code.operand(&[1]),
            false => Some(false),
        },
    }
}

/// Opcodes of one byte with a ModRM byte whose operand is accessed (SDM volume 2D, table A-2). LEA accesses none.
fn has_operand(opcode: u8) -> bool {
    matches!(opcode, 0x00..=0x3f if opcode & 7 < 4)
        || matches!(
            opcode,
            0x63 | 0x69
                | 0x6b
                | 0x80..=0x8c
                | 0x8e
                | 0xc0
                | 0xc1
                | 0xc6
                | 0xc7
                | 0xd0..=0xd3
                | 0xd8..=0xdf
                | 0xf6
                | 0xf7
                | 0xfe
                | 0xff
        )
}

/// The same of opcodes that begin with 0F (table A-3). Prefetches and NOPs access nothing.
fn has_operand_0f(opcode: u8) -> bool {
    !matches!(
        opcode,
        0x05..=0x0e | 0x18..=0x1f | 0x20..=0x23 | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa2 | 0xaa | 0xc8..=0xcf
    )
}

/// An instruction, decoded so far.
struct Code<'a, F> {
    byte: F,
    at: u64,
    regs: &'a UserRegs,
    fs_or_gs: bool,
    /// The low bits of REX, or those of VEX and EVEX that stand for them.
    rex: u8,
}

impl<F: Fn(u64) -> Option<u8>> Code<'_, F> {
    fn peek(&self) -> Option<u8> {
        if self.at == LONGEST {
            return None;
        }
        (self.byte)(self.at)
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Legacy prefixes, then REX (SDM volume 2, 2.1.1 and 2.2.1).
    fn prefixes(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                0x64 | 0x65 => self.fs_or_gs = true,
                // Addresses of 32 bits are canonical.
                0x67 => return None,
                // The other segments mean nothing in 64-bit mode.
                0x66 | 0xf0 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 => {}
                rex @ 0x40..=0x4f => {
                    self.rex = rex & 15;
                    self.at += 1;
                    return Some(());
                }
                _ => return Some(()),
            }
            self.at += 1;
        }
    }

    /// VEX and EVEX: opcode and operand follow. `extended` has X and B where VEX has them, not inverted; `map2` is the map
    /// with the gathers and scatters.
    fn vector(&mut self, extended: u8, map2: bool, units: &[i64]) -> Option<bool> {
        self.rex = extended >> 5 & 3;
        let opcode = self.next()?;
        if map2 && matches!(opcode, 0x90..=0x93 | 0xa0..=0xa3) {
            return None;
        }
        self.operand(units)
    }

    /// The operand that ModRM tells of is relative to RSP or RBP, and its address is not canonical (SDM volume 2, 2.1.5).
    /// `units`: what a displacement of a byte may count in.
    fn operand(&mut self, units: &[i64]) -> Option<bool> {
        let modrm = self.next()?;
        let (mode, mut base) = (modrm >> 6, usize::from(modrm & 7));
        if mode == 3 || self.fs_or_gs {
            return Some(false);
        }
        let mut offset = 0;
        if base == RSP {
            let sib = self.next()?;
            base = usize::from(sib & 7);
            let index = usize::from(sib >> 3 & 7 | (self.rex & 2) << 2);
            if index != RSP {
                offset = self.register(index).wrapping_shl(u32::from(sib >> 6));
            }
        }
        // Without a base register, or with R12 or R13, it is the data segment.
        let none = mode == 0 && base == RBP;
        if none || self.rex & 1 != 0 || !matches!(base, RSP | RBP) {
            return Some(false);
        }
        let base = self.register(base).wrapping_add(offset);
        let displacement = match mode {
            0 => 0,
            1 => i64::from(self.next()? as i8),
            _ => {
                let bytes = [self.next()?, self.next()?, self.next()?, self.next()?];
                i64::from(i32::from_le_bytes(bytes))
            }
        };
        let units = match mode {
            1 => units,
            _ => &[1],
        };
        let is_off = |unit| is_off(base.wrapping_add_signed(displacement * unit));
        Some(units.iter().any(is_off))
    }

    fn is_off(&self, register: usize) -> bool {
        is_off(self.register(register))
    }

    fn register(&self, number: usize) -> u64 {
        let r = self.regs;
        [
            r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11,
            r.r12, r.r13, r.r14, r.r15,
        ][number]
    }
}

/// An access at about that address touches one that is not canonical. No program has memory that near.
fn is_off(address: u64) -> bool {
    let canonical = |address: u64| ((address as i64) << 16 >> 16) as u64 == address;
    !canonical(address.wrapping_sub(AROUND)) || !canonical(address.wrapping_add(AROUND))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: u64 = 0x0800_0000_0000_0000;
    const GOOD: u64 = 0x7fff_0000_1000;

    /// RSP and RBP are good, RBX and R12 to R14 are not.
    fn regs() -> UserRegs {
        UserRegs {
            rsp: GOOD,
            rbp: GOOD,
            rbx: OFF,
            r12: OFF,
            r13: OFF,
            r14: OFF,
            ..UserRegs::default()
        }
    }

    fn with(code: &[u8], regs: &UserRegs) -> bool {
        let byte = |at: u64| code.get(at as usize).copied();
        can_fault(byte, regs).unwrap_or(false)
    }

    const RELATIVE: &[&[u8]] = &[
        &[0x48, 0x8b, 0x44, 0x1d, 0x00],             // mov rax, [rbp+rbx]
        &[0x8b, 0x04, 0x1c],                         // mov eax, [rsp+rbx]
        &[0x8b, 0x04, 0xdc],                         // mov eax, [rsp+rbx*8]
        &[0x88, 0x84, 0x1c, 0, 1, 0, 0],             // mov [rsp+rbx+256], al
        &[0x42, 0x8b, 0x44, 0x35, 0x00],             // mov eax, [rbp+r14]
        &[0x42, 0x8b, 0x44, 0x25, 0x00],             // mov eax, [rbp+r12]
        &[0x66, 0x2e, 0x89, 0x04, 0x1c],             // mov cs:[rsp+rbx], ax
        &[0xff, 0x14, 0x1c],                         // call [rsp+rbx]
        &[0xff, 0x34, 0x1c],                         // push [rsp+rbx]
        &[0x8f, 0x04, 0x1c],                         // pop [rsp+rbx]
        &[0x0f, 0x28, 0x04, 0x1c],                   // movaps xmm0, [rsp+rbx]
        &[0xf2, 0x0f, 0x10, 0x44, 0x1d, 0x00],       // movsd xmm0, [rbp+rbx]
        &[0x66, 0x0f, 0x38, 0x2a, 0x04, 0x1c],       // movntdqa xmm0, [rsp+rbx]
        &[0x66, 0x0f, 0x3a, 0x16, 0x04, 0x1c, 1],    // pextrd [rsp+rbx], xmm0, 1
        &[0xdd, 0x04, 0x1c],                         // fld qword [rsp+rbx]
        &[0xc5, 0xfc, 0x10, 0x44, 0x1d, 0x00],       // vmovups ymm0, [rbp+rbx]
        &[0xc4, 0xa1, 0x7c, 0x10, 0x44, 0x35, 0x00], // vmovups ymm0, [rbp+r14]
        &[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x44, 0x1c, 0x01], // vmovups zmm0, [rsp+rbx+64]
    ];

    #[test]
    fn operands_relative_to_the_stack_raise_it_where_their_address_is_not_canonical() {
        let harmless = UserRegs {
            rbx: 8,
            r12: 8,
            r14: 8,
            ..regs()
        };
        for code in RELATIVE {
            assert!(with(code, &regs()), "{code:x?}");
            assert!(!with(code, &harmless), "{code:x?}");
        }
    }

    #[test]
    fn what_pushes_and_pops_raises_it_where_the_stack_pointer_is_not_canonical() {
        let bad = |rsp, rbp| UserRegs { rsp, rbp, ..regs() };
        for code in [
            &[0x50][..],
            &[0x5d],
            &[0x41, 0x54],
            &[0x6a, 0],
            &[0x68, 0, 0, 0, 0],
            &[0x9c],
            &[0x9d],
            &[0xc3],
            &[0xc2, 8, 0],
            &[0xc8, 0, 0, 0],
            &[0xe8, 0, 0, 0, 0],
            &[0xff, 0xd0],
            &[0xff, 0xf0],
            &[0x8f, 0xc0],
            &[0x0f, 0xa0],
        ] {
            assert!(with(code, &bad(OFF, GOOD)), "{code:x?}");
            assert!(!with(code, &bad(GOOD, OFF)), "{code:x?}");
        }
        assert!(with(&[0xc9], &bad(GOOD, OFF)) && !with(&[0xc9], &bad(OFF, GOOD)));
    }

    #[test]
    fn what_cannot_raise_it_is_not_believed() {
        let all_off = UserRegs {
            rsp: OFF,
            rbp: OFF,
            ..regs()
        };
        for code in [
            &[0x90][..],                                 // nop
            &[0x48, 0x01, 0xd8],                         // add rax, rbx
            &[0x48, 0x8b, 0x03],                         // mov rax, [rbx]
            &[0x49, 0x8b, 0x45, 0x00],                   // mov rax, [r13]
            &[0x49, 0x8b, 0x04, 0x24],                   // mov rax, [r12]
            &[0x8b, 0x04, 0x1d, 0, 0, 0, 0],             // mov eax, [rbx+disp]
            &[0x8b, 0x05, 0, 0, 0, 0],                   // mov eax, [rip+disp]
            &[0x48, 0x8d, 0x04, 0x1c],                   // lea rax, [rsp+rbx]
            &[0x0f, 0x1f, 0x44, 0x1c, 0x00],             // nop [rsp+rbx]
            &[0x0f, 0x18, 0x0c, 0x1c],                   // prefetcht0 [rsp+rbx]
            &[0x64, 0x8b, 0x04, 0x1c],                   // mov eax, fs:[rsp+rbx]
            &[0x67, 0x8b, 0x04, 0x1c],                   // mov eax, [esp+ebx]
            &[0x0f, 0x84, 0, 0, 0, 0],                   // jz
            &[0x75, 0x10],                               // jnz
            &[0xa4],                                     // movsb
            &[0xc4, 0xe2, 0x7d, 0x92, 0x04, 0x1c],       // vgatherdps ymm0, [rsp+ymm3], ymm0
            &[0x62, 0xf2, 0x7d, 0x49, 0x92, 0x04, 0x1c], // vgatherdps zmm0{k1}, [rsp+zmm3]
            &[0x66; 15],
            &[0x8b, 0x84],
            &[],
        ] {
            assert!(!with(code, &all_off), "{code:x?}");
        }
    }

    #[test]
    fn an_access_may_begin_before_what_is_not_canonical() {
        assert!(is_off(0x7fff_ffff_fffc) && is_off(0xffff_7fff_ffff_ffff));
        assert!(!is_off(0x7fff_ffff_f000) && !is_off(0) && !is_off(u64::MAX));
    }
}
