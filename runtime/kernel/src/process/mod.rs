//! Processes, threads, waiting, futexes.
//!
//! * [`thread`]: one application thread, one TCS, one host thread.
//! * [`slots`]: thread blocks, and what a new host thread is to become.
//! * [`wait`]: how a thread sleeps in the kernel, and what wakes it.
//! * [`futex`]: threads that wait for a word of memory.
//! * [`robust`]: robust futexes of a thread that ends.
//! * [`affinity`]: sets of CPUs.
//! * [`credentials`]: users, groups, capabilities.
//! * [`limits`]: resource limits.

pub mod affinity;
pub mod credentials;
mod crt;
pub mod futex;
pub mod limits;
pub mod robust;
pub mod slots;
pub mod thread;
pub mod wait;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mystikos_abi::hostcall::{HostStart, FORWARDED_SIGNALS};
use mystikos_platform::host;
use mystikos_platform::start::Start;
use mystikos_platform::sync::{Mutex, Once, RwLock};
use mystikos_platform::{control, memory};

use crate::config::Config;
use crate::fs::fd::FdTable;
use crate::fs::path::FsContext;
use crate::signal::set::SigSet;
use crate::{fs, signal, syscall, time};
use credentials::Credentials;
use limits::Limits;
pub use thread::Thread;

/// Process ID of the first process. Not 1, because programs that find themselves to be process 1 take over an init's
/// duties; and always the same, because a number chosen by the host would tell something about it, or be its to choose.
pub const FIRST_PID: u32 = 101;

/// The parent of the first process: outside, as init is.
pub const PARENT_PID: u32 = 1;

/// PID_MAX_LIMIT: thread IDs stay below.
pub const PID_LIMIT: u32 = 1 << 22;

/// What the threads of a program share.
pub struct Process {
    /// Process ID (thread group ID).
    pub pid: u32,
    /// Open files.
    pub files: RwLock<FdTable>,
    /// Working directory, umask.
    pub fs: RwLock<FsContext>,
    /// Signal actions and what is pending for the process as a whole.
    pub signals: signal::ProcessSignals,
    /// Live threads by thread ID.
    pub threads: Mutex<BTreeMap<u32, Weak<Thread>>>,
    /// What /proc/self tells of the program.
    pub program: RwLock<Program>,
    /// Users, groups, capabilities.
    pub credentials: Mutex<Credentials>,
    /// Resource limits.
    pub limits: Mutex<Limits>,
    /// Interval timers and POSIX timers.
    pub timers: time::timers::Timers,
    /// Process group and session.
    pub group: Mutex<Group>,
    /// Nice value.
    pub nice: Mutex<i32>,
    /// Flags of prctl(2).
    pub flags: Flags,
    /// What was written to /dev/attestation.
    pub attestation: Mutex<fs::attestation::State>,
    /// When the process started (monotonic nanoseconds).
    pub start_time: u64,
    last_tid: AtomicU32,
    leader_status: AtomicU32,
}

/// Process group and session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Process group ID.
    pub pgid: u32,
    /// Session ID.
    pub sid: u32,
}

/// Flags of prctl(2) that are kept and told; what they govern does not exist here.
#[derive(Default)]
pub struct Flags {
    /// PR_SET_DUMPABLE.
    pub dumpable: AtomicU32,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: AtomicBool,
    /// PR_SET_PDEATHSIG.
    pub death_signal: AtomicU32,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: AtomicBool,
    /// PR_SET_THP_DISABLE.
    pub huge_pages_disabled: AtomicBool,
    /// personality(2).
    pub personality: AtomicU32,
}

/// The program a process runs.
#[derive(Default)]
pub struct Program {
    /// Absolute path of the executable.
    pub path: Vec<u8>,
    /// argv.
    pub arguments: Vec<Vec<u8>>,
    /// environ at the start.
    pub environment: Vec<Vec<u8>>,
    /// The auxiliary vector as written to the stack.
    pub auxv: Vec<(u64, u64)>,
}

/// Facts of the host that stay as they were at the start.
struct Machine {
    vdso: [u64; 4],
    cpu_count: u32,
    max_affinity_cpus: u32,
    total_memory: u64,
}

static MACHINE: Once<Machine> = Once::new();
static FIRST: Once<Arc<Process>> = Once::new();

/// Makes the first process and its first thread, which is the calling one.
pub fn init(start: &Start, config: &Config) -> Arc<Thread> {
    let head = start.head();
    MACHINE.call_once(|| Machine {
        vdso: head.vdso,
        cpu_count: head.cpu_count,
        max_affinity_cpus: match (head.max_affinity_cpus, config.max_affinity_cpus) {
            (0, limit) => limit.min(u32::MAX as u64) as u32,
            (limit, 0) => limit,
            (host, signed) => (host as u64).min(signed) as u32,
        },
        total_memory: head.total_memory,
    });
    slots::init(memory::layout().block_count, control::slot());

    let uid = credentials::mapped(start.span(head.uid_map), head.uid);
    let gid = credentials::mapped(start.span(head.gid_map), head.gid);
    let process = Arc::new(Process::new(
        config,
        Credentials::new(uid, gid),
        ignored_signals(head),
    ));
    fs::stream::standard_streams(&mut process.files.write());
    *process.fs.write() = working_directory(config);
    process.follow_credentials();
    FIRST.call_once(|| process.clone());

    let name = name_of(&config.application_path);
    let slot = control::slot();
    let mask = SigSet::EMPTY;
    let thread = Arc::new(Thread::new(FIRST_PID, slot, process.clone(), mask, name));
    let weak = Arc::downgrade(&thread);
    process.threads.lock().insert(thread.tid, weak);
    control::set_current(thread.clone());
    thread
}

/// The context that the config asks for; without its working directory the program is not started.
fn working_directory(config: &Config) -> FsContext {
    let path = &config.current_working_directory;
    FsContext::new(path).unwrap_or_else(|errno| {
        let text = alloc::format!(
            "myst: {}: cannot be the working directory: {}\n",
            String::from_utf8_lossy(path),
            errno.name()
        );
        host::log(text.as_bytes());
        host::exit_program(125)
    })
}

/// What the host may let the program ignore from the start: only signals that it sends itself.
fn ignored_signals(head: &HostStart) -> SigSet {
    let forwarded = FORWARDED_SIGNALS.iter();
    let allowed = forwarded.fold(SigSet::EMPTY, |set, &signal| set.union(SigSet::of(signal)));
    SigSet(head.ignored_signals).intersection(allowed)
}

impl Process {
    fn new(config: &Config, credentials: Credentials, ignored: SigSet) -> Self {
        Process {
            pid: FIRST_PID,
            files: RwLock::default(),
            fs: RwLock::default(),
            signals: signal::ProcessSignals::new(ignored),
            threads: Mutex::default(),
            program: RwLock::default(),
            credentials: Mutex::new(credentials),
            limits: Mutex::new(Limits::new(config)),
            timers: time::timers::Timers::default(),
            group: Mutex::new(Group {
                pgid: FIRST_PID,
                sid: FIRST_PID,
            }),
            nice: Mutex::new(0),
            flags: Flags {
                dumpable: AtomicU32::new(1),
                ..Flags::default()
            },
            attestation: Mutex::default(),
            start_time: time::monotonic(),
            last_tid: AtomicU32::new(FIRST_PID),
            leader_status: AtomicU32::new(0),
        }
    }

    /// Tells the file systems who the process is now; called whenever its credentials have changed.
    pub fn follow_credentials(&self) {
        let credentials = self.credentials.lock().clone();
        let mut context = self.fs.write();
        context.uid = credentials.user.files;
        context.gid = credentials.group.files;
        context.groups = credentials.groups;
    }

    /// Threads that have not ended, in the order of their IDs.
    pub fn live_threads(&self) -> Vec<Arc<Thread>> {
        let threads = self.threads.lock();
        let live = threads.values().filter_map(Weak::upgrade);
        live.filter(|t| !t.ending.load(Ordering::SeqCst)).collect()
    }

    /// A live thread of this process.
    pub fn thread(&self, tid: u32) -> Option<Arc<Thread>> {
        self.threads.lock().get(&tid).and_then(Weak::upgrade)
    }

    /// An ID for a new thread: counted up, so that an ID is not soon used again.
    fn allocate_tid(&self) -> u32 {
        let threads = self.threads.lock();
        loop {
            let last = self.last_tid.load(Ordering::Relaxed);
            let next = if last + 1 < PID_LIMIT {
                last + 1
            } else {
                FIRST_PID + 1
            };
            self.last_tid.store(next, Ordering::Relaxed);
            if !threads.contains_key(&next) {
                return next;
            }
        }
    }

    fn set_leader_status(&self, status: u8) {
        self.leader_status.store(status as u32, Ordering::SeqCst);
    }

    fn leader_status(&self) -> u8 {
        self.leader_status.load(Ordering::SeqCst) as u8
    }
}

/// The first process; `None` before [`init`].
pub fn first() -> Option<&'static Arc<Process>> {
    FIRST.get()
}

/// Ends the whole program.
pub fn end(status: u8) -> ! {
    syscall::trace::finish(status);
    host::exit_program(status)
}

/// The host's vDSO functions for [`control::set_vdso`].
fn vdso() -> [u64; 4] {
    MACHINE.get().map_or([0; 4], |m| m.vdso)
}

/// CPUs that the application may see: those of the machine, limited by MaxAffinityCPUs and `--max-affinity-cpus`.
pub fn cpu_count() -> u32 {
    MACHINE.get().map_or(1, |m| match m.max_affinity_cpus {
        0 => m.cpu_count,
        limit => m.cpu_count.min(limit),
    })
}

/// Memory of the machine in bytes, as the host says.
pub fn machine_memory() -> u64 {
    MACHINE.get().map_or(0, |m| m.total_memory)
}

/// Where a handler without SA_RESTORER returns to: `__kernel_rt_sigreturn` of the CRT image.
pub fn signal_return_address() -> u64 {
    static ADDRESS: Once<u64> = Once::new();
    *ADDRESS.call_once(|| crt::symbol("__kernel_rt_sigreturn").unwrap_or(0))
}

/// A thread's name for a program: the last part of its path, cut.
pub fn name_of(path: &[u8]) -> [u8; thread::NAME_SIZE] {
    let base = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    let mut name = [0; thread::NAME_SIZE];
    let size = base.len().min(thread::NAME_SIZE - 1);
    name[..size].copy_from_slice(&base[..size]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_named_after_the_program_cut_to_fifteen_bytes() {
        assert_eq!(&name_of(b"/bin/sh"), b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&name_of(b"/a/0123456789abcdef"), b"0123456789abcde\0");
    }
}
