//! What the launcher does around the kernel's exits, kept apart so that a test can put another conduct in its place
//! (cargo feature `hostile`). This is the one of every package.

use mystikos_abi::hostcall::{HostArea, AREA_SIZE, BUFFER_OFFSET, BUFFER_SIZE};

use crate::arguments::Process;
use crate::hostcall;
use crate::memory::{anonymous, Memory};
use crate::package::Package;
use crate::threads::{Seat, Thread};
use crate::Result;

/// What it keeps for each thread.
#[derive(Default)]
pub struct OfThread;

/// How long to wait at a time for the end of a slot's last thread (nanoseconds).
pub const WAIT_FOR_END: Option<u64> = None;

/// Before the kernel is entered: the address of the start-up block it is given.
pub fn begin(
    _process: &Process,
    _package: &Package<'_>,
    _file: &'static [u8],
    _memory: Memory,
    start: u64,
) -> Result<u64> {
    Ok(start)
}

/// Memory for a host area.
pub fn new_area() -> Result<u64> {
    anonymous(AREA_SIZE)
}

/// The address of a host area as the kernel is told it.
pub fn shown_area(area: u64, _memory: Memory) -> u64 {
    area
}

/// Serves a host call.
pub fn serve(seat: &Seat) {
    // SAFETY: the host area is this thread's own, and the kernel does not touch it until it is entered again.
    let (head, buffer) = unsafe {
        (
            &mut *(seat.area as *mut HostArea),
            core::slice::from_raw_parts_mut(
                (seat.area as usize + BUFFER_OFFSET) as *mut u8,
                BUFFER_SIZE,
            ),
        )
    };
    head.result = hostcall::serve(seat.enclave, seat.slot, head.nr, &mut head.args, buffer);
}

/// The kernel has stopped, or is about to be ended.
pub fn ends() {}

/// Something has entered the slot that nobody asked for.
pub fn is_visited(_thread: &Thread) -> bool {
    false
}

/// A thread that has ended enters again, unasked.
pub fn comes_again(_seat: &Seat) -> bool {
    false
}

/// The kernel is told of an exception or interrupt that it has been told of already.
pub fn tells_again() -> bool {
    false
}

/// The vector that the kernel is told when a thread was left by it; 0 for an interrupt.
pub fn told_vector(vector: u16) -> u64 {
    vector.into()
}

/// A thread is resumed without the kernel being told why it was left.
pub fn tells_nothing() -> bool {
    false
}
