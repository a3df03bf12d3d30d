//! Host calls: the one way to ask the world outside for something.
//!
//! Request and reply go through the thread's host area in untrusted memory ([`crate::untrusted`]). Everything is copied
//! once and then checked against what was asked; an answer that cannot be true is EIO (or stops the kernel where there is
//! no way on).

use core::fmt::Write;
use core::mem::size_of;

use linux_raw_sys::general as raw;
use mystikos_abi::hostcall::{
    exit, nr, refusal, HostArea, AREA_SIZE, BUFFER_OFFSET, BUFFER_SIZE, INTERRUPTED_OFFSET,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::control::{self, this};
use crate::untrusted::{Outside, WORD};
use crate::{clock, entry, memory, Errno};

pub use mystikos_abi::hostcall::start as start_flags;

/// The calling thread's host area, unless the host gave one that is not wholly outside the enclave.
fn find_area() -> Option<Outside> {
    // SAFETY: only the owning thread touches the field.
    let address = unsafe { (*this()).area };
    Outside::new(address, AREA_SIZE)
}

/// As [`find_area`], but stops the kernel.
fn area() -> Outside {
    find_area().unwrap_or_else(|| entry::refuse(refusal::AREA))
}

fn put(bytes: &[u8]) {
    assert!(bytes.len() <= BUFFER_SIZE);
    area().write(BUFFER_OFFSET, bytes);
}

fn get(bytes: &mut [u8]) {
    assert!(bytes.len() <= BUFFER_SIZE);
    area().read(BUFFER_OFFSET, bytes);
}

/// One host call; the reply's arguments are copied out with the result.
fn call_full(number: u64, args: [u64; 6]) -> Result<(u64, [u64; 6]), Errno> {
    let area = area();
    let mut request_and_reply = HostArea {
        nr: number,
        args,
        result: 0,
    };
    let mut interrupted = [0; WORD];
    area.write(INTERRUPTED_OFFSET, &interrupted);
    area.write(0, request_and_reply.as_bytes());
    entry::leave(exit::HOST_CALL, 0, 0);
    area.read(0, request_and_reply.as_mut_bytes());
    area.read(INTERRUPTED_OFFSET, &mut interrupted);
    // The host knows a word of four bytes; the rest of the eight stays zero.
    if interrupted[..size_of::<u32>()] != [0; size_of::<u32>()] {
        control::set_own_pending();
    }
    result_of(request_and_reply.result).map(|result| (result, request_and_reply.args))
}

/// Highest errno that a system call gives to a program (EHWPOISON); what follows are Linux's own notes to itself.
const ERRNO_MAX: i64 = 133;

/// What a result says: a number, or an error. The kernel's own codes above [`ERRNO_MAX`], such as those for calls that are
/// made again, are not the host's to use.
fn result_of(result: i64) -> Result<u64, Errno> {
    match result {
        0.. => Ok(result as u64),
        _ if result >= -ERRNO_MAX => Err(Errno::from_raw(-result)),
        _ => Err(Errno::EIO),
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

/// Stops the kernel, which cannot work with what the host does: one of [`refusal`].
pub fn refuse(what: u64) -> ! {
    entry::refuse(what)
}

/// Ends the whole program. In an enclave no thread enters any more, so a host that does not end it gets no further.
pub fn exit_program(status: u8) -> ! {
    #[cfg(feature = "image")]
    crate::enclave::stop();
    loop {
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

/// Standard streams that [`poll`] can wait for at once.
const POLL_MAX: usize = 16;

/// Waits for standard streams, at most `timeout_ns` (`None`: for ever). EINTR when the thread was woken.
pub fn poll(fds: &mut [PollFd], timeout_ns: Option<u64>) -> Result<usize, Errno> {
    let mut replied = [PollFd::default(); POLL_MAX];
    let replied = replied.get_mut(..fds.len()).ok_or(Errno::EINVAL)?;
    put(fds.as_bytes());
    let timeout = timeout_ns.map_or(-1, |ns| ns.min(i64::MAX as u64) as i64);
    expect_at_most(
        call(nr::POLL, &[fds.len() as u64, timeout as u64]),
        fds.len(),
    )?;
    get(replied.as_mut_bytes());
    Ok(take_events(fds, replied))
}

/// Takes what the host says of events: only `revents`, and of them only what was asked for or what poll(2) always
/// reports. Returns how many have some.
fn take_events(fds: &mut [PollFd], replied: &[PollFd]) -> usize {
    const ALWAYS: i16 = (raw::POLLERR | raw::POLLHUP | raw::POLLNVAL) as i16;
    for (fd, replied) in fds.iter_mut().zip(replied) {
        fd.revents = replied.revents & (fd.events | ALWAYS);
    }
    fds.iter().filter(|fd| fd.revents != 0).count()
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

/// Nanoseconds of a clock. One that cannot be set never goes backwards, whatever the host says; that of a thread's CPU
/// time is for the caller to keep from it.
pub fn clock_gettime(clock: u32) -> Result<u64, Errno> {
    match call_full(nr::CLOCK_GETTIME, [clock as u64, 0, 0, 0, 0, 0])? {
        (0, [seconds, nanoseconds, ..]) => clock::checked(clock, seconds, nanoseconds),
        _ => Err(Errno::EIO),
    }
}

/// The latest time that [`clock_gettime`] gave of a clock that cannot be set.
pub fn latest(clock: u32) -> u64 {
    clock::latest(clock)
}

/// Resolution of a clock in nanoseconds.
pub fn clock_getres(clock: u32) -> Result<u64, Errno> {
    match call_full(nr::CLOCK_GETRES, [clock as u64, 0, 0, 0, 0, 0])? {
        (0, [seconds, nanoseconds, ..]) => clock::resolution(seconds, nanoseconds),
        _ => Err(Errno::EIO),
    }
}

/// Sets the page permissions (PROT_*) of user memory.
pub fn protect(address: u64, size: u64, prot: u32) -> Result<(), Errno> {
    expect_zero(call(nr::PROTECT, &[address, size, prot as u64]))
}

/// As [`protect`], for pages that are written as a whole next.
pub fn protect_to_fill(address: u64, size: u64, prot: u32) -> Result<(), Errno> {
    expect_zero(call(nr::PROTECT, &[address, size, prot as u64, 1]))
}

/// Forgets the content of user memory (only where [`start_flags::ZERO_PAGES`] holds, which is never in an enclave).
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
pub fn ioctl(fd: u32, request: u32, argument: &mut [u8]) -> Result<(), Errno> {
    put(argument);
    let args = [fd as u64, request as u64, argument.len() as u64];
    expect_zero(call(nr::IOCTL, &args))?;
    get(argument);
    Ok(())
}

/// What `fstat` tells of a standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StreamStat {
    pub mode: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
}

/// Facts about a standard stream.
pub fn fstat(fd: u32) -> Result<StreamStat, Errno> {
    match call_full(nr::FSTAT, [fd as u64, 0, 0, 0, 0, 0])? {
        (0, facts) => stream_stat(facts),
        _ => Err(Errno::EIO),
    }
}

fn stream_stat([mode, rdev, size, blksize, ..]: [u64; 6]) -> Result<StreamStat, Errno> {
    const PERMISSIONS: u64 = 0o7777;
    const SIZES: core::ops::RangeInclusive<u64> = 512..=1 << 20;
    const KINDS: [u32; 6] = [
        raw::S_IFIFO,
        raw::S_IFCHR,
        raw::S_IFDIR,
        raw::S_IFBLK,
        raw::S_IFREG,
        raw::S_IFSOCK,
    ];
    let kind = mode & !PERMISSIONS;
    if !KINDS.iter().any(|&known| u64::from(known) == kind) || i64::try_from(size).is_err() {
        return Err(Errno::EIO);
    }
    Ok(StreamStat {
        mode: mode as u32,
        rdev,
        size,
        // Programs take buffers of that size.
        blksize: match SIZES.contains(&blksize) && blksize.is_power_of_two() {
            true => blksize,
            false => mystikos_abi::PAGE_SIZE,
        },
    })
}

/// Moves the offset of a standard stream that is a file.
pub fn lseek(fd: u32, offset: i64, whence: u32) -> Result<u64, Errno> {
    let result = call(nr::LSEEK, &[fd as u64, offset as u64, whence as u64])?;
    sought(result, offset, whence)
}

/// What the host says of an offset, when it can be: devices without an offset stay at zero wherever one seeks.
fn sought(result: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
    let asked = u64::try_from(offset);
    let possible = match whence {
        raw::SEEK_SET => asked.is_ok_and(|asked| result <= asked),
        raw::SEEK_DATA | raw::SEEK_HOLE => asked.is_ok_and(|asked| result >= asked),
        _ => true,
    };
    match possible {
        true => Ok(result),
        false => Err(Errno::EIO),
    }
}

/// File status flags of a standard stream: access mode, O_APPEND, O_NONBLOCK.
pub fn getfl(fd: u32) -> Result<u32, Errno> {
    call(nr::GETFL, &[fd as u64]).and_then(status_flags)
}

fn status_flags(flags: u64) -> Result<u32, Errno> {
    let flags = flags as u32 & (raw::O_ACCMODE | raw::O_APPEND | raw::O_NONBLOCK);
    match flags & raw::O_ACCMODE {
        raw::O_RDONLY | raw::O_WRONLY | raw::O_RDWR => Ok(flags),
        _ => Err(Errno::EIO),
    }
}

/// The CPU that the thread runs on, below `count`.
pub fn getcpu(count: u32) -> u32 {
    match call_full(nr::GETCPU, [0; 6]) {
        Ok((0, [cpu, ..])) => (cpu % u64::from(count.max(1))) as u32,
        _ => 0,
    }
}

/// CPUID as the host executes it: EAX, EBX, ECX, EDX. Nothing of it is checked but that these are registers of 32 bits.
pub fn cpuid(leaf: u32, subleaf: u32) -> Result<[u32; 4], Errno> {
    match call_full(nr::CPUID, [leaf as u64, subleaf as u64, 0, 0, 0, 0])? {
        (0, [registers @ .., _, _]) => registers_of(registers),
        _ => Err(Errno::EIO),
    }
}

fn registers_of(registers: [u64; 4]) -> Result<[u32; 4], Errno> {
    let mut all = [0; 4];
    for (register, value) in all.iter_mut().zip(registers) {
        *register = u32::try_from(value).map_err(|_| Errno::EIO)?;
    }
    Ok(all)
}

/// Formats a panic message into the buffer; returns its size. Takes no memory from the heap. What a message says may be the
/// application's, so there is none where nobody but the application is to know ([`memory::may_tell`]).
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
    match find_area() {
        Some(area) if memory::may_tell() => {
            area.write(BUFFER_OFFSET, &text.bytes[..text.size]);
            text.size as u64
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_numbers_or_errors_that_programs_know() {
        assert_eq!(result_of(0), Ok(0));
        assert_eq!(result_of(i64::MAX), Ok(i64::MAX as u64));
        assert_eq!(result_of(-1), Err(Errno::EPERM));
        assert_eq!(result_of(-133), Err(Errno::from_raw(133)));
        // 512 and above mean to the kernel that a call is to be made again.
        for result in [-134, -512, -513, -516, -4095, -4096, i64::MIN + 1, i64::MIN] {
            assert_eq!(result_of(result), Err(Errno::EIO), "{result}");
        }
    }

    #[test]
    fn more_than_was_asked_for_is_refused() {
        assert_eq!(expect_at_most(Ok(5), 5), Ok(5));
        assert_eq!(expect_at_most(Ok(6), 5), Err(Errno::EIO));
        assert_eq!(expect_at_most(Ok(u64::MAX), 5), Err(Errno::EIO));
        assert_eq!(expect_zero(Ok(1)), Err(Errno::EIO));
    }

    #[test]
    fn only_events_asked_for_are_taken_and_nothing_else() {
        let fd = |fd, events, revents| PollFd {
            fd,
            events,
            revents,
        };
        let mut fds = [fd(0, 1, 0), fd(1, 4, 0x7f), fd(2, 4, 0)];
        let replied = [fd(9, 9, 0x7fff), fd(-1, -1, 3), fd(2, 4, -1)];
        assert_eq!(take_events(&mut fds, &replied), 2);
        let found = fds.map(|f| (f.fd, f.events, f.revents));
        assert_eq!(found, [(0, 1, 0x39), (1, 4, 0), (2, 4, 0x3c)]);
    }

    #[test]
    fn a_stream_is_of_a_kind_that_exists() {
        let stat = |mode, size, blksize| stream_stat([mode, 0x103, size, blksize, 0, 0]);
        let good = stat(0o100644, 5, 4096).unwrap();
        assert_eq!((good.mode, good.size, good.blksize), (0o100644, 5, 4096));
        for mode in [
            0o644,
            0o120777,
            0o170644,
            0o1_000_644,
            1 << 32 | 0o100644,
            u64::MAX,
        ] {
            assert_eq!(stat(mode, 5, 4096), Err(Errno::EIO), "{mode:o}");
        }
        assert_eq!(stat(0o100644, u64::MAX, 4096), Err(Errno::EIO));
        for blksize in [0, 1, 511, 513, 1 << 21, u64::MAX] {
            assert_eq!(stat(0o20620, 0, blksize).unwrap().blksize, 4096);
        }
    }

    #[test]
    fn an_offset_is_no_other_than_was_sought() {
        assert_eq!(sought(7, 7, raw::SEEK_SET), Ok(7));
        assert_eq!(sought(0, 7, raw::SEEK_SET), Ok(0), "a device");
        assert_eq!(sought(8, 7, raw::SEEK_SET), Err(Errno::EIO));
        assert_eq!(sought(0, -1, raw::SEEK_SET), Err(Errno::EIO));
        assert_eq!(sought(8, 7, raw::SEEK_DATA), Ok(8));
        assert_eq!(sought(6, 7, raw::SEEK_HOLE), Err(Errno::EIO));
        assert_eq!(sought(3, -7, raw::SEEK_CUR), Ok(3));
        assert_eq!(sought(3, -7, raw::SEEK_END), Ok(3));
    }

    #[test]
    fn registers_have_32_bits() {
        assert_eq!(
            registers_of([1, 2, 3, 0xffff_ffff]),
            Ok([1, 2, 3, u32::MAX])
        );
        assert_eq!(registers_of([1, 1 << 32, 3, 4]), Err(Errno::EIO));
    }

    #[test]
    fn status_flags_are_reduced_to_those_of_a_stream() {
        assert_eq!(status_flags(0), Ok(raw::O_RDONLY));
        assert_eq!(
            status_flags(!0o3 | 2),
            Ok(raw::O_RDWR | raw::O_APPEND | raw::O_NONBLOCK)
        );
        assert_eq!(status_flags(3), Err(Errno::EIO));
    }
}
