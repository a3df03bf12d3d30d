//! Host calls: everything the kernel can ask of the world outside, numbered.
//!
//! The kernel writes number and arguments into its thread's [`HostArea`] (untrusted memory), leaves the enclave with
//! [`exit::HOST_CALL`], and reads the result back once when it is entered again. Data travels in the area's buffer, in
//! chunks of at most [`BUFFER_SIZE`]. Every reply is hostile input and is checked against what was asked; an answer
//! that cannot be true is EIO, and so is an error that Linux gives to no program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of this contract; the launcher and the kernel travel in one package, so a mismatch is a damaged package.
pub const HOST_ABI_VERSION: u32 = 1;

/// Bytes of a host area's data buffer.
pub const BUFFER_SIZE: usize = 128 * 1024;
/// Offset in the area of a u32 that the kernel clears before a host call. The host sets it when the thread was to be
/// interrupted while it was outside, where no asynchronous exit tells the kernel of it.
pub const INTERRUPTED_OFFSET: usize = 1024;
/// Offset of the buffer in the area.
pub const BUFFER_OFFSET: usize = 4096;
/// Bytes of a host area.
pub const AREA_SIZE: usize = BUFFER_OFFSET + BUFFER_SIZE;

/// Why the kernel left (RDI at exit).
pub mod exit {
    /// The area holds a host call.
    pub const HOST_CALL: u64 = 1;
    /// The thread has ended; the host thread may end too.
    pub const THREAD: u64 = 2;
    /// The kernel stopped itself; the buffer holds a message of RSI bytes: none, where the enclave may not be debugged.
    pub const PANIC: u64 = 3;
    /// The exception was taken care of: resume from the SSA frame.
    pub const RESUME: u64 = 4;
    /// A fault in the kernel itself (RSI: address of the faulting instruction, RDX: address accessed, or the page of it
    /// where the enclave may not be debugged).
    pub const KERNEL_FAULT: u64 = 5;
    /// The kernel cannot work with what the host has given it, and stopped itself (RSI: one of
    /// [`refusal`](super::refusal)).
    pub const REFUSED: u64 = 6;
    /// The application has changed GS base, which is the kernel's, and the thread cannot go on.
    pub const GS_BASE: u64 = 7;
}

/// What the kernel refuses of the host (RSI at [`exit::REFUSED`]): fixed numbers, which tell nothing of the application.
pub mod refusal {
    /// The host area is not wholly outside the enclave, not aligned, or not where a process has memory.
    pub const AREA: u64 = 1;
    /// The same of the start-up block.
    pub const START: u64 = 2;
    /// The start-up block has another version.
    pub const START_VERSION: u64 = 3;
    /// The start-up block has more bytes than [`START_SIZE_MAX`](super::START_SIZE_MAX).
    pub const START_SIZE: u64 = 4;
    /// The kernel's heap has no room for the start-up block.
    pub const START_MEMORY: u64 = 5;
    /// The host takes pages away that the application is using.
    pub const PAGES: u64 = 6;
}

/// Head of the untrusted area of a thread.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HostArea {
    /// One of [`nr`].
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// Result: zero or more, or a negated errno.
    pub result: i64,
}

/// Numbers of the host calls.
pub mod nr {
    /// `(status)`: end the whole program with this exit status.
    ///
    /// Checked: that it does not come back: the kernel asks again, for ever.
    pub const EXIT: u64 = 1;
    /// `(fd, size)` → bytes read into the buffer. `fd` is a standard stream.
    ///
    /// Checked: at most `size`; only that many bytes are copied in.
    pub const READ: u64 = 2;
    /// `(fd, size)`: write from the buffer → bytes written.
    ///
    /// Checked: at most `size`.
    pub const WRITE: u64 = 3;
    /// `(count, timeout_ns)`: the buffer holds `count` `struct pollfd`; a negative timeout waits for ever. → ready
    /// count; -EINTR when this thread was woken by [`WAKE`] or [`INTERRUPT`].
    ///
    /// Checked: at most `count`. Of each entry only `revents` is taken, and of it what was asked for, POLLERR, POLLHUP
    /// and POLLNVAL; the kernel counts itself.
    pub const POLL: u64 = 4;
    /// `(timeout_ns)`: sleep until woken → 0, or 1 when there is something for [`SIGNALS`]; or -ETIMEDOUT. A wake that
    /// came before counts.
    ///
    /// Checked: nothing, the host decides about time. Who waits looks again at what it waits for.
    pub const WAIT: u64 = 5;
    /// `(slot)`: wake the thread of that slot out of [`WAIT`] or [`POLL`], or its next one.
    ///
    /// Checked: nothing. A wake that gets lost delays.
    pub const WAKE: u64 = 6;
    /// `(slot)`: as [`WAKE`]; and if the thread is in application code, make it enter the kernel.
    ///
    /// Checked: nothing. One that gets lost delays.
    pub const INTERRUPT: u64 = 7;
    /// `(slot)`: start a host thread that enters at that slot's TCS.
    ///
    /// Checked: 0.
    pub const THREAD_CREATE: u64 = 8;
    /// `(clockid)` → args 0, 1 of the area: seconds, nanoseconds.
    ///
    /// Checked: 0; a time of less than 292 years with less than a second of nanoseconds. A clock that cannot be set is
    /// never told to have gone backwards.
    pub const CLOCK_GETTIME: u64 = 9;
    /// `(clockid)` → args 0, 1 of the area: seconds, nanoseconds.
    ///
    /// Checked: 0; more than nothing and at most a second.
    pub const CLOCK_GETRES: u64 = 10;
    /// `(address, size, prot, fill)`: page permissions of user memory. A nonzero `fill` tells that all of the pages are
    /// written next, so that the host may bring them in at once; it is a hint.
    ///
    /// Checked: 0. Page tables are the host's: in an enclave a page may stay more accessible than asked, never more than
    /// its measured permissions.
    pub const PROTECT: u64 = 11;
    /// `(address, size)`: forget the content of user memory; it reads as zeros afterwards (`linux` target).
    ///
    /// Checked: 0. Never made in an enclave, which clears its pages itself.
    pub const DISCARD: u64 = 12;
    /// `()`: give the CPU away.
    ///
    /// Checked: nothing.
    pub const YIELD: u64 = 13;
    /// `(size)`: diagnostic text (tracing, syslog) to standard error.
    ///
    /// Checked: nothing.
    pub const LOG: u64 = 14;
    /// `()` → mask of signals (bit N-1 for signal N) that arrived from outside since the last call.
    ///
    /// Checked: only [`super::FORWARDED_SIGNALS`] are taken.
    pub const SIGNALS: u64 = 15;
    /// `(fd, request, size)`: a terminal ioctl on a standard stream; `size` bytes of argument in the buffer both ways.
    ///
    /// Checked: 0; `size` bytes are copied in.
    pub const IOCTL: u64 = 16;
    /// `(fd)` → st_mode in arg 0, st_rdev in arg 1, st_size in arg 2, st_blksize in arg 3.
    ///
    /// Checked: 0; a kind of file that exists, at most 2^63 - 1 bytes. A block size that is no power of two from 512
    /// bytes to 1 MiB is taken for 4096.
    pub const FSTAT: u64 = 17;
    /// `(fd, offset, whence)` → new offset.
    ///
    /// Checked: not beyond `offset` for SEEK_SET, not before it for SEEK_DATA and SEEK_HOLE.
    pub const LSEEK: u64 = 18;
    /// `()` → cpu in arg 0, node in arg 1.
    ///
    /// Checked: taken modulo the number of CPUs; the node is not used.
    pub const GETCPU: u64 = 19;
    /// `(fd)` → file status flags as `fcntl(F_GETFL)`.
    ///
    /// Checked: an access mode that exists; of the other flags only O_APPEND and O_NONBLOCK are taken.
    pub const GETFL: u64 = 20;
    /// `(leaf, subleaf)` → EAX, EBX, ECX, EDX of CPUID in args 0 to 3.
    ///
    /// Checked: 0; registers of 32 bits. Programs are told what can be known inside; of the rest which instructions,
    /// caches and names there are, bounded.
    pub const CPUID: u64 = 21;
}

/// Flags of [`HostStart::flags`].
pub mod start {
    /// Fresh pages of user memory and of the heap are already zero, and [`super::nr::DISCARD`] makes them so again.
    pub const ZERO_PAGES: u32 = 1;
    /// Trace system calls.
    pub const STRACE: u32 = 2;
    /// Trace only failing system calls.
    pub const STRACE_FAILING: u32 = 4;
    /// Say which calls fail, where the application makes them, and what the table tells of their limits.
    pub const TRACE_ERRORS: u32 = 8;
    /// Print counts and times of system calls at exit.
    pub const PERF: u32 = 16;
}

/// A run of bytes in the start-up block: offset from its start, and size.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HostSpan {
    /// Offset from the start of the block.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// What the host tells the kernel at the first entry (RDI). Untrusted; copied in once.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HostStart {
    /// [`HOST_ABI_VERSION`].
    pub version: u32,
    /// [`start`] flags.
    pub flags: u32,
    /// Bytes of the whole block.
    pub size: u64,
    /// Host command line without argv[0], each argument NUL-terminated.
    pub args: HostSpan,
    /// Host environment, each entry NUL-terminated.
    pub env: HostSpan,
    /// System calls to trace (`--strace-filter`), names separated by `:`; empty means all.
    pub strace_filter: HostSpan,
    /// System calls not to trace.
    pub strace_exclude: HostSpan,
    /// Thread to trace, 0 for all.
    pub strace_tid: u32,
    /// Process to trace, 0 for all.
    pub strace_pid: u32,
    /// CPUs of the machine (online).
    pub cpu_count: u32,
    /// `--max-affinity-cpus`, 0 for no limit.
    pub max_affinity_cpus: u32,
    /// Real user and group of the host user.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Host vDSO functions: clock_gettime, gettimeofday, time, clock_getres (0 when there is none; `linux` target).
    pub vdso: [u64; 4],
    /// Memory of the machine in bytes, for /proc/meminfo.
    pub total_memory: u64,
    /// `--host-to-enc-uid-map`: host:enclave pairs separated by commas.
    pub uid_map: HostSpan,
    /// `--host-to-enc-gid-map`.
    pub gid_map: HostSpan,
    /// Those of [`FORWARDED_SIGNALS`] that were ignored when the launcher was started (bit N-1 for signal N), as by
    /// nohup(1): execve(2) keeps that, so the application begins with it.
    pub ignored_signals: u64,
}

/// Most bytes of a start-up block that the kernel accepts.
pub const START_SIZE_MAX: u64 = 4 << 20;

/// Signals that the launcher passes on to the application: HUP, INT, QUIT, USR1, USR2, TERM, WINCH.
pub const FORWARDED_SIGNALS: [u32; 7] = [1, 2, 3, 10, 12, 15, 28];
