//! One application thread, one TCS, one host thread.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linux_raw_sys::general as raw;
use mystikos_platform::control::{self, UserRegs};
use mystikos_platform::sync::Mutex;
use mystikos_platform::{entry, fpu, host, user};

use super::{futex, robust, slots, Process};
use crate::signal::{self, set::SigSet};
use crate::{Errno, Result};

/// Bytes of a thread's name, with the NUL (TASK_COMM_LEN).
pub const NAME_SIZE: usize = 16;

/// A thread of the application.
pub struct Thread {
    /// Thread ID.
    pub tid: u32,
    /// Number of its thread block.
    pub slot: usize,
    /// The process it belongs to.
    pub process: Arc<Process>,
    /// Signal mask, alternate stack, and what is pending for this thread.
    pub signals: signal::ThreadSignals,
    /// Name, NUL-padded.
    pub name: Mutex<[u8; NAME_SIZE]>,
    /// Word that is cleared and woken when the thread ends (set_tid_address(2)); 0 for none.
    pub clear_child_tid: AtomicU64,
    /// Head of the list of robust futexes; 0 for none.
    pub robust_list: AtomicU64,
    /// Deadline of a sleep that was interrupted, for restart_syscall(2).
    pub restart_deadline: AtomicU64,
    /// CPUs chosen by sched_setaffinity(2), `None` for all; kept and told.
    pub affinity: Mutex<Option<super::affinity::CpuSet>>,
    /// Timer slack (prctl(2)); told, not used.
    pub timer_slack: AtomicU64,
    /// The latest CPU time that the thread was told of itself, in nanoseconds.
    pub cpu_time: AtomicU64,
    /// The thread is about to end; signals go to others.
    pub ending: AtomicBool,
}

const DEFAULT_SLACK: u64 = 50_000;

impl Thread {
    pub(super) fn new(
        tid: u32,
        slot: usize,
        process: Arc<Process>,
        mask: SigSet,
        name: [u8; NAME_SIZE],
    ) -> Self {
        Thread {
            tid,
            slot,
            process,
            signals: signal::ThreadSignals::inheriting(mask),
            name: Mutex::new(name),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            restart_deadline: AtomicU64::new(0),
            affinity: Mutex::new(None),
            timer_slack: AtomicU64::new(DEFAULT_SLACK),
            cpu_time: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        }
    }

    /// The thread is its process's first one.
    pub fn is_leader(&self) -> bool {
        self.tid == self.process.pid
    }
}

/// The calling thread.
pub fn current() -> control::Current<Thread> {
    control::current::<Thread>()
}

/// What a host thread that enters for the first time is to become.
pub enum NewThread {
    /// A thread of the application.
    Application(Box<Beginning>),
    /// A thread of the kernel, which never goes to application code.
    Kernel(fn() -> !),
}

/// What a thread of the application begins with.
pub struct Beginning {
    thread: Arc<Thread>,
    regs: UserRegs,
    fs_base: u64,
    extended: fpu::Area,
}

/// First entry of a thread that `clone` made: take up its registers.
pub fn enter_new() {
    let slot = control::slot();
    match slots::take_up(slot) {
        Some(NewThread::Application(beginning)) => {
            begin(*beginning);
            // A signal may have been sent before the thread came here.
            control::set_pending(slot);
        }
        Some(NewThread::Kernel(run)) => run(),
        // A host thread that nobody asked for has nothing to do here.
        None => entry::end_thread(),
    }
}

fn begin(mut beginning: Beginning) {
    control::set_vdso(super::vdso());
    control::set_regs(&beginning.regs);
    control::set_fs_base(beginning.fs_base);
    fpu::restore(&mut beginning.extended);
    control::set_current(beginning.thread);
}

/// What clone(2) and clone3(2) ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArguments {
    /// CLONE_*.
    pub flags: u64,
    /// Top of the new stack, 0 for the caller's.
    pub stack: u64,
    /// FS base with CLONE_SETTLS.
    pub tls: u64,
    /// Where the thread ID goes with CLONE_PARENT_SETTID.
    pub parent_tid: u64,
    /// Where it goes with CLONE_CHILD_SETTID, and what CLONE_CHILD_CLEARTID clears.
    pub child_tid: u64,
}

const THREAD: u64 = (raw::CLONE_VM | raw::CLONE_SIGHAND | raw::CLONE_THREAD) as u64;
/// Shared by all threads here, so a thread must want to share it.
const SHARED: u64 = (raw::CLONE_FS | raw::CLONE_FILES) as u64;
/// Flags that mean nothing for a thread, or nothing at all any more.
const NEUTRAL: u64 = (raw::CLONE_SYSVSEM
    | raw::CLONE_PARENT
    | raw::CLONE_PTRACE
    | raw::CLONE_UNTRACED
    | raw::CLONE_DETACHED
    | raw::CLONE_IO) as u64;
const HANDLED: u64 = (raw::CLONE_SETTLS
    | raw::CLONE_PARENT_SETTID
    | raw::CLONE_CHILD_SETTID
    | raw::CLONE_CHILD_CLEARTID) as u64;
const NAMESPACES: u64 = (raw::CLONE_NEWNS
    | raw::CLONE_NEWCGROUP
    | raw::CLONE_NEWUTS
    | raw::CLONE_NEWIPC
    | raw::CLONE_NEWUSER
    | raw::CLONE_NEWPID
    | raw::CLONE_NEWNET) as u64;
const CSIGNAL: u64 = 0xff;

/// Checks the flags in the order of clone(2): EINVAL for combinations that make no sense, EOPNOTSUPP for new processes.
pub fn check_clone_flags(flags: u64) -> Result<()> {
    let has = |bits: u32| flags & bits as u64 != 0;
    if has(raw::CLONE_NEWNS) && has(raw::CLONE_FS)
        || has(raw::CLONE_THREAD) && !has(raw::CLONE_SIGHAND)
        || has(raw::CLONE_SIGHAND) && !has(raw::CLONE_VM)
    {
        return Err(Errno::EINVAL);
    }
    if flags & NAMESPACES != 0 {
        return Err(Errno::EPERM);
    }
    if flags & THREAD != THREAD || flags & SHARED != SHARED {
        return Err(Errno::EOPNOTSUPP);
    }
    match flags & !(CSIGNAL | THREAD | SHARED | NEUTRAL | HANDLED) {
        0 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// Makes a thread; returns its ID.
pub fn clone(parent: &Thread, arguments: CloneArguments) -> Result<u32> {
    check_clone_flags(arguments.flags)?;
    let has = |bits: u32| arguments.flags & bits as u64 != 0;
    let fs_base = match has(raw::CLONE_SETTLS) {
        true if arguments.tls >= 1 << 47 => return Err(Errno::EPERM),
        true => arguments.tls,
        false => control::fs_base(),
    };
    let slot = slots::reserve()?;
    let process = &parent.process;
    let tid = process.allocate_tid();
    let name = *parent.name.lock();
    let mask = parent.signals.mask();
    let thread = Arc::new(Thread::new(tid, slot, process.clone(), mask, name));
    *thread.affinity.lock() = *parent.affinity.lock();
    if has(raw::CLONE_CHILD_CLEARTID) {
        let address = arguments.child_tid;
        thread.clear_child_tid.store(address, Ordering::Relaxed);
    }

    let mut beginning = Box::new(Beginning {
        thread: thread.clone(),
        regs: control::regs(),
        fs_base,
        extended: fpu::Area::default(),
    });
    fpu::save(&mut beginning.extended);
    beginning.regs.rax = 0;
    beginning.regs.orig_rax = u64::MAX;
    if arguments.stack != 0 {
        beginning.regs.rsp = arguments.stack;
    }
    // As on Linux, an address that cannot be written is not an error.
    if has(raw::CLONE_PARENT_SETTID) {
        let _ = user::write(arguments.parent_tid, &tid);
    }
    if has(raw::CLONE_CHILD_SETTID) {
        let _ = user::write(arguments.child_tid, &tid);
    }
    process.threads.lock().insert(tid, Arc::downgrade(&thread));
    match slots::start(slot, NewThread::Application(beginning)) {
        Ok(()) => Ok(tid),
        Err(errno) => {
            process.threads.lock().remove(&tid);
            Err(errno)
        }
    }
}

/// Ends the calling thread (exit(2)); the last one ends the program, with the status of the first.
pub fn exit(status: u8) -> ! {
    let slot = control::slot();
    let process = leave_process(status);
    control::clear_current();
    match process {
        // The first thread's host thread stays, as a zombie does on Linux, so that signals of the host find somebody.
        Some(process) => loop {
            host::wait(None);
            signal::send::take_from_host(&process);
        },
        None => {
            slots::release(slot);
            entry::end_thread()
        }
    }
}

/// Everything that goes with the end of a thread; the process if the thread is its first one. Nothing is left on the
/// kernel stack that would have to be dropped.
fn leave_process(status: u8) -> Option<Arc<Process>> {
    let thread = current();
    let process = &thread.process;
    thread.ending.store(true, Ordering::SeqCst);
    robust::release_all(&thread);
    let word = thread.clear_child_tid.swap(0, Ordering::SeqCst);
    if word != 0 && user::write(word, &0u32).is_ok() {
        futex::wake(word, 1, futex::ANY);
    }
    if thread.is_leader() {
        process.set_leader_status(status);
    }
    let last = {
        let mut threads = process.threads.lock();
        threads.remove(&thread.tid);
        threads.is_empty()
    };
    if last {
        super::end(process.leader_status());
    }
    signal::send::hand_over(process, &thread);
    thread.is_leader().then(|| process.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLIBC: u64 = 0x3d_0f00;
    const MUSL: u64 = 0x7d_0f00;
    const GO: u64 = 0x5_0f00;

    #[test]
    fn threads_of_glibc_musl_and_go_are_accepted() {
        for flags in [GLIBC, MUSL, GO] {
            assert_eq!(check_clone_flags(flags), Ok(()));
        }
    }

    #[test]
    fn new_processes_are_not_supported() {
        const SIGCHLD: u64 = 17;
        let fork = (raw::CLONE_CHILD_SETTID | raw::CLONE_CHILD_CLEARTID) as u64 | SIGCHLD;
        let vfork = (raw::CLONE_VM | raw::CLONE_VFORK) as u64 | SIGCHLD;
        assert_eq!(check_clone_flags(fork), Err(Errno::EOPNOTSUPP));
        assert_eq!(check_clone_flags(vfork), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn senseless_combinations_are_invalid() {
        let thread_alone = raw::CLONE_THREAD as u64;
        let sighand_alone = raw::CLONE_SIGHAND as u64;
        let pidfd = GLIBC | raw::CLONE_PIDFD as u64;
        for flags in [thread_alone, sighand_alone, pidfd] {
            assert_eq!(check_clone_flags(flags), Err(Errno::EINVAL));
        }
        let namespace = raw::CLONE_NEWPID as u64;
        assert_eq!(check_clone_flags(namespace), Err(Errno::EPERM));
    }
}
