//! Instructions that are illegal inside an enclave and that this machine lets fault in another way (SDM volume 3D, 37.6.1).

/// CPUID.
pub const CPUID: [u8; 2] = [0x0f, 0xa2];

/// Most bytes of an instruction.
const LONGEST: usize = 15;

/// The processor raised #UD or #GP at an instruction that begins with these bytes.
///
/// # Safety
///
/// `rip` is where it raised that, in memory that stays mapped.
pub unsafe fn is_at(rip: u64, code: &[u8]) -> bool {
    // As long as the bytes are those of the instruction, the next one was fetched to decode it; so no byte is read that is
    // not there.
    (rip..).zip(code).all(|(at, byte)| {
        // SAFETY: as above, and what can be executed can be read.
        unsafe { (at as *const u8).read_volatile() == *byte }
    })
}

/// The exception of a vector came from INT n, which has been passed: it raises #UD inside, at the instruction. (INT3 and INT1
/// are instructions of their own.)
pub fn is_behind_int(rip: u64, vector: u8) -> bool {
    let mut code = [0; 2];
    let at = rip.wrapping_sub(code.len() as u64);
    crate::sys::read_own_memory(at, &mut code) == code.len() && code == [0xcd, vector]
}

/// The instruction at an address raises #UD inside an enclave. It is one that has raised #GP here.
pub fn is_illegal_inside(address: u64) -> bool {
    let mut code = [0; LONGEST];
    let read = crate::sys::read_own_memory(address, &mut code);
    is_illegal(&code[..read])
}

fn is_illegal(code: &[u8]) -> bool {
    let code = match code.iter().position(|&byte| !is_prefix(byte)) {
        Some(at) => &code[at..],
        None => return false,
    };
    let code = match code {
        [0x40..=0x4f, rest @ ..] => rest, // REX
        other => other,
    };
    matches!(
        code,
        // CPUID, RDTSC, RDPMC, SYSENTER, RDTSCP, VMCALL
        [0x0f, 0xa2 | 0x31 | 0x33 | 0x34, ..] | [0x0f, 0x01, 0xf9 | 0xc1, ..]
            // INT n, IRET, IN, OUT, INS, OUTS, far RET
            | [0xcd | 0xcf | 0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f | 0xca | 0xcb, ..]
    ) || is_far(code)
}

/// CALL and JMP through a far pointer (FF /3, FF /5).
fn is_far(code: &[u8]) -> bool {
    matches!(code, [0xff, modrm, ..] if matches!(modrm >> 3 & 7, 3 | 5))
}

/// Legacy prefixes (SDM volume 2, 2.1.1).
fn is_prefix(byte: u8) -> bool {
    matches!(
        byte,
        0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_illegal_inside_are_known_with_and_without_prefixes() {
        for code in [
            &[0x0f, 0xa2][..],
            &[0x66, 0x0f, 0xa2],
            &[0x0f, 0x31],
            &[0x0f, 0x01, 0xf9],
            &[0x48, 0x0f, 0x31],
            &[0xcd, 0x21],
            &[0x48, 0xcf],
            &[0xec],
            &[0xf3, 0x6c],
            &[0xcb],
            &[0xff, 0x28],
            &[0x41, 0xff, 0x18],
        ] {
            assert!(is_illegal(code), "{code:x?}");
        }
    }

    #[test]
    fn instructions_that_raise_gp_inside_as_well_are_left_alone() {
        for code in [
            &[0xf4][..],         // HLT
            &[0x48, 0x8b, 0x00], // MOV RAX, [RAX]
            &[0xff, 0x10],       // CALL [RAX]
            &[0xff, 0xe0],       // JMP RAX
            &[0x0f, 0x05],       // SYSCALL never gets here
            &[0x0f, 0x01, 0xd7], // ENCLU
            &[0x66, 0x66],       // nothing but prefixes
            &[],
        ] {
            assert!(!is_illegal(code), "{code:x?}");
        }
    }
}
