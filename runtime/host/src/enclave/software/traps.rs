//! The traps in which the software SGX does the processor's work: ENCLU, asynchronous exits, and what is illegal inside.

use core::arch::{global_asm, x86_64::__cpuid_count};

use linux_raw_sys::general as raw;
use mystikos_abi::sgx::{pfec, vector};
use mystikos_sgx::{Cpu, Exception, Fault, Leaf, Processor, Registers as Enclu, XsaveLayout};

use super::{illegal, machine, Machine};
use crate::enclave::interrupts::{self, ENCLU};
use crate::faults;
use crate::signals::{Handlers, Local};
use crate::stats::{self, Event};
use crate::sys::{self, Context, Registers};
use crate::{failure, memory};

global_asm!(include_str!("../../../../sgx/enter_enclave.s"));

extern "C" {
    fn sgx_enter_enclave();
    fn sgx_enter_enclave_enclu();
    fn sgx_enter_enclave_fixup();
}

/// Address of the function by which this process enters enclaves.
pub fn entry() -> u64 {
    sgx_enter_enclave as *const () as u64
}

/// Every signal waits while the processor is played: its state must not be looked at halfway.
pub const HANDLERS: Handlers = Handlers {
    fault: on_fault,
    interrupt: on_interrupt,
    blocked: u64::MAX,
};

/// The processor that is played, with the extended state of this one.
pub fn processor() -> Processor {
    let mut processor = Processor::simulated(sys::xcr0());
    processor.xsave = XsaveLayout::of_machine(|subleaf| {
        let leaf = __cpuid_count(0xd, subleaf);
        (leaf.eax, leaf.ebx)
    });
    processor
}

/// Makes CPUID, RDTSC and RDTSCP fault in the calling thread, where this machine can: they are illegal inside (RDTSC on
/// processors with SGX1 only, which is the harder case).
pub fn fault_on_illegal_instructions(fault: bool) {
    sys::set_cpuid_faulting(fault);
    sys::set_tsc_faulting(fault);
}

extern "C" fn on_interrupt(_: i32, _: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    let local = Local::of_handler();
    // SAFETY: the host kernel passes a pointer to the signal frame.
    let mut thread = unsafe { Thread::of(local, context) };
    if thread.cpu.state.inside() {
        thread.leave(None);
    }
    interrupts::interrupt(local, thread.store());
}

extern "C" fn on_fault(signal: i32, info: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    let local = Local::of_handler();
    // SAFETY: the host kernel passes pointers to the signal frame.
    let (exception, mut thread) = unsafe {
        let exception = faults::Exception::of(signal, info, context);
        (exception, Thread::of(local, context))
    };
    let enclu = is_enclu(signal, exception, thread.cpu.regs.rip);
    match (thread.cpu.state.inside(), enclu) {
        (_, true) => thread.enclu(),
        (true, false) => thread.raise(exception),
        (false, false) => return outside(local, thread.registers, exception),
    }
    let delivered = thread.delivered;
    let registers = thread.store();
    if delivered {
        interrupts::interrupt(local, registers);
    }
}

/// ENCLU raised the exception: #UD without SGX, #GP or #PF where the processor has it. (It finds no enclave there: virtual
/// machines cannot hide ENCLU, so this also happens where nothing else tells of SGX.)
fn is_enclu(signal: i32, exception: faults::Exception, rip: u64) -> bool {
    let raised = match exception.vector {
        vector::UD => signal as u32 == raw::SIGILL,
        vector::GP => true,
        vector::PF => exception.error & pfec::I == 0,
        _ => false,
    };
    // SAFETY: one of these was raised there, and not by the fetch.
    raised && unsafe { illegal::is_at(rip, &ENCLU) }
}

/// A fault in the launcher's own code.
fn outside(local: &Local, registers: &mut Registers, exception: faults::Exception) {
    if exception.vector == vector::DB && interrupts::step(local, registers) {
        return;
    }
    let own_gp = exception.vector == vector::GP && sys::own_code().contains(&registers.rip);
    // SAFETY: #GP was raised there.
    if own_gp && unsafe { illegal::is_at(registers.rip, &illegal::CPUID) } {
        sys::set_cpuid_faulting(false);
        let leaf = __cpuid_count(registers.rax as u32, registers.rcx as u32);
        sys::set_cpuid_faulting(true);
        registers.rax = leaf.eax.into();
        registers.rbx = leaf.ebx.into();
        registers.rcx = leaf.ecx.into();
        registers.rdx = leaf.edx.into();
        registers.rip += illegal::CPUID.len() as u64;
        return;
    }
    failure::launcher_failed(registers.rip, exception.vector.into(), exception.address);
}

/// A thread in a signal handler, as the processor sees it.
struct Thread<'a> {
    cpu: Cpu<'a>,
    registers: &'a mut Registers,
    /// It was left by #DB or #BP, which Linux never fixes up: there is a signal, whose handler sees the thread at the AEP.
    delivered: bool,
}

impl<'a> Thread<'a> {
    /// # Safety
    ///
    /// `context` is that of a signal handler of the thread with this local part, and used by nobody else.
    unsafe fn of(local: &'a Local, context: *mut Context) -> Thread<'a> {
        // SAFETY: the caller's. The hidden registers are this thread's own (see `Processor`).
        let (xsave, state, registers) = unsafe {
            (
                sys::extended_state(context),
                &mut *local.enclave.processor.0.get(),
                &mut (*context).registers,
            )
        };
        let (fs_base, gs_base) = sys::segment_bases();
        Thread {
            cpu: Cpu {
                regs: loaded(registers),
                fs_base,
                gs_base,
                xsave,
                state,
            },
            registers,
            delivered: false,
        }
    }

    /// Puts everything where the return from the handler loads it.
    fn store(&mut self) -> &mut Registers {
        stored(&self.cpu.regs, self.registers);
        // SAFETY: FSGSBASE was checked; the launcher uses neither base, and the values were bases before.
        unsafe { sys::set_segment_bases(self.cpu.fs_base, self.cpu.gs_base) };
        self.registers
    }

    /// ENCLU; if it faults, the exception it raises.
    fn enclu(&mut self) {
        let Some(mut machine) = machine() else {
            failure::launcher_failed(self.cpu.regs.rip, vector::UD.into(), 0);
        };
        match machine.enclave.enclu(&mut self.cpu) {
            Ok(leaf) => count(leaf, &mut machine, &self.cpu),
            Err(fault) if self.cpu.state.inside() => {
                drop(machine);
                self.leave(Some(fault.exception()));
            }
            Err(fault) => {
                drop(machine);
                self.fix_up(fault.exception());
            }
        }
    }

    /// An exception inside.
    fn raise(&mut self, exception: faults::Exception) {
        let mut exception = Exception {
            vector: exception.vector,
            code: exception.error,
            address: exception.address,
        };
        match exception.vector {
            vector::GP if illegal::is_illegal_inside(self.cpu.regs.rip) => {
                exception = Fault::Ud.exception();
            }
            vector::BP | vector::OF
                if illegal::is_behind_int(self.cpu.regs.rip, exception.vector) =>
            {
                self.cpu.regs.rip -= 2;
                exception = Fault::Ud.exception();
            }
            _ => {}
        }
        self.leave(Some(exception));
    }

    /// AEX, and what the host kernel does next at the AEP.
    fn leave(&mut self, cause: Option<Exception>) {
        stats::count(Event::Aex);
        let seen = match machine() {
            Some(mut machine) => {
                let cause = cause.map(|exception| by_epcm(&machine, exception));
                machine.enclave.aex(&mut self.cpu, cause)
            }
            None => cause,
        };
        match seen {
            Some(exception) if matches!(exception.vector, vector::DB | vector::BP) => {
                self.delivered = true;
            }
            Some(exception) => self.fix_up(exception),
            None => {}
        }
    }

    /// The host kernel's fix-up of an exception at ENCLU (Linux, asm/sgx.h): it knows the page of an address only.
    fn fix_up(&mut self, exception: Exception) {
        let at_enclu = self.cpu.regs.rip == sgx_enter_enclave_enclu as *const () as u64;
        if !at_enclu {
            failure::launcher_failed(
                self.cpu.regs.rip,
                exception.vector.into(),
                exception.address,
            );
        }
        self.cpu.regs.rip = sgx_enter_enclave_fixup as *const () as u64;
        self.cpu.regs.rdi = exception.vector.into();
        self.cpu.regs.rsi = exception.code.into();
        self.cpu.regs.rdx = exception.address;
    }
}

/// A page fault has the error code of the EPCM when it is the EPCM that forbids the access.
fn by_epcm(machine: &Machine, exception: Exception) -> Exception {
    use mystikos_sgx::Access;
    if exception.vector != vector::PF || !machine.maps(exception.address) {
        return exception;
    }
    let access = match exception.code {
        code if code & pfec::I != 0 => Access::Execute,
        code if code & pfec::W != 0 => Access::Write,
        _ => Access::Read,
    };
    match machine.enclave.check_access(exception.address, access) {
        Err(fault) => fault.exception(),
        Ok(()) => exception,
    }
}

fn count(leaf: Leaf, machine: &mut Machine, cpu: &Cpu<'_>) {
    match leaf {
        Leaf::Eenter => stats::count(Event::Eenter),
        Leaf::Eresume => stats::count(Event::Eresume),
        Leaf::Eexit => stats::count(Event::Eexit),
        Leaf::Ereport => stats::count(Event::Ereport),
        Leaf::Egetkey => stats::count(Event::Egetkey),
        // The EPCM's rights have changed, so what the page may be used for does, too.
        Leaf::Eaccept | Leaf::Eacceptcopy | Leaf::Emodpe => {
            let page = cpu.regs.rcx & !0xfff;
            let rights = machine.rights(page);
            // SAFETY: a page of the enclave, which the launcher does not use.
            let _ = unsafe { memory::protect(page, mystikos_abi::PAGE_SIZE, rights) };
        }
        _ => {}
    }
}

macro_rules! registers {
    ($convert:ident) => {
        $convert!(
            rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rflags,
            rip
        )
    };
}

fn loaded(from: &Registers) -> Enclu {
    macro_rules! load { ($($name:ident),*) => { Enclu { $($name: from.$name),* } }; }
    registers!(load)
}

fn stored(from: &Enclu, to: &mut Registers) {
    macro_rules! store { ($($name:ident),*) => { $(to.$name = from.$name;)* }; }
    registers!(store);
}
