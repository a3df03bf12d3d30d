//! A program begins: it gets the vDSO of a kernel with SGX, and its CPUID instructions fault.

use std::io;

use crate::ptrace::{self, Tid};
use crate::vdso;

use super::{Entry, Process, Tracer};

const AT_NULL: u64 = 0;
const AT_SYSINFO_EHDR: u64 = 33;
/// arch_prctl(2): whether CPUID may be executed.
const ARCH_SET_CPUID: u64 = 0x1012;
/// CS of 64-bit code.
const USER_CS: u64 = 0x33;

impl Tracer {
    /// PTRACE_EVENT_EXEC: nothing of the program has run, and no other thread is left.
    pub(super) fn on_exec(&mut self, tid: Tid) -> io::Result<()> {
        let process = self.thread(tid).process;
        self.threads
            .retain(|&other, thread| other == tid || thread.process != process);
        self.thread(tid).state = mystikos_sgx::LogicalProcessor::OUTSIDE;
        self.processes.insert(process, Process::default());
        self.finish_call(tid)?;
        if ptrace::registers(tid)?.cs == USER_CS {
            self.replace_vdso(tid)?;
            self.make_cpuid_fault(tid)?;
        }
        self.resume(tid, 0)
    }

    /// Maps the image and has the auxiliary vector point at it.
    fn replace_vdso(&mut self, tid: Tid) -> io::Result<()> {
        let at = find_auxiliary(tid, AT_SYSINFO_EHDR)?;
        let own_base = read_word(tid, at)?;
        let mut own = vec![0; 2 * 4096];
        if !ptrace::read_memory(tid, own_base, &mut own) {
            own.truncate(4096);
            if !ptrace::read_memory(tid, own_base, &mut own) {
                return Err(io::Error::other("the vDSO cannot be read"));
            }
        }
        // Wherever these bytes are found, they are a SYSCALL instruction.
        let call = own.windows(2).position(|bytes| bytes == [0x0f, 0x05]);
        let call = call.ok_or_else(|| io::Error::other("the vDSO has no SYSCALL instruction"))?;
        self.process(tid).call_site = own_base + call as u64;

        let size = vdso::SIZE as u64;
        let (writable, executable) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::PROT_READ | libc::PROT_EXEC,
        );
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let args = [0, size, writable as u64, flags as u64, u64::MAX, 0];
        let base = self.inject(tid, libc::SYS_mmap, args)?;
        if base < 0 {
            return Err(io::Error::from_raw_os_error(-base as i32));
        }
        let base = base as u64;
        let image =
            vdso::image(&own, own_base, base).map_err(|e| io::Error::other(e.to_string()))?;
        if !ptrace::write_memory(tid, base, &image.bytes)
            || !ptrace::write_memory(tid, at, &base.to_le_bytes())
        {
            return Err(io::Error::other("the program's memory cannot be written"));
        }
        self.inject(
            tid,
            libc::SYS_mprotect,
            [base, size, executable as u64, 0, 0, 0],
        )?;
        self.process(tid).entry = Some(Entry {
            enclu: base + image.enclu,
            fixup: base + image.fixup,
        });
        Ok(())
    }

    /// Where the processor or the kernel cannot do it, the program sees the machine's own CPUID.
    fn make_cpuid_fault(&mut self, tid: Tid) -> io::Result<()> {
        let result = self.inject(tid, libc::SYS_arch_prctl, [ARCH_SET_CPUID, 0, 0, 0, 0, 0])?;
        self.journal.note(
            || serde_json::json!({ "event": "exec", "tid": tid, "cpuid faults": result == 0 }),
        );
        Ok(())
    }
}

/// Address of the value of an entry of the auxiliary vector, on the stack of a program that begins.
fn find_auxiliary(tid: Tid, wanted: u64) -> io::Result<u64> {
    let mut at = ptrace::registers(tid)?.rsp;
    let argc = read_word(tid, at)?;
    at += 8 * (argc + 2);
    while read_word(tid, at)? != 0 {
        at += 8;
    }
    at += 8;
    loop {
        match read_word(tid, at)? {
            AT_NULL => return Err(io::Error::other("the program has no vDSO")),
            entry if entry == wanted => return Ok(at + 8),
            _ => at += 16,
        }
    }
}

fn read_word(tid: Tid, address: u64) -> io::Result<u64> {
    let mut word = [0; 8];
    match ptrace::read_memory(tid, address, &mut word) {
        true => Ok(u64::from_le_bytes(word)),
        false => Err(io::Error::other("the program's stack cannot be read")),
    }
}
