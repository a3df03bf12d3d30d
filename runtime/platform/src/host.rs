//! Host calls: the one way to ask the world outside for something.
//!
//! Request and reply go through the thread's host area in untrusted memory. Everything is copied once and then checked
//! against what was asked; an answer that cannot be true is EIO (or stops the kernel where there is no way on).

use alloc::vec::Vec;
use core::fmt::Write;
use core::mem::size_of;

use mystikos_abi::hostcall::{
    exit, nr, HostArea, HostSpan, HostStart, AREA_SIZE, BUFFER_OFFSET, BUFFER_SIZE,
    HOST_ABI_VERSION, INTERRUPTED_OFFSET, START_SIZE_MAX,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::control::{self, this};
use crate::{entry, memory, Errno};

pub use mystikos_abi::hostcall::start as start_flags;

/// The calling thread's host area; stops the kernel when the host gave one that is not wholly outside the enclave.
fn area() -> *mut HostArea {
    // SAFETY: only the owning thread touches the field.
    let address = unsafe { (*this()).area };
    assert!(
        address.is_multiple_of(16) && memory::is_outside(address, AREA_SIZE as u64),
        "the host area is not outside the enclave"
    );
    address as *mut HostArea
}

fn buffer() -> *mut u8 {
    (area() as usize + BUFFER_OFFSET) as *mut u8
}

fn put(bytes: &[u8]) {
    assert!(bytes.len() <= BUFFER_SIZE);
    // SAFETY: the buffer lies outside the enclave (checked) and has BUFFER_SIZE bytes.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer(), bytes.len()) }
}

fn get(bytes: &mut [u8]) {
    assert!(bytes.len() <= BUFFER_SIZE);
    // SAFETY: as in `put`.
    unsafe { core::ptr::copy_nonoverlapping(buffer(), bytes.as_mut_ptr(), bytes.len()) }
}

/// One host call; the reply's arguments are copied out with the result.
fn call_full(number: u64, args: [u64; 6]) -> Result<(u64, [u64; 6]), Errno> {
    let area = area();
    let request = HostArea {
        nr: number,
        args,
        result: 0,
    };
    let interrupted = (area as usize + INTERRUPTED_OFFSET) as *mut u32;
    // SAFETY: the area lies outside the enclave (checked) and is aligned; volatile, because the host changes it.
    let (reply, interrupted) = unsafe {
        interrupted.write_volatile(0);
        area.write_volatile(request);
        entry::leave(exit::HOST_CALL, 0, 0);
        (area.read_volatile(), interrupted.read_volatile())
    };
    if interrupted != 0 {
        control::set_own_pending();
    }
    match reply.result {
        result if result < 0 => Err(Errno::from_raw(result.saturating_neg())),
        result => Ok((result as u64, reply.args)),
    }
}

fn call(number: u64, args: &[u64]) -> Result<u64, Errno> {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    call_full(number, all).map(|(result, _)| result)
}

fn expect_zero(result: Result<u64, Errno>) -> Result<(), Errno> {
    match result? {
        0 => Ok(()),
        _ => Err(Errno::EIO),
    }
}

fn expect_at_most(result: Result<u64, Errno>, most: usize) -> Result<usize, Errno> {
    match result? {
        n if n <= most as u64 => Ok(n as usize),
        _ => Err(Errno::EIO),
    }
}

/// Ends the whole program.
pub fn exit_program(status: u8) -> ! {
    loop {
        // The host has no business coming back from this.
        let _ = call(nr::EXIT, &[status as u64]);
    }
}

/// Reads from a standard stream; at most [`BUFFER_SIZE`] bytes at a time.
pub fn read(fd: u32, to: &mut [u8]) -> Result<usize, Errno> {
    let most = to.len().min(BUFFER_SIZE);
    let n = expect_at_most(call(nr::READ, &[fd as u64, most as u64]), most)?;
    get(&mut to[..n]);
    Ok(n)
}

/// Writes to a standard stream; at most [`BUFFER_SIZE`] bytes at a time.
pub fn write(fd: u32, from: &[u8]) -> Result<usize, Errno> {
    let most = from.len().min(BUFFER_SIZE);
    put(&from[..most]);
    expect_at_most(call(nr::WRITE, &[fd as u64, most as u64]), most)
}

/// One entry of [`poll`] (`struct pollfd`).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, zerocopy::KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

/// Waits for standard streams, at most `timeout_ns` (`None`: for ever). EINTR when the thread was woken.
pub fn poll(fds: &mut [PollFd], timeout_ns: Option<u64>) -> Result<usize, Errno> {
    put(fds.as_bytes());
    let timeout = timeout_ns.map_or(-1, |ns| ns.min(i64::MAX as u64) as i64);
    let n = expect_at_most(
        call(nr::POLL, &[fds.len() as u64, timeout as u64]),
        fds.len(),
    )?;
    let asked: Vec<PollFd> = fds.to_vec();
    get(fds.as_mut_bytes());
    // Only `revents` is the host's to say, and only what was asked for or what poll(2) always reports.
    for (fd, asked) in fds.iter_mut().zip(&asked) {
        const ALWAYS: i16 = 0x8 | 0x10 | 0x20;
        *fd = PollFd {
            revents: fd.revents & (asked.events | ALWAYS),
            ..*asked
        };
    }
    Ok(n)
}

/// Sleeps until [`wake`]d, at most `timeout_ns`. May wake for no reason.
pub fn wait(timeout_ns: Option<u64>) -> Woken {
    let timeout = timeout_ns.map_or(-1, |ns| ns.min(i64::MAX as u64) as i64);
    match call(nr::WAIT, &[timeout as u64]) {
        Ok(0) => Woken::ByThread,
        Ok(_) => Woken::BySignals,
        Err(_) => Woken::TimedOut,
    }
}

/// Why [`wait`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Another thread called [`wake`], or for no reason.
    ByThread,
    /// There is something for [`take_signals`].
    BySignals,
    /// The time is over.
    TimedOut,
}

/// Wakes the thread of a slot out of [`wait`] or [`poll`], now or the next time.
pub fn wake(slot: usize) {
    // A wake that the host loses only delays; nothing in here depends on it for safety.
    let _ = call(nr::WAKE, &[slot as u64]);
}

/// As [`wake`], and makes the thread enter the kernel if it is in application code.
pub fn interrupt(slot: usize) {
    let _ = call(nr::INTERRUPT, &[slot as u64]);
}

/// Starts a host thread for a slot.
pub fn create_thread(slot: usize) -> Result<(), Errno> {
    expect_zero(call(nr::THREAD_CREATE, &[slot as u64]))
}

fn time_of(number: u64, clock: u32) -> Result<(i64, u32), Errno> {
    let (result, args) = call_full(number, [clock as u64, 0, 0, 0, 0, 0])?;
    match (result, u32::try_from(args[1])) {
        (0, Ok(nanoseconds)) if nanoseconds < 1_000_000_000 => Ok((args[0] as i64, nanoseconds)),
        _ => Err(Errno::EIO),
    }
}

/// Seconds and nanoseconds of a clock.
pub fn clock_gettime(clock: u32) -> Result<(i64, u32), Errno> {
    time_of(nr::CLOCK_GETTIME, clock)
}

/// Resolution of a clock.
pub fn clock_getres(clock: u32) -> Result<(i64, u32), Errno> {
    time_of(nr::CLOCK_GETRES, clock)
}

/// Sets the page permissions (PROT_*) of user memory.
pub fn protect(address: u64, size: u64, prot: u32) -> Result<(), Errno> {
    expect_zero(call(nr::PROTECT, &[address, size, prot as u64]))
}

/// As [`protect`], for pages that are written as a whole next.
pub fn protect_to_fill(address: u64, size: u64, prot: u32) -> Result<(), Errno> {
    expect_zero(call(nr::PROTECT, &[address, size, prot as u64, 1]))
}

/// Forgets the content of user memory (only where [`start_flags::ZERO_PAGES`] holds).
pub fn discard(address: u64, size: u64) -> Result<(), Errno> {
    expect_zero(call(nr::DISCARD, &[address, size]))
}

/// Gives the CPU away.
pub fn yield_now() {
    let _ = call(nr::YIELD, &[]);
}

/// As [`yield_now`]; in hosted tests, where there is no host to call, only a hint.
pub(crate) fn give_way() {
    if cfg!(feature = "image") {
        yield_now();
    } else {
        core::hint::spin_loop();
    }
}

/// Writes diagnostic text to standard error.
pub fn log(text: &[u8]) {
    for chunk in text.chunks(BUFFER_SIZE) {
        put(chunk);
        let _ = call(nr::LOG, &[chunk.len() as u64]);
    }
}

/// Signals that arrived from outside since the last call; only those the launcher may pass on.
pub fn take_signals() -> u64 {
    let allowed = mystikos_abi::hostcall::FORWARDED_SIGNALS
        .iter()
        .fold(0, |mask, signal| mask | 1 << (signal - 1));
    call(nr::SIGNALS, &[]).unwrap_or(0) & allowed
}

/// A terminal ioctl on a standard stream; `argument` goes in and comes back.
pub fn ioctl(fd: u32, request: u32, argument: &mut [u8]) -> Result<u64, Errno> {
    put(argument);
    let args = [fd as u64, request as u64, argument.len() as u64];
    let result = call(nr::IOCTL, &args)?;
    get(argument);
    Ok(result)
}

/// What `fstat` tells of a standard stream.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct StreamStat {
    pub mode: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
}

/// Facts about a standard stream.
pub fn fstat(fd: u32) -> Result<StreamStat, Errno> {
    let (_, args) = call_full(nr::FSTAT, [fd as u64, 0, 0, 0, 0, 0])?;
    Ok(StreamStat {
        mode: args[0] as u32,
        rdev: args[1],
        size: args[2].min(i64::MAX as u64),
        blksize: args[3].clamp(512, 1 << 20),
    })
}

/// Moves the offset of a standard stream that is a file.
pub fn lseek(fd: u32, offset: i64, whence: u32) -> Result<u64, Errno> {
    call(nr::LSEEK, &[fd as u64, offset as u64, whence as u64])
}

/// File status flags of a standard stream.
pub fn getfl(fd: u32) -> Result<u32, Errno> {
    call(nr::GETFL, &[fd as u64]).map(|flags| flags as u32)
}

/// CPU and NUMA node that the thread runs on.
pub fn getcpu() -> (u32, u32) {
    match call_full(nr::GETCPU, [0; 6]) {
        Ok((_, args)) => (args[0] as u32, args[1] as u32),
        Err(_) => (0, 0),
    }
}

/// Formats a panic message into the buffer; returns its size. Takes no memory from the heap.
pub(crate) fn write_panic(message: core::fmt::Arguments<'_>) -> u64 {
    struct Text {
        bytes: [u8; 512],
        size: usize,
    }
    impl Write for Text {
        fn write_str(&mut self, s: &str) -> core::fmt::Result {
            let n = s.len().min(self.bytes.len() - self.size);
            self.bytes[self.size..self.size + n].copy_from_slice(&s.as_bytes()[..n]);
            self.size += n;
            Ok(())
        }
    }
    let mut text = Text {
        bytes: [0; 512],
        size: 0,
    };
    let _ = text.write_fmt(message);
    put(&text.bytes[..text.size]);
    text.size as u64
}

/// The start-up block, copied in and checked.
pub struct Start {
    head: HostStart,
    bytes: Vec<u8>,
}

impl Start {
    /// Copies the block at `address` in, once. Stops the kernel when it lies in the enclave or is malformed.
    pub fn copy_in(address: u64) -> Start {
        memory::init();
        crate::boot_heap();
        assert!(
            address.is_multiple_of(16)
                && memory::is_outside(address, size_of::<HostStart>() as u64),
            "the start-up block is not outside the enclave"
        );
        // SAFETY: the address lies outside the enclave and is aligned; the value is copied once.
        let head = unsafe { (address as *const HostStart).read_volatile() };
        assert!(head.version == HOST_ABI_VERSION, "host ABI version differs");
        let size = head.size;
        assert!(
            size <= START_SIZE_MAX && memory::is_outside(address, size),
            "the start-up block has an impossible size"
        );
        let mut bytes = alloc::vec![0; size as usize];
        // SAFETY: as above, for `size` bytes.
        unsafe {
            core::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), size as usize);
        }
        Start { head, bytes }
    }

    /// The fixed fields.
    pub fn head(&self) -> &HostStart {
        &self.head
    }

    /// The bytes of a span; empty when it does not lie in the block.
    pub fn span(&self, span: HostSpan) -> &[u8] {
        let end = span.offset.saturating_add(span.size);
        self.bytes
            .get(span.offset as usize..end as usize)
            .unwrap_or(&[])
    }

    /// The NUL-terminated strings of a span.
    pub fn strings(&self, span: HostSpan) -> impl Iterator<Item = &[u8]> {
        let bytes = self.span(span);
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        let empty = span.size == 0;
        bytes.split(|&b| b == 0).filter(move |_| !empty)
    }

    /// One of [`start_flags`] is set.
    pub fn has(&self, flag: u32) -> bool {
        self.head.flags & flag != 0
    }
}
