//! A thread that faulted or was interrupted: decide from the SSA frame where it goes on.
//!
//! The exception entry runs on its own stack, takes no lock and calls nothing that could fault. It edits the SSA frame
//! and leaves; the thread is then resumed (ERESUME) from the edited frame:
//!
//! * application code: its registers move to the control page and it goes on at the trap gate, on the kernel stack;
//! * a `syscall` instruction in application code (which raises #UD in an enclave): on at the syscall gate;
//! * a copy from or to application memory that faulted: on at the copy's fix-up, which reports EFAULT;
//! * the last instructions before application code: from the start of that sequence, so that nothing pending is missed.
//!   An address that cannot be jumped to faults in there; that is the application's fault, as if at that address;
//! * single steps (TF) that the application makes into the syscall gate, or that begin on the way back to it: the kernel
//!   is not stepped through;
//! * any code with another GS base than the control page, which is where everything goes on from: the program cannot go on. (On
//!   the `linux` target the launcher finds out, which could not enter the kernel either.)
//! * anything else in the kernel: an interrupt just goes on, a fault is a defect of the kernel and stops it.

use mystikos_abi::sgx::vector;

use crate::control::{this, Control, UserRegs};

/// Why application code was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Exception vector (SDM volume 3A, 6.15), or `None` for an interrupt from outside.
    pub vector: Option<u8>,
    /// Error code of #PF and #GP, else 0.
    pub error: u32,
    /// Address that #PF was about, else 0.
    pub address: u64,
    /// The processor tells of no exception, but the host says that there was #SS, which processors do not tell of inside
    /// (SDM volume 3D, 37.3). Whether it can be so shows the instruction that the application stands at.
    pub claimed_stack_fault: bool,
}

/// `trap_vector` of an interrupt.
const NO_VECTOR: u64 = 256;
/// `trap_vector` of what the host says is #SS.
const CLAIMED_STACK_FAULT: u64 = NO_VECTOR + vector::SS as u64;

/// The trap that the calling thread was sent to the trap gate for.
pub fn take_trap() -> Trap {
    // SAFETY: only the owning thread touches these fields, here and in the exception entry, which does not run while
    // kernel code of this thread does.
    let (number, error, address) = unsafe {
        let control = this();
        (
            (*control).trap_vector,
            (*control).trap_error,
            (*control).trap_address,
        )
    };
    let vector = u8::try_from(number).ok();
    Trap {
        vector,
        error: error as u32,
        address,
        claimed_stack_fault: number == CLAIMED_STACK_FAULT,
    }
}

#[cfg(feature = "image")]
mod entry {
    use core::sync::atomic::Ordering;

    use mystikos_abi::block;
    use mystikos_abi::hostcall::exit;
    use mystikos_abi::sgx::{ExInfo, GprSgx, EXITINFO_VALID};

    use super::*;
    use crate::{entry, memory, user};

    /// The bytes at RIP if it is a `syscall` instruction.
    const SYSCALL: [u8; 2] = [0x0f, 0x05];

    #[no_mangle]
    extern "C" fn myst_exception(claimed: u64) -> u64 {
        let control = this();
        let frame = control as u64 - block::THREAD_OFFSET
            + block::SSA_OFFSET
            + block::SSA_FRAME_PAGES as u64 * mystikos_abi::PAGE_SIZE;
        // SAFETY: the SSA lies in the same block as the control page; its frame 0 was written before this entry, which
        // only happens with CSSA = 1, and nothing else uses it meanwhile.
        let (gpr, exinfo) = unsafe {
            let gpr = (frame as usize - size_of::<GprSgx>()) as *mut GprSgx;
            let exinfo = (gpr as usize - size_of::<ExInfo>()) as *const ExInfo;
            (&mut *gpr, *exinfo)
        };
        let raised = gpr.exitinfo & EXITINFO_VALID != 0;
        let number = (gpr.exitinfo & 0xff) as u8;
        // For other exceptions, what stands there is of an earlier one.
        let exinfo = match number {
            vector::PF | vector::GP => exinfo,
            _ => ExInfo::default(),
        };
        // Taken note of: a host that enters once more instead of resuming brings an interrupt, not the same again.
        gpr.exitinfo = 0;
        // SAFETY: the control page belongs to this thread, which is stopped at an instruction that does not use these
        // fields (see the module comment); `pending` is atomic.
        let control = unsafe { &mut *control };
        if crate::enclave::in_enclave() && gpr.gsbase != &raw const *control as u64 {
            (control.trap_error, control.trap_address) = (0, 0);
            crate::enclave::stop();
            return exit::GS_BASE;
        }
        if !raised {
            control.pending.store(1, Ordering::SeqCst);
        }

        if !memory::in_kernel_image(gpr.rip) {
            if raised && number == vector::UD && is_syscall(gpr.rip) {
                gpr.rcx = gpr.rip + 2;
                if gpr.rflags & TF != 0 {
                    enter_stepping(gpr, control);
                } else {
                    gpr.rip = entry::gate();
                }
                return exit::RESUME;
            }
            control.regs = registers(gpr, &control.regs);
            set_trap(control, raised.then_some((number, exinfo)));
            if !raised && claimed == u64::from(vector::SS) {
                control.trap_vector = CLAIMED_STACK_FAULT;
            }
            gpr.rip = entry::trap_gate();
            gpr.rflags &= !RFLAGS_CLEARED;
            return exit::RESUME;
        }
        if !raised {
            if entry::return_window().contains(&gpr.rip) {
                gpr.rip = entry::return_window().start;
                gpr.rflags &= !RFLAGS_CLEARED;
            }
            return exit::RESUME;
        }
        if number == vector::DB && gpr.rip == entry::gate() {
            enter_stepping(gpr, control);
            return exit::RESUME;
        }
        if entry::return_window().contains(&gpr.rip) {
            match number {
                // POPFQ has set TF. What is left of the sequence is done here, so that the step is the application's.
                vector::DB => {
                    gpr.rcx = control.regs.rcx;
                    gpr.r11 = control.regs.r11;
                    gpr.rsp = control.regs.rsp;
                    gpr.rip = control.regs.rip;
                    return exit::RESUME;
                }
                // The last jump goes to an address that is not canonical. All registers still are in the control page.
                vector::GP => {
                    control.regs.orig_rax = u64::MAX;
                    set_trap(control, Some((number, exinfo)));
                    gpr.rip = entry::trap_gate();
                    gpr.rflags &= !RFLAGS_CLEARED;
                    return exit::RESUME;
                }
                _ => {}
            }
        }
        if let Some(fixup) = user::fixup(gpr.rip) {
            gpr.rip = fixup;
            return exit::RESUME;
        }
        control.trap_error = gpr.rip;
        // The host knows the page.
        control.trap_address = match memory::may_tell() {
            true => exinfo.maddr,
            false => exinfo.maddr & !(mystikos_abi::PAGE_SIZE - 1),
        };
        crate::enclave::stop();
        exit::KERNEL_FAULT
    }

    /// Single steps.
    const TF: u64 = 1 << 8;
    /// TF, DF, AC: not to be in force in the kernel.
    const RFLAGS_CLEARED: u64 = TF | 1 << 10 | 1 << 18;

    fn set_trap(control: &mut Control, raised: Option<(u8, ExInfo)>) {
        control.trap_vector = raised.map_or(NO_VECTOR, |(number, _)| number as u64);
        control.trap_error = raised.map_or(0, |(_, exinfo)| exinfo.errcd as u64);
        control.trap_address = raised.map_or(0, |(_, exinfo)| exinfo.maddr);
    }

    /// A system call whose registers are still the application's, with TF set: as the gate would store them.
    fn enter_stepping(gpr: &mut GprSgx, control: &mut Control) {
        control.regs = UserRegs {
            rip: gpr.rcx,
            r11: gpr.rflags,
            orig_rax: gpr.rax,
            ..registers(gpr, &control.regs)
        };
        gpr.rip = entry::step_gate();
        gpr.rflags &= !RFLAGS_CLEARED;
    }

    fn is_syscall(rip: u64) -> bool {
        // A fault in here cannot be taken care of (the exception stack is in use), so only memory that was just being
        // executed is read: the byte at RIP, and the next one, which may be in another page, when the first makes the
        // processor fetch it. It need not be user memory: the host's vDSO falls back to system calls of its own
        // (`linux` target).
        let at = rip as *const u8;
        // SAFETY: the instruction at RIP was fetched and raised #UD, so its bytes are present; the enclave's pages that
        // are executable are readable too.
        unsafe { at.read() == SYSCALL[0] && at.wrapping_add(1).read() == SYSCALL[1] }
    }

    fn registers(gpr: &GprSgx, old: &UserRegs) -> UserRegs {
        UserRegs {
            rax: gpr.rax,
            rbx: gpr.rbx,
            rcx: gpr.rcx,
            rdx: gpr.rdx,
            rsi: gpr.rsi,
            rdi: gpr.rdi,
            rbp: gpr.rbp,
            rsp: gpr.rsp,
            r8: gpr.r8,
            r9: gpr.r9,
            r10: gpr.r10,
            r11: gpr.r11,
            r12: gpr.r12,
            r13: gpr.r13,
            r14: gpr.r14,
            r15: gpr.r15,
            rip: gpr.rip,
            rflags: gpr.rflags,
            orig_rax: u64::MAX,
            ..*old
        }
    }
}
