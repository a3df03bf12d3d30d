//! Counts for `MYST_STATS=1`: how often the enclave was entered and left, and the host calls with their time.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linux_raw_sys::general as raw;
use mystikos_abi::sgx::enclu as leaf;

use crate::{failure, sys};

static WANTED: AtomicBool = AtomicBool::new(false);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    Eenter,
    Eresume,
    Eexit,
    Aex,
    Ereport,
    Egetkey,
    HostCall,
    HostCallNanoseconds,
}

const NAMES: [(&str, Event); 6] = [
    ("EENTER", Event::Eenter),
    ("ERESUME", Event::Eresume),
    ("EEXIT", Event::Eexit),
    ("AEX", Event::Aex),
    ("EREPORT", Event::Ereport),
    ("EGETKEY", Event::Egetkey),
];

static COUNTS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Counts from now on; called before the first entry.
pub fn want() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Counts one event.
pub fn count(event: Event) {
    COUNTS[event as usize].fetch_add(1, Ordering::Relaxed);
}

/// Counts an entry and how it ended, as the launcher sees it: interrupts that resume at once are not among them.
pub fn count_entry(function: u32, ended: u32) {
    count(if function == leaf::EENTER {
        Event::Eenter
    } else {
        Event::Eresume
    });
    match ended {
        leaf::EEXIT => count(Event::Eexit),
        leaf::ERESUME => count(Event::Aex),
        _ => {}
    }
}

/// Serves a host call, and takes its time when that is wanted.
pub fn timed<R>(serve: impl FnOnce() -> R) -> R {
    count(Event::HostCall);
    if !WANTED.load(Ordering::Relaxed) {
        return serve();
    }
    let before = now();
    let served = serve();
    COUNTS[Event::HostCallNanoseconds as usize].fetch_add(now() - before, Ordering::Relaxed);
    served
}

fn now() -> u64 {
    let mut time = [0u64; 2];
    let args = [
        u64::from(raw::CLOCK_MONOTONIC),
        time.as_mut_ptr() as u64,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: clock_gettime writes a timespec at the pointer.
    unsafe { sys::syscall(raw::__NR_clock_gettime, args) };
    time[0] * 1_000_000_000 + time[1]
}

/// Prints the counts at the end of the program, if they were wanted: `name=value` in one line.
pub fn report() {
    if !WANTED.load(Ordering::Relaxed) {
        return;
    }
    let value = |event: Event| COUNTS[event as usize].load(Ordering::Relaxed);
    let mut text = alloc::string::String::from("stats:");
    for (name, event) in NAMES {
        let _ = core::fmt::Write::write_fmt(&mut text, format_args!(" {name}={}", value(event)));
    }
    failure::say(format_args!(
        "{text} host_calls={} host_call_ns={}",
        value(Event::HostCall),
        value(Event::HostCallNanoseconds)
    ));
}
