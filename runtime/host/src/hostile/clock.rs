//! Times that leap, run backwards, and are none.
//!
//! Time goes on after a leap, and honest replies leap too: with a clock that stands still for ever, threads would sleep for
//! ever.

use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_abi::hostcall::{nr, HostArea};

use super::random::Random;

/// Seconds that time is ahead.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Seconds that are told at most: some 68 years.
const MOST: u64 = 1 << 31;
/// Seconds that no clock can tell: some 292 years.
const IMPOSSIBLE: u64 = 1 << 34;

/// The time of an honest reply, after the leaps so far.
pub fn keep_up(reply: &mut HostArea) {
    if reply.nr == nr::CLOCK_GETTIME && reply.result == 0 {
        reply.args[0] = reply.args[0].wrapping_add(AHEAD.load(Ordering::SeqCst));
    }
}

/// Changes seconds and nanoseconds of a reply.
pub fn change(random: &mut Random, reply: &mut HostArea) {
    let now = reply.args[0];
    let (seconds, nanoseconds) = match random.below(8) {
        0 => (random.nasty(now, 0), reply.args[1]),
        1 => (now, random.nasty(999_999_999, 0)),
        2 => (now.wrapping_sub(random.below(1000)), reply.args[1]),
        3 => (now, reply.args[1].wrapping_sub(random.below(1_000_000))),
        4 => (i64::MAX as u64, 999_999_999),
        5 => (now.wrapping_neg(), reply.args[1]),
        6 => {
            let bits = random.below(24);
            (now.wrapping_add(random.below(1 << bits)), reply.args[1])
        }
        _ => (now, random.number()),
    };
    reply.args[0] = leap(now, seconds);
    reply.args[1] = nanoseconds;
}

/// Seconds that can be kept up with, or that no clock can tell.
fn leap(now: u64, seconds: u64) -> u64 {
    if seconds > MOST && seconds < IMPOSSIBLE {
        return seconds | IMPOSSIBLE;
    }
    if seconds > now && seconds <= MOST {
        AHEAD.fetch_add(seconds - now, Ordering::SeqCst);
    }
    seconds
}
