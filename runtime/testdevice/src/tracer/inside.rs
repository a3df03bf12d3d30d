//! ENCLU, and what happens to a thread in an enclave: exceptions, interrupts and signals, as processor and kernel treat them.

use std::io;

use libc::{c_int, user_regs_struct};
use mystikos_abi::sgx::{pfec, vector, Tcs};
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::{Cpu, Enclave, Epc, Exception, Fault, Leaf, Registers};
use serde_json::json;
use zerocopy::IntoBytes;

use crate::driver::mapping::{page_of, Resolution};
use crate::memory::Alias;
use crate::protection::Prot;
use crate::ptrace::{self, Tid};
use crate::space::FileId;
use crate::trap::{self, Code, Raised, SignalInfo};

use super::cpuid::CPUID;
use super::{Thread, Tracer};

const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
/// Longest instruction.
const INSTRUCTION_MAX: usize = 15;
const SI_KERNEL: c_int = 0x80;
const SEGV_ACCERR: c_int = 2;

impl Tracer {
    /// A signal is about to be delivered.
    pub(super) fn on_signal(&mut self, tid: Tid, signal: c_int) -> io::Result<()> {
        let regs = ptrace::registers(tid)?;
        let siginfo = ptrace::signal_info(tid)?;
        let info = SignalInfo {
            signal,
            code: siginfo.si_code,
            // SAFETY: a field of the union that is always there; it means an address for faults only.
            address: unsafe { siginfo.si_addr() } as u64,
        };
        let code = self.code_at(tid, regs.rip);
        let raised = info.code > 0 && matches!(signal, libc::SIGILL | libc::SIGSEGV);
        if raised && code.starts_with(&ENCLU) {
            return self.on_enclu(tid, regs);
        }
        if !self.is_inside(tid) {
            if raised && info.code == SI_KERNEL && code.starts_with(&CPUID) {
                return self.on_cpuid(tid, regs);
            }
            self.note_access_from_outside(tid, &info);
            return self.resume(tid, signal);
        }
        let mut before = [0; 2];
        let behind = regs.rip.wrapping_sub(before.len() as u64);
        let code = Code {
            at: &code,
            before: self.read_code(tid, behind, &mut before).then_some(before),
        };
        match trap::exception(info, &regs, code) {
            Some(Raised { exception, passed }) => {
                set_back(tid, regs, passed)?;
                self.on_exception(tid, exception, signal)
            }
            None => {
                self.interrupt_inside(tid)?;
                self.resume(tid, signal)
            }
        }
    }

    /// A system call in the enclave, which was not carried out: #UD at the instruction.
    pub(super) fn on_illegal_call(&mut self, tid: Tid) -> io::Result<()> {
        if !self.is_inside(tid) {
            return self.resume(tid, 0);
        }
        let mut regs = ptrace::registers(tid)?;
        regs.rax = regs.orig_rax;
        set_back(tid, regs, 2)?;
        // To its end, so that others can be injected.
        self.run_to_call(tid)?;
        let exception = Exception {
            vector: vector::UD,
            code: 0,
            address: 0,
        };
        self.on_exception(tid, exception, libc::SIGILL)
    }

    /// The bytes that can be executed at an address, as many as an instruction can have.
    fn code_at(&mut self, tid: Tid, rip: u64) -> Vec<u8> {
        let mut code = vec![0; INSTRUCTION_MAX];
        let in_page = (PAGE_SIZE - rip % PAGE_SIZE) as usize;
        let first = in_page.min(INSTRUCTION_MAX);
        let mut length = 0;
        for (start, end) in [(0, first), (first, INSTRUCTION_MAX)] {
            let address = rip.wrapping_add(start as u64);
            if start == end || !self.read_code(tid, address, &mut code[start..end]) {
                break;
            }
            length = end;
        }
        code.truncate(length);
        code
    }

    /// Code in the enclave need not be readable for the tracer, but it must be executable for the enclave.
    fn read_code(&mut self, tid: Tid, address: u64, to: &mut [u8]) -> bool {
        let page = page_of(address);
        let Some(mapping) = self.process(tid).space.at(address) else {
            return ptrace::read_memory(tid, address, to);
        };
        let encl = &self.files[mapping.file].encl;
        let rights = encl
            .reachable(&(page..page + PAGE_SIZE), mapping.prot, &self.machine)
            .next();
        match (&encl.enclave, rights) {
            (Some(enclave), Some((_, prot))) if prot.contains(Prot::EXEC) => {
                enclave.memory().read(address - enclave.secs().baseaddr, to);
                true
            }
            _ => false,
        }
    }

    /// ENCLU, which this processor does not know.
    fn on_enclu(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let leaf = Leaf::selected(regs.rax as u32);
        let entering = matches!(leaf, Some(Leaf::Eenter | Leaf::Eresume)) && !self.is_inside(tid);
        let file = if entering {
            self.enter(tid, &regs, leaf == Some(Leaf::Eresume))
        } else if self.is_inside(tid) {
            Ok(self.thread(tid).file)
        } else {
            Err(Fault::Gp)
        };
        let done = match file {
            Ok(file) => {
                self.thread(tid).file = file;
                self.execute(tid, leaf)?
            }
            Err(fault) => Err(fault),
        };
        match done {
            Ok(leaf) => {
                self.machine.counts.leaf(leaf);
                if matches!(leaf, Leaf::Eaccept | Leaf::Eacceptcopy | Leaf::Emodpe) {
                    let page = page_of(regs.rcx);
                    self.apply_rights(tid, &(page..page + PAGE_SIZE))?;
                }
                self.resume(tid, 0)
            }
            Err(fault) => {
                let signal = if fault == Fault::Ud {
                    libc::SIGILL
                } else {
                    libc::SIGSEGV
                };
                self.on_exception(tid, fault.exception(), signal)
            }
        }
    }

    /// What page tables demand before a thread can be entered: TCS and SSA frame are mapped, and writable.
    fn enter(&mut self, tid: Tid, regs: &user_regs_struct, resume: bool) -> Result<FileId, Fault> {
        self.count_entry();
        let address = regs.rbx;
        let not_mapped = |address, code| Fault::Pf {
            address,
            code: pfec::U | code,
        };
        let process = self.thread(tid).process;
        let space = match self.processes.get(&process) {
            Some(process) => &process.space,
            None => return Err(Fault::Gp),
        };
        let file = space.at(address).ok_or(not_mapped(address, 0))?.file;
        let encl = &self.files[file].encl;
        let Some(enclave) = &encl.enclave else {
            return Err(not_mapped(address, 0));
        };
        if self.machine.lost {
            return Err(not_mapped(address, pfec::P | pfec::SGX));
        }
        let mut pages = vec![page_of(address)];
        pages.extend(ssa_frame(enclave, address, resume));
        match pages
            .iter()
            .find(|&&page| !encl.is_mapped(page, space.prot(page)))
        {
            Some(&page) => Err(not_mapped(page, pfec::W)),
            None => Ok(file),
        }
    }

    fn count_entry(&mut self) {
        let entries = self.machine.counts.eenter + self.machine.counts.eresume;
        if self.lose_after.is_some_and(|after| entries >= after) && !self.machine.lost {
            self.machine.lost = true;
            self.journal
                .note(|| json!({ "event": "lost", "entries": entries }));
        }
    }

    /// An exception: of code in the enclave, or of the ENCLU that should have entered it.
    fn on_exception(
        &mut self,
        tid: Tid,
        mut exception: Exception,
        signal: c_int,
    ) -> io::Result<()> {
        let inside = self.is_inside(tid);
        self.machine.counts.faults += 1;
        let mut signal = signal;
        let mut again = false;
        if exception.vector == vector::PF && inside {
            match self.resolve(tid, &exception) {
                Some(Resolution::Again) => again = true,
                Some(Resolution::Segv(code)) => exception.code = code,
                Some(Resolution::Bus(code)) => {
                    exception.code = code;
                    signal = libc::SIGBUS;
                }
                None => {}
            }
        }
        let tcs = self.thread(tid).state.tcs();
        let seen = if inside {
            self.machine.counts.aex += 1;
            self.with_enclave(tid, |enclave, cpu| enclave.aex(cpu, Some(exception)))?
                .unwrap_or(exception)
        } else {
            exception
        };
        self.journal.note(|| {
            json!({ "event": "exception", "tid": tid, "tcs": tcs, "vector": exception.vector, "code": exception.code,
                "address": format!("{:#x}", exception.address), "resolved": again })
        });
        if again {
            let page = page_of(exception.address);
            self.apply_rights(tid, &(page..page + PAGE_SIZE))?;
            return self.resume(tid, 0);
        }
        if self.fix_up(tid, &seen)? {
            return self.resume(tid, 0);
        }
        self.describe(tid, &seen, signal)?;
        self.resume(tid, signal)
    }

    /// What the kernel makes of a page fault at an address of the enclave.
    fn resolve(&mut self, tid: Tid, exception: &Exception) -> Option<Resolution> {
        let file = self.thread(tid).file;
        let mapped = self.process(tid).space.prot(exception.address);
        let encl = &mut self.files[file].encl;
        encl.range()
            .filter(|elrange| elrange.contains(&exception.address))?;
        let access = trap::access_of(exception.code);
        Some(encl.fault(exception.address, access, mapped, &mut self.machine))
    }

    /// fixup_vdso_exception: an exception at the ENCLU of the vDSO does not become a signal, unless it is #DB or #BP.
    fn fix_up(&mut self, tid: Tid, exception: &Exception) -> io::Result<bool> {
        let mut regs = ptrace::registers(tid)?;
        let Some(entry) = self
            .process(tid)
            .entry
            .filter(|entry| entry.enclu == regs.rip)
        else {
            return Ok(false);
        };
        if matches!(exception.vector, vector::DB | vector::BP) {
            return Ok(false);
        }
        regs.rip = entry.fixup;
        regs.rdi = exception.vector.into();
        regs.rsi = exception.code.into();
        regs.rdx = exception.address;
        regs.orig_rax = u64::MAX;
        ptrace::set_registers(tid, &regs)?;
        Ok(true)
    }

    /// The signal as the kernel would have raised it for the exception, whatever this processor raised.
    fn describe(&self, tid: Tid, exception: &Exception, signal: c_int) -> io::Result<()> {
        // SAFETY: a structure of numbers.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        info.si_signo = signal;
        info.si_code = match exception.vector {
            vector::PF if signal == libc::SIGBUS => libc::BUS_ADRERR,
            vector::PF => SEGV_ACCERR,
            vector::GP | vector::BP => SI_KERNEL,
            _ => return Ok(()),
        };
        // SAFETY: si_addr follows the three numbers and their padding, at 16.
        unsafe {
            (&raw mut info)
                .cast::<u64>()
                .add(2)
                .write(exception.address)
        };
        ptrace::set_signal_info(tid, &info)
    }

    /// An interrupt, if the thread is in an enclave.
    pub(super) fn interrupt_inside(&mut self, tid: Tid) -> io::Result<()> {
        if self.is_inside(tid) {
            self.machine.counts.aex += 1;
            self.with_enclave(tid, |enclave, cpu| enclave.aex(cpu, None))?;
        }
        Ok(())
    }

    /// The processor would answer with ones and ignore writes; no program should rely on that.
    fn note_access_from_outside(&mut self, tid: Tid, info: &SignalInfo) {
        if info.signal == libc::SIGSEGV && self.process(tid).space.at(info.address).is_some() {
            let address = format!("{:#x}", info.address);
            self.journal
                .note(|| json!({ "event": "access from outside", "tid": tid, "address": address }));
        }
    }

    /// Lets the software SGX leave or resume: extended state goes into the enclave or comes from it.
    fn with_enclave<R>(
        &mut self,
        tid: Tid,
        work: impl FnOnce(&mut Enclave<Alias>, &mut Cpu<'_>) -> R,
    ) -> io::Result<R> {
        let mut xsave = ptrace::extended_state(tid)?;
        let result = self.on_registers(tid, &mut xsave, work)?;
        ptrace::set_extended_state(tid, &xsave)?;
        Ok(result)
    }

    /// Executes a leaf function. Only ERESUME touches extended state; of others it matters how large that is.
    fn execute(&mut self, tid: Tid, leaf: Option<Leaf>) -> io::Result<Result<Leaf, Fault>> {
        if leaf == Some(Leaf::Eresume) {
            return self.with_enclave(tid, |enclave, cpu| enclave.enclu(cpu));
        }
        if self.any_state.is_empty() {
            self.any_state = ptrace::extended_state(tid)?;
        }
        let mut any_state = std::mem::take(&mut self.any_state);
        let done = self.on_registers(tid, &mut any_state, |enclave, cpu| enclave.enclu(cpu));
        self.any_state = any_state;
        done
    }

    /// Lets the software SGX work on a thread's registers and the enclave of its device file.
    fn on_registers<R>(
        &mut self,
        tid: Tid,
        xsave: &mut [u8],
        work: impl FnOnce(&mut Enclave<Alias>, &mut Cpu<'_>) -> R,
    ) -> io::Result<R> {
        let regs = ptrace::registers(tid)?;
        let Thread {
            mut state, file, ..
        } = *self.thread(tid);
        let Some(enclave) = &mut self.files[file].encl.enclave else {
            return Err(io::Error::other(
                "a thread is in an enclave that was not created",
            ));
        };
        let mut cpu = Cpu {
            regs: from_linux(&regs),
            fs_base: regs.fs_base,
            gs_base: regs.gs_base,
            xsave,
            state: &mut state,
        };
        let result = work(enclave, &mut cpu);
        let after = to_linux(&cpu, regs);
        let was_inside = self.is_inside(tid);
        self.thread(tid).state = state;
        ptrace::set_registers(tid, &after)?;
        if was_inside != state.inside() {
            self.apply_guard(tid)?;
        }
        Ok(result)
    }
}

/// Back to the instruction that RIP has passed by some bytes.
fn set_back(tid: Tid, mut regs: user_regs_struct, passed: u64) -> io::Result<()> {
    regs.rip -= passed;
    regs.orig_rax = u64::MAX;
    ptrace::set_registers(tid, &regs)
}

/// Pages of the SSA frame that an entry uses.
fn ssa_frame(
    enclave: &Enclave<Alias>,
    tcs_address: u64,
    resume: bool,
) -> impl Iterator<Item = u64> {
    let secs = enclave.secs();
    let mut tcs = Tcs::default();
    let offset = tcs_address.wrapping_sub(secs.baseaddr);
    let inside = offset.is_multiple_of(PAGE_SIZE) && offset < secs.size;
    if inside {
        enclave.memory().read(offset, tcs.as_mut_bytes());
    }
    let size = u64::from(secs.ssaframesize) * PAGE_SIZE;
    let number = u64::from(tcs.cssa).wrapping_sub(u64::from(resume));
    let start = secs
        .baseaddr
        .wrapping_add(tcs.ossa)
        .wrapping_add(size.wrapping_mul(number));
    // Where the frame is none of this enclave, the leaf function itself finds out.
    let usable = inside && (number < u64::from(tcs.nssa));
    let pages = if usable {
        u64::from(secs.ssaframesize)
    } else {
        0
    };
    (0..pages).map(move |page| start.wrapping_add(page * PAGE_SIZE))
}

fn from_linux(regs: &user_regs_struct) -> Registers {
    Registers {
        rax: regs.rax,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rbx: regs.rbx,
        rsp: regs.rsp,
        rbp: regs.rbp,
        rsi: regs.rsi,
        rdi: regs.rdi,
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rflags: regs.eflags,
        rip: regs.rip,
    }
}

fn to_linux(cpu: &Cpu<'_>, before: user_regs_struct) -> user_regs_struct {
    let regs = &cpu.regs;
    user_regs_struct {
        rax: regs.rax,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rbx: regs.rbx,
        rsp: regs.rsp,
        rbp: regs.rbp,
        rsi: regs.rsi,
        rdi: regs.rdi,
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        eflags: regs.rflags,
        rip: regs.rip,
        fs_base: cpu.fs_base,
        gs_base: cpu.gs_base,
        orig_rax: u64::MAX,
        ..before
    }
}
