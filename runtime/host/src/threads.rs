//! Host threads: one for each application thread, entering the kernel at its thread block and serving its host calls.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use linux_raw_sys::errno;
use mystikos_abi::block;
use mystikos_abi::hostcall::{exit, refusal, BUFFER_OFFSET, BUFFER_SIZE, INTERRUPTED_OFFSET};
use mystikos_abi::package::{kind, RegionRecord};
use rustix::fd::{FromRawFd, IntoRawFd, OwnedFd};
use rustix::mm::ProtFlags;

use crate::memory::{anonymous, Memory};
use crate::package::Package;
use crate::signals::{self, Handlers, Local};
use crate::{conduct, failure, sys};

/// One way to run: how memory is changed and how the kernel is entered and left.
pub trait Target: Sync {
    /// The kernel shares this process's memory: fresh pages are zero, and the application may call the host's vDSO.
    fn is_plain(&self) -> bool {
        false
    }

    /// Handlers for faults and interrupts.
    fn handlers(&self) -> Handlers;

    /// Makes a thread block ready before its first thread.
    fn prepare_block(&self, slot: usize) -> crate::Result<()>;

    /// Enters the kernel in the calling host thread and serves it until the application's thread ends.
    fn run_thread(&self, seat: &Seat);

    /// Changes the protection of user memory.
    fn protect(&self, address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()>;

    /// Makes user memory read as zeros, giving its pages back.
    fn discard(&self, address: u64, size: u64) -> rustix::io::Result<()>;
}

/// Where a host thread works.
pub struct Seat {
    /// The enclave.
    pub enclave: &'static Enclave,
    /// Number of the thread block.
    pub slot: u64,
    /// Address of its TCS.
    pub tcs: u64,
    /// Address of the thread's host area.
    pub area: u64,
    /// Its address as the kernel is told it.
    pub shown_area: u64,
    /// Address of the start-up block for the first thread, else 0.
    pub start: u64,
    /// What its signal handlers know of it.
    pub local: &'static Local,
}

/// What every thread needs to know of the enclave.
pub struct Enclave {
    /// Where it lies.
    pub memory: Memory,
    /// How it runs.
    pub target: Box<dyn Target>,
    /// Address of the first thread block.
    blocks: u64,
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
    /// What the launcher's [`conduct`] keeps for it.
    pub conduct: conduct::OfThread,
}

/// Bytes of a host thread's stack.
const STACK_SIZE: usize = 64 * 1024;

static ENCLAVE: AtomicU64 = AtomicU64::new(0);

/// The enclave of this process; `None` before [`run`].
pub fn enclave() -> Option<&'static Enclave> {
    let address = ENCLAVE.load(Ordering::Acquire);
    // SAFETY: set once by `run` to a leaked value.
    (address != 0).then(|| unsafe { &*(address as *const Enclave) })
}

/// The thread blocks of a package, in order; they must lie as the kernel expects them.
pub fn blocks<'p>(package: &'p Package<'_>) -> crate::Result<Vec<&'p RegionRecord>> {
    let tcs: Vec<&RegionRecord> = package.of_kind(kind::TCS).collect();
    let first = tcs
        .first()
        .ok_or_else(|| crate::fail!("this package is damaged: it has no thread block"))?;
    let in_place = |(i, tcs): (u64, &&RegionRecord)| {
        tcs.offset == first.offset + i * block::STRIDE
            && (tcs.oentry, tcs.ofsbase) == (first.oentry, first.ofsbase)
            && tcs.ogsbase == tcs.offset + block::THREAD_OFFSET
    };
    if (0..).zip(&tcs).all(in_place) {
        return Ok(tcs);
    }
    Err(crate::fail!(
        "this package is damaged: its thread blocks are not laid out as the kernel expects"
    ))
}

/// Runs the program in the calling thread, which becomes the first thread of the application.
pub fn run(
    blocks: &[&RegionRecord],
    memory: Memory,
    target: Box<dyn Target>,
    start: u64,
) -> crate::Result<()> {
    let enclave = Box::new(Enclave {
        memory,
        target,
        blocks: memory.base + blocks[0].offset,
        threads: blocks.iter().map(|_| Thread::default()).collect(),
        start,
    });
    let enclave: &'static Enclave = Box::leak(enclave);
    ENCLAVE.store(enclave as *const Enclave as u64, Ordering::Release);
    enclave.prepare(0)?;
    signals::install(&enclave.target.handlers());
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

    /// Number of slots.
    pub fn slots(&self) -> u64 {
        self.threads.len() as u64
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
            self.target.prepare_block(slot)?;
            thread.area.store(conduct::new_area()?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Starts a host thread for a slot; negated errno on failure.
    pub fn create_thread(&'static self, slot: u64) -> i64 {
        let Some(thread) = self.thread(slot) else {
            return -(errno::EINVAL as i64);
        };
        // The slot's last thread has left the kernel, so it is gone in a moment if it is not yet.
        while let Err(tid) = thread.claim() {
            sys::futex_wait(&thread.tid, tid, conduct::WAIT_FOR_END);
            if conduct::is_visited(thread) {
                return -(errno::EAGAIN as i64);
            }
        }
        self.start_thread(slot, thread)
    }

    /// Starts a host thread for a slot that has been claimed.
    pub(crate) fn start_thread(&'static self, slot: u64, thread: &'static Thread) -> i64 {
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
            thread.tid.store(0, Ordering::SeqCst);
            return -(errno::EAGAIN as i64);
        }
        thread.woken.store(0, Ordering::SeqCst);
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

/// A host thread: enters the kernel at its block and serves it until the application's thread ends.
extern "C" fn thread_main(slot: u64) {
    let Some(enclave) = enclave() else { return };
    let local = Local::install(slot);
    let first = slot == 0 && !STARTED.swap(true, Ordering::SeqCst);
    let area = enclave.threads[slot as usize].area();
    enclave.target.run_thread(&Seat {
        enclave,
        slot,
        tcs: enclave.blocks + slot * block::STRIDE,
        area,
        shown_area: conduct::shown_area(area, enclave.memory),
        start: if first { enclave.start } else { 0 },
        local,
    });
    // No interrupt may find this thread in a block that is no longer its own.
    sys::set_signal_mask(u64::MAX);
    local.uninstall();
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// Notes for the kernel that this thread, which is outside, was to be interrupted; it looks when it comes back.
pub fn interrupted_outside(local: &Local) {
    local.interrupted.store(true, Ordering::SeqCst);
    let Some(thread) = enclave().and_then(|enclave| enclave.thread(local.slot)) else {
        return;
    };
    let area = thread.area() as usize;
    // SAFETY: the thread's own host area; the word is apart from what `serve` works on, and the thread is stopped.
    unsafe { ((area + INTERRUPTED_OFFSET) as *mut u32).write_volatile(1) };
}

/// Why the kernel left.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// One of [`exit`].
    pub reason: u64,
    /// Depends on the reason.
    pub a: u64,
    /// Depends on the reason.
    pub b: u64,
}

impl Seat {
    /// Serves an exit from the kernel; false when the application's thread has ended.
    pub fn serve(&self, left: Left) -> bool {
        match left.reason {
            exit::HOST_CALL => conduct::serve(self),
            exit::THREAD => return conduct::comes_again(self),
            exit::PANIC => self.panicked(left.a),
            exit::REFUSED => refused(left.a),
            _ => {
                failure::say(format_args!(
                    "the kernel left for an unknown reason {}",
                    left.reason
                ));
                sys::exit_group(failure::EXIT_STATUS);
            }
        }
        true
    }

    fn panicked(&self, size: u64) -> ! {
        conduct::ends();
        let size = (size as usize).min(BUFFER_SIZE);
        // SAFETY: the host area is this thread's own, and the kernel has stopped.
        let text = unsafe {
            core::slice::from_raw_parts((self.area as usize + BUFFER_OFFSET) as *const u8, size)
        };
        let text = alloc::string::String::from_utf8_lossy(text);
        match text.trim_end() {
            "" => failure::say(format_args!(
                "the kernel stopped: it has a defect, or the host has lied to it; a package with \"Debug\": 1 says where"
            )),
            text => failure::say(format_args!(
                "the kernel stopped: {}",
                text.replace('\n', " ")
            )),
        }
        sys::exit_group(failure::EXIT_STATUS)
    }
}

/// Ends the program: the kernel does not work with what the launcher has given it.
fn refused(what: u64) -> ! {
    conduct::ends();
    let refused = match what {
        refusal::AREA => "the host area is not outside the enclave",
        refusal::START => "the start-up block is not outside the enclave",
        refusal::START_VERSION => "the start-up block has another version of the host ABI",
        refusal::START_SIZE => "the start-up block is too large: arguments and environment together",
        refusal::START_MEMORY => {
            "the start-up block, arguments and environment together, does not fit into the kernel's heap"
        }
        refusal::PAGES => "the host has taken away memory that the program uses, and does not give it back",
        _ => "something that this launcher does not know of",
    };
    failure::say(format_args!("the kernel stopped: {refused}"));
    sys::exit_group(failure::EXIT_STATUS)
}

impl Thread {
    /// Address of its host area, 0 before its first use.
    pub fn area(&self) -> u64 {
        self.area.load(Ordering::Relaxed)
    }

    /// Claims the slot for a host thread that is about to be started: it counts as live from now on, and the host kernel
    /// stores its ID before it runs. Gives the ID of the present thread when there is one.
    pub(crate) fn claim(&self) -> core::result::Result<u32, u32> {
        let (from, to) = (Ordering::SeqCst, Ordering::SeqCst);
        self.tid.compare_exchange(0, u32::MAX, from, to)
    }

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

// Keeps the descriptor traits in one place: the event descriptors above are made from and to raw numbers.
const _: unsafe fn(i32) -> OwnedFd = OwnedFd::from_raw_fd;
