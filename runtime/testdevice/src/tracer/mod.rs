//! The tracer: what happens to the threads of the program, and what becomes of it.
//!
//! * [`exec`]: a program begins: vDSO, CPUID faulting. [`cpuid`]: what CPUID tells.
//! * [`calls`]: system calls of interest.
//! * [`mappings`]: those of the device in the program.
//! * [`inside`]: ENCLU, exceptions and interrupts in the enclave.

mod calls;
mod cpuid;
mod exec;
mod inside;
mod mappings;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;

use libc::{c_int, user_regs_struct};
use mystikos_sgx::{Enclave, LogicalProcessor};

use crate::driver::Machine;
use crate::files::DeviceFile;
use crate::journal::Journal;
use crate::options::{Options, Presence};
use crate::protection::Prot;
use crate::ptrace::{self, Resume, Stop, Tid};
use crate::space::{FileId, Space};
use crate::ticks::Ticks;

pub use cpuid::xcr0;

/// All that is known of the program.
pub struct Tracer {
    main: Tid,
    threads: HashMap<Tid, Thread>,
    processes: HashMap<Tid, Process>,
    files: Vec<DeviceFile>,
    /// Stops that were reported and not looked at yet.
    stops: VecDeque<(Tid, Stop)>,
    /// Threads that entered a system call while a request was served on a device file.
    overlapping: HashMap<Tid, FileId>,
    machine: Machine,
    journal: Journal,
    presence: Presence,
    lose_after: Option<u64>,
    /// Enclave memory is out of reach while no thread is inside.
    guard: bool,
    ticks: Ticks,
    /// Extended state of some thread, where only its size matters.
    any_state: Vec<u8>,
}

/// A thread of the program.
#[derive(Clone, Copy, Default)]
struct Thread {
    process: Tid,
    state: LogicalProcessor,
    /// The device file of the enclave that it is in.
    file: FileId,
}

/// A process of the program.
#[derive(Clone, Default)]
struct Process {
    space: Space,
    entry: Option<Entry>,
    /// Address of a SYSCALL instruction that may be used.
    call_site: u64,
}

/// The enclave entry of the vDSO, as the kernel's exception table has it.
#[derive(Clone, Copy)]
struct Entry {
    enclu: u64,
    fixup: u64,
}

impl Tracer {
    /// A tracer of the process that [`crate::start::start`] has started.
    pub fn new(main: Tid, machine: Machine, options: &Options) -> io::Result<Tracer> {
        Ok(Tracer {
            main,
            threads: HashMap::from([(
                main,
                Thread {
                    process: main,
                    ..Thread::default()
                },
            )]),
            processes: HashMap::from([(main, Process::default())]),
            files: Vec::new(),
            stops: VecDeque::new(),
            overlapping: HashMap::new(),
            machine,
            journal: Journal::new(options.log.as_deref())?,
            presence: options.presence,
            lose_after: options.lose_after,
            guard: options.guard,
            ticks: Ticks::start(options.interrupts, options.seed)?,
            any_state: Vec::new(),
        })
    }

    /// Runs the program to its end; its exit status, 128 and the number of the signal that ended it.
    pub fn run(&mut self) -> io::Result<c_int> {
        loop {
            self.interrupt_some()?;
            let next = match self.stops.pop_front() {
                Some(next) => Some(next),
                None => ptrace::wait(-1, true)?,
            };
            match next {
                Some((tid, Stop::Exited(status))) if tid == self.main => return Ok(status),
                Some((tid, Stop::Killed(signal))) if tid == self.main => return Ok(128 + signal),
                Some((tid, stop)) => tolerate_end(self.on_stop(tid, stop))?,
                None => {}
            }
        }
    }

    /// Ends the log; what was counted, for people.
    pub fn finish(&mut self) -> String {
        self.journal.finish(&self.machine.counts)
    }

    fn on_stop(&mut self, tid: Tid, stop: Stop) -> io::Result<()> {
        if !matches!(stop, Stop::Exited(_) | Stop::Killed(_)) {
            self.register(tid)?;
        }
        match stop {
            Stop::Exited(_) | Stop::Killed(_) => {
                if let Some(thread) = self.threads.remove(&tid) {
                    if !self
                        .threads
                        .values()
                        .any(|other| other.process == thread.process)
                    {
                        self.processes.remove(&thread.process);
                    }
                }
                Ok(())
            }
            Stop::Event(libc::PTRACE_EVENT_EXEC, _) => self.on_exec(tid),
            Stop::Event(libc::PTRACE_EVENT_SECCOMP, _) => self.on_call(tid),
            Stop::Event(libc::PTRACE_EVENT_STOP, signal) => self.on_event_stop(tid, signal),
            Stop::Event(..) => self.resume(tid, 0),
            Stop::Call => self.on_illegal_call(tid),
            Stop::Signal(signal) => self.on_signal(tid, signal),
        }
    }

    /// The first stop of a new thread, a stop that was asked for, or a group-stop.
    fn on_event_stop(&mut self, tid: Tid, signal: c_int) -> io::Result<()> {
        self.interrupt_inside(tid)?;
        if signal == libc::SIGTRAP {
            self.resume(tid, 0)
        } else {
            ptrace::resume(tid, Resume::Listen, 0)
        }
    }

    fn register(&mut self, tid: Tid) -> io::Result<()> {
        if self.threads.contains_key(&tid) {
            return Ok(());
        }
        let status = std::fs::read_to_string(format!("/proc/{tid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<Tid>().ok()
        };
        let process = number("Tgid:").unwrap_or(tid);
        if !self.processes.contains_key(&process) {
            // A copy of its parent, enclaves included.
            let parent = number("PPid:").and_then(|parent| self.processes.get(&parent));
            let copy = parent.cloned().unwrap_or_default();
            self.processes.insert(process, copy);
        }
        self.threads.insert(
            tid,
            Thread {
                process,
                ..Thread::default()
            },
        );
        Ok(())
    }

    fn thread(&mut self, tid: Tid) -> &mut Thread {
        self.threads.entry(tid).or_default()
    }

    fn process(&mut self, tid: Tid) -> &mut Process {
        let process = self.thread(tid).process;
        self.processes.entry(process).or_default()
    }

    fn is_inside(&mut self, tid: Tid) -> bool {
        self.thread(tid).state.inside()
    }

    /// Lets a thread go on; in an enclave no system call of it reaches the kernel.
    fn resume(&mut self, tid: Tid, signal: c_int) -> io::Result<()> {
        let how = if self.is_inside(tid) {
            Resume::EmulateCalls
        } else {
            Resume::Run
        };
        ptrace::resume(tid, how, signal)
    }

    /// Carries out the system call at whose beginning a thread was stopped, and returns its result; the thread is
    /// stopped at its end.
    fn finish_call(&mut self, tid: Tid) -> io::Result<i64> {
        self.run_to_call(tid)?;
        Ok(ptrace::registers(tid)?.rax as i64)
    }

    /// Does not carry out the system call at whose beginning a thread was stopped; it returns `result`.
    fn skip_call(&mut self, tid: Tid, mut regs: user_regs_struct, result: i64) -> io::Result<()> {
        regs.orig_rax = u64::MAX;
        regs.rax = result as u64;
        ptrace::set_registers(tid, &regs)?;
        self.resume(tid, 0)
    }

    /// Makes a stopped thread carry out a system call, and puts it back to where it was.
    ///
    /// It must not be stopped at the beginning of another one.
    fn inject(&mut self, tid: Tid, number: i64, args: [u64; 6]) -> io::Result<i64> {
        let before = ptrace::registers(tid)?;
        let mask = ptrace::swap_signal_mask(tid, u64::MAX)?;
        let regs = user_regs_struct {
            rip: self.process(tid).call_site,
            rax: number as u64,
            orig_rax: u64::MAX,
            rdi: args[0],
            rsi: args[1],
            rdx: args[2],
            r10: args[3],
            r8: args[4],
            r9: args[5],
            ..before
        };
        ptrace::set_registers(tid, &regs)?;
        self.run_to_call(tid)?;
        self.run_to_call(tid)?;
        let result = ptrace::registers(tid)?.rax as i64;
        let back = user_regs_struct {
            orig_rax: u64::MAX,
            ..before
        };
        ptrace::set_registers(tid, &back)?;
        ptrace::swap_signal_mask(tid, mask)?;
        Ok(result)
    }

    /// Lets a thread go on until a system call begins or ends.
    fn run_to_call(&mut self, tid: Tid) -> io::Result<()> {
        loop {
            ptrace::resume(tid, Resume::ToCall, 0)?;
            let stop = loop {
                if let Some((_, stop)) = ptrace::wait(tid, true)? {
                    break stop;
                }
            };
            match stop {
                Stop::Call => return Ok(()),
                Stop::Exited(_) | Stop::Killed(_) => {
                    self.stops.push_back((tid, stop));
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                // The filter reports injected calls as well; stops of the whole process are reported again.
                _ => {}
            }
        }
    }

    /// Gives the pages of the range the rights in the process that both its mappings and the EPCM grant.
    fn apply_rights(&mut self, tid: Tid, range: &Range<u64>) -> io::Result<()> {
        for (range, prot) in self.wrong_rights(tid, range) {
            let args = [
                range.start,
                range.end - range.start,
                prot.bits().into(),
                0,
                0,
                0,
            ];
            let result = self.inject(tid, libc::SYS_mprotect, args)?;
            if result != 0 {
                return Err(io::Error::other(format!(
                    "mprotect of {range:x?} in the program failed: {}",
                    io::Error::from_raw_os_error(-result as i32)
                )));
            }
            self.process(tid).space.applied(range, prot);
        }
        Ok(())
    }

    fn wrong_rights(&mut self, tid: Tid, range: &Range<u64>) -> Vec<(Range<u64>, Prot)> {
        let process = self.thread(tid).process;
        let Some(process) = self.processes.get(&process) else {
            return Vec::new();
        };
        process.space.differences(range, |part, mapping| {
            let encl = &self.files[mapping.file].encl;
            let inside = encl.enclave.as_ref().map_or(0, Enclave::active);
            let hidden = self.guard && inside == 0;
            encl.reachable(part, mapping.prot, &self.machine)
                .filter(move |_| !hidden)
        })
    }

    /// After an entry or an exit: the guard lets the first thread in and shuts behind the last one.
    fn apply_guard(&mut self, tid: Tid) -> io::Result<()> {
        let file = self.thread(tid).file;
        let elrange = self.files[file].encl.range();
        match elrange.filter(|_| self.guard) {
            Some(elrange) => self.apply_rights(tid, &elrange),
            None => Ok(()),
        }
    }

    /// Interrupts threads that are in an enclave, if it is time to.
    fn interrupt_some(&mut self) -> io::Result<()> {
        if !self.ticks.is_due() {
            return Ok(());
        }
        let inside: Vec<Tid> = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.state.inside())
            .map(|(&tid, _)| tid)
            .collect();
        for tid in inside {
            if self.ticks.toss() {
                tolerate_end(ptrace::interrupt(tid))?;
            }
        }
        Ok(())
    }
}

/// A thread that was killed is reported by waitpid(2) in time; what could not be done with it does not matter.
fn tolerate_end(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}
