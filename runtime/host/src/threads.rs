//! Host threads: one for each application thread, entering the kernel at its thread block and serving its host calls.

use alloc::vec::Vec;
use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use linux_raw_sys::errno;
use mystikos_abi::hostcall::{
    exit, HostArea, AREA_SIZE, BUFFER_OFFSET, BUFFER_SIZE, INTERRUPTED_OFFSET,
};
use mystikos_abi::package::{kind, RegionRecord};
use mystikos_abi::{block, PAGE_SIZE};
use rustix::fd::{FromRawFd, IntoRawFd, OwnedFd};
use rustix::mm::{mmap_anonymous, MapFlags, ProtFlags};

use crate::map::{self, Memory};
use crate::package::Package;
use crate::{failure, hostcall, signals, sys};

/// What every thread needs to know of the enclave.
pub struct Enclave {
    /// Where it lies.
    pub memory: Memory,
    /// Address at which the `linux` target enters.
    entry: u64,
    /// Address of the config region (FS base at the first entry).
    config: u64,
    /// Address of the first thread block.
    blocks: u64,
    /// Regions of each block.
    regions: Vec<Vec<RegionRecord>>,
    /// One per block.
    threads: Vec<Thread>,
    start: u64,
}

/// Host side of a thread block.
#[derive(Default)]
pub struct Thread {
    /// Host thread ID; the host kernel sets it to 0 when the thread is gone.
    pub tid: AtomicU32,
    /// Address of its host area, 0 before its first use.
    area: AtomicU64,
    /// End of its host stack, 0 before its first use and for the first thread.
    stack: AtomicU64,
    /// 1: a wake is waiting to be noticed. The word that [`Thread::wait`] sleeps on.
    woken: AtomicU32,
    /// The thread is in poll(2), where only its event descriptor wakes it.
    polling: AtomicBool,
    /// Event descriptor plus one; 0 before its first use.
    event: AtomicU32,
}

/// Bytes of a host thread's stack, and of its signal stack.
const STACK_SIZE: usize = 64 * 1024;
const SIGNAL_STACK_SIZE: usize = 64 * 1024;

static ENCLAVE: AtomicU64 = AtomicU64::new(0);

/// The enclave of this process; `None` before [`run`].
pub fn enclave() -> Option<&'static Enclave> {
    let address = ENCLAVE.load(Ordering::Acquire);
    // SAFETY: set once by `run` to a leaked value.
    (address != 0).then(|| unsafe { &*(address as *const Enclave) })
}

/// Runs the program in the calling thread, which becomes the first thread of the application.
pub fn run(package: &Package<'_>, memory: Memory, start: u64) -> crate::Result<()> {
    let tcs: Vec<&RegionRecord> = package.of_kind(kind::TCS).collect();
    let first = tcs
        .first()
        .ok_or_else(|| crate::fail!("this package is damaged: it has no thread block"))?;
    let in_place = |(i, tcs): (u64, &&RegionRecord)| {
        tcs.offset == first.offset + i * block::STRIDE
            && (tcs.oentry, tcs.ofsbase) == (first.oentry, first.ofsbase)
            && tcs.ogsbase == tcs.offset + block::THREAD_OFFSET
    };
    if !(0..).zip(&tcs).all(in_place) {
        return Err(crate::fail!(
            "this package is damaged: its thread blocks are not laid out as the kernel expects"
        ));
    }
    let regions = tcs
        .iter()
        .map(|tcs| {
            let inside = tcs.offset..tcs.offset + block::STRIDE;
            package
                .regions
                .iter()
                .filter(|r| inside.contains(&r.offset))
                .copied()
                .collect()
        })
        .collect();
    let enclave = alloc::boxed::Box::new(Enclave {
        memory,
        entry: memory.base + first.oentry + block::LINUX_ENTRY_OFFSET,
        config: memory.base + first.ofsbase,
        blocks: memory.base + first.offset,
        regions,
        threads: (0..tcs.len()).map(|_| Thread::default()).collect(),
        start,
    });
    let enclave: &'static Enclave = alloc::boxed::Box::leak(enclave);
    ENCLAVE.store(enclave as *const Enclave as u64, Ordering::Release);
    enclave.prepare(0)?;
    signals::install();
    signals::start_forwarding();
    enclave.threads[0].tid.store(
        rustix::thread::gettid().as_raw_nonzero().get() as u32,
        Ordering::SeqCst,
    );
    thread_main(0);
    // The first thread has ended while others go on: this host thread must stay until one of them ends the program.
    loop {
        rustix::event::pause();
    }
}

impl Enclave {
    /// The thread of a slot.
    pub fn thread(&self, slot: u64) -> Option<&Thread> {
        self.threads.get(usize::try_from(slot).ok()?)
    }

    /// The slot whose block contains a control page at `gs`.
    pub fn slot_of(&self, gs: u64) -> Option<u64> {
        let offset = gs.checked_sub(self.blocks + block::THREAD_OFFSET)?;
        let slot = offset / block::STRIDE;
        (offset % block::STRIDE == 0 && slot < self.threads.len() as u64).then_some(slot)
    }

    fn block(&self, slot: u64) -> u64 {
        self.blocks + slot * block::STRIDE
    }

    /// Threads that exist now.
    pub fn live(&self) -> impl Iterator<Item = (u64, &Thread)> {
        let live = |(_, thread): &(u64, &Thread)| thread.tid.load(Ordering::SeqCst) != 0;
        (0..).zip(&self.threads).filter(live)
    }

    /// Makes a block's memory and host area ready; they stay for the next thread of the slot.
    fn prepare(&self, slot: usize) -> crate::Result<()> {
        let thread = &self.threads[slot];
        if thread.area.load(Ordering::Relaxed) == 0 {
            map::map_block(self.memory.base, &self.regions[slot])?;
            thread.area.store(anonymous(AREA_SIZE)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Starts a host thread for a slot; negated errno on failure.
    pub fn create_thread(&'static self, slot: u64) -> i64 {
        let Some(thread) = self.thread(slot) else {
            return -(errno::EINVAL as i64);
        };
        // The slot's last thread has left the kernel, so it is gone in a moment if it is not yet.
        loop {
            match thread.tid.load(Ordering::SeqCst) {
                0 => break,
                tid => sys::futex_wait(&thread.tid, tid, None),
            };
        }
        let prepared = self.prepare(slot as usize).and_then(|()| {
            if thread.stack.load(Ordering::Relaxed) == 0 {
                let base = anonymous(STACK_SIZE)?;
                thread
                    .stack
                    .store(base + STACK_SIZE as u64, Ordering::Relaxed);
            }
            Ok(())
        });
        if prepared.is_err() {
            return -(errno::EAGAIN as i64);
        }
        thread.woken.store(0, Ordering::SeqCst);
        // Nonzero from now on, so that it counts as live; the host kernel stores the real one before it runs.
        thread.tid.store(u32::MAX, Ordering::SeqCst);
        let stack = thread.stack.load(Ordering::Relaxed);
        // SAFETY: the stack belongs to the slot, whose previous thread is gone; `thread` lives for ever.
        let tid = unsafe { sys::start_thread(stack, &thread.tid, thread_main, slot) };
        if tid < 0 {
            thread.tid.store(0, Ordering::SeqCst);
            return tid;
        }
        0
    }
}

fn anonymous(size: usize) -> crate::Result<u64> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping where the host likes.
    let mapped = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            size,
            protection,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    mapped
        .map(|address: *mut c_void| address as u64)
        .map_err(|e| {
            crate::fail!(
                "memory of the launcher: the host refuses (error {})",
                e.raw_os_error()
            )
        })
}

/// A host thread: enters the kernel at its block and serves it until the application's thread ends.
extern "C" fn thread_main(slot: u64) {
    let Some(enclave) = enclave() else { return };
    let area = enclave.threads[slot as usize].area.load(Ordering::Relaxed);
    let signal_stack = signals::set_stack(SIGNAL_STACK_SIZE);
    let control = enclave.block(slot) + block::THREAD_OFFSET;
    if sys::dispatch_system_calls(sys::own_code()) < 0 {
        failure::say(format_args!(
            "this kernel has no Syscall User Dispatch (Linux 5.11 or newer has it), so system calls of the application could escape"
        ));
        sys::exit_group(failure::EXIT_STATUS);
    }
    // SAFETY: FSGSBASE was checked; the launcher uses neither base.
    unsafe { sys::set_segment_bases(enclave.config, control) };
    let start = if slot == 0 && !STARTED.swap(true, Ordering::SeqCst) {
        enclave.start
    } else {
        0
    };
    loop {
        // SAFETY: the block is prepared and this is the only host thread in it.
        let left = unsafe { enter(enclave, slot, 0, start, area) };
        match left.reason {
            exit::HOST_CALL => serve(enclave, slot, area),
            exit::THREAD => break,
            exit::PANIC => panicked(area, left.a),
            _ => {
                failure::say(format_args!(
                    "the kernel left for an unknown reason {}",
                    left.reason
                ));
                sys::exit_group(failure::EXIT_STATUS);
            }
        }
    }
    // No interrupt may find this thread in a block that is no longer its own.
    sys::set_signal_mask(u64::MAX);
    // SAFETY: as above.
    unsafe { sys::set_segment_bases(0, 0) };
    signals::drop_stack(signal_stack, SIGNAL_STACK_SIZE);
}

/// Notes for the kernel that this thread, which is outside, was to be interrupted; it looks when it comes back.
pub fn interrupted_outside(gs: u64) {
    let Some(thread) = enclave().and_then(|enclave| enclave.thread(enclave.slot_of(gs)?)) else {
        return;
    };
    let area = thread.area.load(Ordering::Relaxed) as usize;
    // SAFETY: the thread's own host area; the word is apart from what `serve` works on, and the thread is stopped.
    unsafe { ((area + INTERRUPTED_OFFSET) as *mut u32).write_volatile(1) };
}

static STARTED: AtomicBool = AtomicBool::new(false);

fn serve(enclave: &'static Enclave, slot: u64, area: u64) {
    // SAFETY: the host area is this thread's own, and the kernel does not touch it until it is entered again.
    let (head, buffer) = unsafe {
        (
            &mut *(area as *mut HostArea),
            core::slice::from_raw_parts_mut(
                (area as usize + BUFFER_OFFSET) as *mut u8,
                BUFFER_SIZE,
            ),
        )
    };
    head.result = hostcall::serve(enclave, slot, head.nr, &mut head.args, buffer);
}

fn panicked(area: u64, size: u64) -> ! {
    let size = (size as usize).min(BUFFER_SIZE);
    // SAFETY: as in `serve`.
    let text =
        unsafe { core::slice::from_raw_parts((area as usize + BUFFER_OFFSET) as *const u8, size) };
    let text = alloc::string::String::from_utf8_lossy(text);
    failure::say(format_args!(
        "the kernel stopped: {}",
        text.trim_end().replace('\n', " ")
    ));
    sys::exit_group(failure::EXIT_STATUS)
}

/// Why the kernel left.
pub struct Left {
    /// One of [`exit`].
    pub reason: u64,
    /// Depends on the reason.
    pub a: u64,
    /// Depends on the reason.
    pub b: u64,
}

/// Enters the kernel as EENTER would: RAX = CSSA, RBX = TCS, RCX = where to come back to.
///
/// # Safety
///
/// The block is prepared, GS base is its control page, and with `cssa` 0 no other host thread is in it.
pub unsafe fn enter(enclave: &Enclave, slot: u64, cssa: u64, rdi: u64, rsi: u64) -> Left {
    let (reason, a, b);
    // SAFETY: the kernel comes back with RSP and RBP as they were; all other registers are declared clobbered.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "sub rsp, 8",
            "mov rbx, r8",
            "lea rcx, [rip + 2f]",
            "jmp r9",
            "2: cld",
            "add rsp, 8",
            "pop rbp",
            "pop rbx",
            inlateout("rax") cssa => _,
            inlateout("r8") enclave.block(slot) => _,
            inlateout("r9") enclave.entry => _,
            inlateout("rdi") rdi => reason,
            inlateout("rsi") rsi => a,
            lateout("rdx") b,
            lateout("rcx") _, lateout("r10") _, lateout("r11") _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            lateout("xmm0") _, lateout("xmm1") _, lateout("xmm2") _, lateout("xmm3") _,
            lateout("xmm4") _, lateout("xmm5") _, lateout("xmm6") _, lateout("xmm7") _,
            lateout("xmm8") _, lateout("xmm9") _, lateout("xmm10") _, lateout("xmm11") _,
            lateout("xmm12") _, lateout("xmm13") _, lateout("xmm14") _, lateout("xmm15") _,
        );
    }
    Left { reason, a, b }
}

impl Thread {
    /// Wakes the thread out of [`Thread::wait`] or a poll, now or the next time.
    pub fn wake(&self) {
        if self.woken.swap(1, Ordering::SeqCst) == 0 {
            sys::futex_wake(&self.woken);
        }
        if self.polling.load(Ordering::SeqCst) {
            let event = self.event.load(Ordering::SeqCst);
            if event != 0 {
                // SAFETY: the descriptor stays open as long as the process lives.
                let event = unsafe { rustix::fd::BorrowedFd::borrow_raw(event as i32 - 1) };
                // A full counter is as good as a written one.
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
        }
    }

    /// As [`Thread::wake`], and makes the thread enter the kernel if it is in application code.
    pub fn interrupt(&self) {
        self.wake();
        match self.tid.load(Ordering::SeqCst) {
            0 | u32::MAX => {}
            tid => sys::send_signal(tid, signals::INTERRUPT),
        }
    }

    /// Sleeps until woken or the time is over; true when woken.
    pub fn wait(&self, timeout_ns: i64) -> bool {
        let timeout = (timeout_ns >= 0).then_some(timeout_ns as u64);
        if self.woken.swap(0, Ordering::SeqCst) == 1 {
            return true;
        }
        let timed_out = sys::futex_wait(&self.woken, 0, timeout) == -(errno::ETIMEDOUT as i64);
        self.woken.swap(0, Ordering::SeqCst) == 1 || !timed_out
    }

    /// Runs a poll(2) that must notice wakes: `poll` is given the event descriptor to include. `None` when woken.
    pub fn wait_in_poll<R>(&self, poll: impl FnOnce(i32) -> R) -> Option<R> {
        let event = self.event_fd()?;
        self.polling.store(true, Ordering::SeqCst);
        let result = (self.woken.swap(0, Ordering::SeqCst) == 0).then(|| poll(event));
        self.polling.store(false, Ordering::SeqCst);
        // SAFETY: the descriptor stays open as long as the process lives.
        let event = unsafe { rustix::fd::BorrowedFd::borrow_raw(event) };
        // Nonblocking: empties the counter if anything is in it.
        let _ = rustix::io::read(event, &mut [0u8; 8]);
        result.filter(|_| self.woken.swap(0, Ordering::SeqCst) == 0)
    }

    fn event_fd(&self) -> Option<i32> {
        match self.event.load(Ordering::SeqCst) {
            0 => {
                use rustix::event::{eventfd, EventfdFlags};
                let fd: OwnedFd =
                    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).ok()?;
                let raw = fd.into_raw_fd();
                self.event.store(raw as u32 + 1, Ordering::SeqCst);
                Some(raw)
            }
            event => Some(event as i32 - 1),
        }
    }
}

/// Whole pages for a signal stack.
pub(crate) fn stack_pages(size: usize) -> Option<u64> {
    debug_assert!((size as u64).is_multiple_of(PAGE_SIZE));
    anonymous(size).ok()
}

// Keeps the descriptor traits in one place: the event descriptors above are made from and to raw numbers.
const _: unsafe fn(i32) -> OwnedFd = OwnedFd::from_raw_fd;
