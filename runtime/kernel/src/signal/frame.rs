//! The frame on the application's stack that a handler runs on and returns through: `struct rt_sigframe` of x86-64.
//!
//! ```text
//! lower addresses                                                              higher
//! | pretcode | ucontext | siginfo | (alignment) | XSAVE area, 64-byte aligned | red zone, interrupted stack
//! ^ RSP at the handler's first instruction (16n + 8)
//! ```
//!
//! A bound system call has no `syscall` instruction to go back to: its return address may lie in a binding stub. The
//! frame shows the address that Linux would show, and the reserved words of `sigcontext` keep where the thread really
//! goes on, and which call it makes again. Handlers that change RIP in the frame make both void.

use linux_raw_sys::general as raw;
use mystikos_platform::control::UserRegs;
use mystikos_platform::{fpu, memory, user};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::fault::FaultState;
use super::info::SigInfo;
use crate::{Errno, Result};

/// `stack_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// SS_*.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
    /// Bytes.
    pub size: u64,
}

impl Default for AltStack {
    fn default() -> Self {
        AltStack {
            base: 0,
            flags: raw::SS_DISABLE,
            padding: 0,
            size: 0,
        }
    }
}

/// SS_AUTODISARM.
pub const SS_AUTODISARM: u32 = 1 << 31;
/// MINSIGSTKSZ as sigaltstack(2) checks it.
const MINIMUM: u64 = 2048;

impl AltStack {
    /// The stack pointer lies on this stack.
    pub fn holds(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }

    /// The thread runs on this stack, and so it must not be changed. With SS_AUTODISARM it never is.
    pub fn in_use(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.flags & raw::SS_DISABLE == 0 && self.holds(sp)
    }

    /// SS_* as reported to the application.
    pub fn reported(&self, sp: u64) -> AltStack {
        let mode = match () {
            () if self.size == 0 => raw::SS_DISABLE,
            () if self.in_use(sp) => raw::SS_ONSTACK,
            () => 0,
        };
        AltStack {
            flags: mode | self.flags & SS_AUTODISARM,
            ..*self
        }
    }

    /// A stack given by the application, checked as sigaltstack(2) does.
    pub fn accepted(given: AltStack) -> Result<AltStack> {
        let mode = given.flags & !SS_AUTODISARM;
        match mode {
            raw::SS_DISABLE => Ok(AltStack {
                base: 0,
                size: 0,
                flags: given.flags,
                padding: 0,
            }),
            0 | raw::SS_ONSTACK if given.size < MINIMUM => Err(Errno::ENOMEM),
            0 | raw::SS_ONSTACK => Ok(AltStack {
                flags: given.flags & SS_AUTODISARM,
                padding: 0,
                ..given
            }),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// `struct sigcontext_64`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    resume: Resume,
    reserved: [u64; 4],
}

/// What the reserved words of `sigcontext` keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Resume {
    /// [`RESUME_MAGIC`], or the rest means nothing.
    magic: u64,
    /// RIP as shown in the frame; when the handler changed it, the rest means nothing.
    shown: u64,
    /// Where the thread really goes on.
    rip: u64,
    /// System call to be made again, or all ones.
    call: u64,
}

/// `MYSTCALL`.
const RESUME_MAGIC: u64 = u64::from_le_bytes(*b"MYSTCALL");
const NO_CALL: u64 = u64::MAX;

/// `struct ucontext`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct UContext {
    flags: u64,
    link: u64,
    stack: AltStack,
    context: SigContext,
    mask: u64,
}

/// `struct rt_sigframe`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Frame {
    return_address: u64,
    ucontext: UContext,
    info: SigInfo,
}

const _: () = assert!(size_of::<SigContext>() == 256);
const _: () = assert!(size_of::<UContext>() == 304);
const _: () = assert!(size_of::<Frame>() == 440);

/// UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 1 | 2 | 4;
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;
const RED_ZONE: u64 = 128;

/// CF, PF, AF, ZF, SF, TF, DF, OF, RF, AC: what sigreturn(2) may set. The platform lets none of them into the kernel.
const RFLAGS_USER: u64 = 0x5_0dd5;
/// Bit 1 of RFLAGS reads as one; IF is always set.
const RFLAGS_FIXED: u64 = 0x202;
/// DF, RF, TF: cleared for a handler.
const RFLAGS_CLEARED: u64 = 1 << 8 | 1 << 10 | 1 << 16;

/// What the software-reserved bytes of the FXSAVE area tell (`struct _fpx_sw_bytes`).
const SW_BYTES: usize = 464;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
const LEGACY_SIZE: usize = 512;

/// Bytes of the XSAVE area in standard format for a set of features.
fn xstate_size(features: u64) -> usize {
    match features {
        f if f & 0xe0 != 0 => 2688,
        f if f & 4 != 0 => 832,
        _ => 576,
    }
}

/// What a handler is started with, besides the registers.
pub struct Setup<'a> {
    /// The interrupted registers, RAX already decided on.
    pub regs: &'a UserRegs,
    /// Address that the frame shows for RIP.
    pub shown: u64,
    /// System call that is made again when the handler returns.
    pub restart: Option<u64>,
    /// Why.
    pub info: &'a SigInfo,
    /// Handler.
    pub handler: u64,
    /// Where it returns to.
    pub restorer: u64,
    /// SA_ONSTACK is set.
    pub on_stack: bool,
    /// Alternate stack as registered.
    pub alt_stack: AltStack,
    /// Mask to be put back by the return.
    pub mask: u64,
    /// The thread's last fault.
    pub fault: FaultState,
}

impl Setup<'_> {
    /// Where the frame goes: address of the frame and of the XSAVE area. EFAULT when an alternate stack would overflow.
    fn place(&self, xstate: usize) -> Result<(u64, u64)> {
        let sp = self.regs.rsp;
        let alt = &self.alt_stack;
        let nested = alt.in_use(sp);
        let enter = self.on_stack && alt.size != 0 && !nested;
        let top = match enter {
            true => alt.base.wrapping_add(alt.size),
            false => sp.wrapping_sub(RED_ZONE),
        };
        let area = top.wrapping_sub(xstate as u64 + 4) & !63;
        let frame = (area.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8);
        if (nested || enter) && !alt.holds(frame) {
            return Err(Errno::EFAULT);
        }
        Ok((frame, area))
    }

    fn frame(&self, area: u64) -> Frame {
        let r = self.regs;
        Frame {
            return_address: self.restorer,
            ucontext: UContext {
                flags: UC_FLAGS,
                link: 0,
                // As it was registered; that it is in use, only sigaltstack(2) tells.
                stack: self.alt_stack,
                context: SigContext {
                    r8: r.r8,
                    r9: r.r9,
                    r10: r.r10,
                    r11: r.r11,
                    r12: r.r12,
                    r13: r.r13,
                    r14: r.r14,
                    r15: r.r15,
                    rdi: r.rdi,
                    rsi: r.rsi,
                    rbp: r.rbp,
                    rbx: r.rbx,
                    rdx: r.rdx,
                    rax: self.restart.unwrap_or(r.rax),
                    rcx: r.rcx,
                    rsp: r.rsp,
                    rip: self.shown,
                    rflags: r.rflags,
                    cs: USER_CS,
                    gs: 0,
                    fs: 0,
                    ss: USER_SS,
                    err: self.fault.error,
                    trapno: self.fault.vector,
                    oldmask: self.mask,
                    cr2: self.fault.address,
                    fpstate: area,
                    resume: Resume {
                        magic: RESUME_MAGIC,
                        shown: self.shown,
                        rip: r.rip,
                        call: self.restart.unwrap_or(NO_CALL),
                    },
                    reserved: [0; 4],
                },
                mask: self.mask,
            },
            info: *self.info,
        }
    }

    /// Writes the frame and returns the registers that the handler starts with. The extended state that is saved is
    /// the calling thread's.
    pub fn build(&self) -> Result<UserRegs> {
        let features = fpu::features();
        let size = xstate_size(features);
        let (frame, area) = self.place(size)?;
        write_xstate(area, features, size)?;
        user::write(frame, &self.frame(area))?;
        Ok(self.entry(frame))
    }

    fn entry(&self, frame: u64) -> UserRegs {
        let ucontext = frame + core::mem::offset_of!(Frame, ucontext) as u64;
        UserRegs {
            rax: 0,
            rdi: self.info.signo as u64,
            rsi: frame + core::mem::offset_of!(Frame, info) as u64,
            rdx: ucontext,
            rsp: frame,
            rip: self.handler,
            rflags: self.regs.rflags & !RFLAGS_CLEARED,
            orig_rax: u64::MAX,
            ..*self.regs
        }
    }
}

fn write_xstate(address: u64, features: u64, size: usize) -> Result<()> {
    let mut area = fpu::Area::default();
    fpu::save(&mut area);
    stamp(&mut area.0, features, size);
    user::copy_out(address, &area.0[..size])?;
    user::write(address + size as u64, &FP_XSTATE_MAGIC2)
}

/// Fills the software-reserved bytes.
fn stamp(area: &mut [u8], features: u64, size: usize) {
    area[SW_BYTES..LEGACY_SIZE].fill(0);
    area[SW_BYTES..SW_BYTES + 4].copy_from_slice(&FP_XSTATE_MAGIC1.to_le_bytes());
    area[SW_BYTES + 4..SW_BYTES + 8].copy_from_slice(&(size as u32 + 4).to_le_bytes());
    area[SW_BYTES + 8..SW_BYTES + 16].copy_from_slice(&features.to_le_bytes());
    area[SW_BYTES + 16..SW_BYTES + 20].copy_from_slice(&(size as u32).to_le_bytes());
}

/// What a frame says when a handler returns through it.
pub struct Return {
    /// The registers.
    pub regs: UserRegs,
    /// System call to be made again (`orig_rax` holds its number).
    pub restart: bool,
    /// The mask.
    pub mask: u64,
    /// The alternate stack.
    pub alt_stack: AltStack,
}

/// Reads the frame that the stack pointer of rt_sigreturn(2) points behind (the handler's `ret` took the return
/// address), and restores the extended state. EFAULT when the frame cannot be read or says what cannot be.
pub fn read(rsp: u64, old: &UserRegs) -> Result<Return> {
    let at = rsp
        .wrapping_sub(8)
        .wrapping_add(core::mem::offset_of!(Frame, ucontext) as u64);
    let ucontext: UContext = user::read(at)?;
    let context = &ucontext.context;
    restore_xstate(context.fpstate)?;
    let (regs, restart) = registers(context, old);
    if !is_code(regs.rip) {
        return Err(Errno::EFAULT);
    }
    Ok(Return {
        regs,
        restart,
        mask: ucontext.mask,
        alt_stack: ucontext.stack,
    })
}

fn registers(context: &SigContext, old: &UserRegs) -> (UserRegs, bool) {
    let resume = &context.resume;
    let valid = resume.magic == RESUME_MAGIC && resume.shown == context.rip;
    let restart = valid && resume.call != NO_CALL;
    let regs = UserRegs {
        rax: context.rax,
        rbx: context.rbx,
        rcx: context.rcx,
        rdx: context.rdx,
        rsi: context.rsi,
        rdi: context.rdi,
        rbp: context.rbp,
        rsp: context.rsp,
        r8: context.r8,
        r9: context.r9,
        r10: context.r10,
        r11: context.r11,
        r12: context.r12,
        r13: context.r13,
        r14: context.r14,
        r15: context.r15,
        rip: if valid { resume.rip } else { context.rip },
        rflags: context.rflags & RFLAGS_USER | RFLAGS_FIXED,
        // The number comes from RAX, where a handler may have looked at it or changed it.
        orig_rax: if restart { context.rax } else { u64::MAX },
        reserved: 0,
        xmm: old.xmm,
    };
    (regs, restart)
}

/// An address that may be jumped to: canonical, in the lower half, and not in the kernel's own image.
fn is_code(rip: u64) -> bool {
    rip < 1 << 47 && !memory::layout().kernel().contains(&rip)
}

fn restore_xstate(address: u64) -> Result<()> {
    if address == 0 {
        fpu::reset();
        return Ok(());
    }
    let mut area = fpu::Area::default();
    user::copy_in(address, &mut area.0[..LEGACY_SIZE])?;
    match extended_size(&area.0, address) {
        Some(size) => user::copy_in(address + LEGACY_SIZE as u64, &mut area.0[LEGACY_SIZE..size])?,
        // Only the legacy part: x87 and SSE.
        None => area.0[LEGACY_SIZE] = 3,
    }
    fpu::restore(&mut area);
    Ok(())
}

/// Bytes of the whole area, when it is marked as an extended one.
fn extended_size(area: &[u8], address: u64) -> Option<usize> {
    let word = |at: usize| area[at..at + 4].try_into().ok().map(u32::from_le_bytes);
    let size = word(SW_BYTES + 16)? as usize;
    let marked = word(SW_BYTES)? == FP_XSTATE_MAGIC1
        && word(SW_BYTES + 4)? as usize == size + 4
        && (LEGACY_SIZE + 64..=fpu::AREA_SIZE).contains(&size);
    let magic2 = marked && user::load_u32(address + size as u64).ok()? == FP_XSTATE_MAGIC2;
    magic2.then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regs() -> UserRegs {
        UserRegs {
            rax: 1,
            rbx: 2,
            rsp: 0x7000_0123,
            rip: 0x40_1000,
            rflags: 0x246 | 1 << 10,
            r15: 15,
            orig_rax: 0,
            ..UserRegs::default()
        }
    }

    fn setup<'a>(regs: &'a UserRegs, info: &'a SigInfo) -> Setup<'a> {
        Setup {
            regs,
            shown: 0x40_0ffe,
            restart: Some(202),
            info,
            handler: 0x50_0000,
            restorer: 0x50_0100,
            on_stack: false,
            alt_stack: AltStack::default(),
            mask: 0x55,
            fault: FaultState::default(),
        }
    }

    #[test]
    fn the_frame_is_aligned_below_the_red_zone() {
        let (regs, info) = (regs(), SigInfo::kernel(10));
        let (frame, area) = setup(&regs, &info).place(832).unwrap();
        assert_eq!(frame % 16, 8);
        assert_eq!(area % 64, 0);
        assert!(area + 836 <= regs.rsp - RED_ZONE);
        assert!(frame + 440 <= area);
    }

    #[test]
    fn the_alternate_stack_is_entered_once_and_must_be_large_enough() {
        let (mut regs, info) = (regs(), SigInfo::kernel(10));
        let alt = AltStack {
            base: 0x10_0000,
            flags: 0,
            padding: 0,
            size: 8192,
        };
        let on_alt = |regs: &UserRegs, size| {
            let setup = Setup {
                on_stack: true,
                alt_stack: AltStack { size, ..alt },
                ..setup(regs, &info)
            };
            setup.place(832).map(|(frame, _)| frame)
        };
        assert!(on_alt(&regs, 8192).unwrap() > 0x10_0000 + 4096);
        assert_eq!(on_alt(&regs, 1024), Err(Errno::EFAULT));
        regs.rsp = 0x10_1000;
        assert!(on_alt(&regs, 8192).unwrap() < 0x10_1000);
        regs.rsp = 0x10_0200;
        assert_eq!(on_alt(&regs, 8192), Err(Errno::EFAULT));
    }

    #[test]
    fn a_handler_starts_with_the_three_arguments_and_clean_flags() {
        let (regs, info) = (regs(), SigInfo::kernel(10));
        let entry = setup(&regs, &info).entry(0x6000_0008);
        assert_eq!((entry.rdi, entry.rax, entry.rsp), (10, 0, 0x6000_0008));
        assert_eq!(entry.rdx, 0x6000_0010);
        assert_eq!(entry.rsi, 0x6000_0010 + 304);
        assert_eq!(entry.rflags & (1 << 10), 0);
        assert_eq!(entry.orig_rax, u64::MAX);
        assert_eq!(entry.r15, 15);
    }

    #[test]
    fn an_untouched_frame_resumes_the_call_and_a_changed_one_does_not() {
        let (regs, info) = (regs(), SigInfo::kernel(10));
        let frame = setup(&regs, &info).frame(0);
        let mut context = frame.ucontext.context;
        assert_eq!((context.rip, context.rax), (0x40_0ffe, 202));
        let (back, restart) = registers(&context, &regs);
        assert!(restart);
        assert_eq!((back.rip, back.orig_rax), (0x40_1000, 202));
        assert_eq!((back.rbx, back.rsp, back.r15), (2, 0x7000_0123, 15));
        context.rip = 0x60_0000;
        let (back, restart) = registers(&context, &regs);
        assert!(!restart);
        assert_eq!((back.rip, back.orig_rax), (0x60_0000, u64::MAX));
    }

    #[test]
    fn flags_of_the_system_are_not_restored() {
        let context = SigContext {
            rflags: u64::MAX,
            ..SigContext::default()
        };
        let (regs, _) = registers(&context, &UserRegs::default());
        assert_eq!(regs.rflags & (1 << 14 | 3 << 12), 0);
        assert_eq!(regs.rflags & (1 << 8 | 1 << 18), 1 << 8 | 1 << 18);
        assert_eq!(regs.rflags & 0x202, 0x202);
    }

    #[test]
    fn the_extended_area_is_marked_for_consumers() {
        let mut area = [0u8; 832];
        stamp(&mut area, 7, 832);
        assert_eq!(&area[464..468], b"SXPF");
        assert_eq!(area[468..472], 836u32.to_le_bytes());
        assert_eq!(area[480..484], 832u32.to_le_bytes());
    }

    #[test]
    fn alternate_stacks_are_checked_as_sigaltstack_does() {
        let stack = |flags, size| {
            AltStack::accepted(AltStack {
                base: 0x1000,
                flags,
                padding: 0,
                size,
            })
        };
        assert_eq!(stack(4, 8192), Err(Errno::EINVAL));
        assert_eq!(stack(0, 100), Err(Errno::ENOMEM));
        assert_eq!(stack(raw::SS_DISABLE, 0).unwrap().size, 0);
        assert_eq!(stack(raw::SS_ONSTACK, 8192).unwrap().flags, 0);
    }
}
