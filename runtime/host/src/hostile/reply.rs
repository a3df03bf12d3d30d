//! Which replies are changed, and how.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_raw_sys::errno;
use mystikos_abi::hostcall::{nr, HostArea, BUFFER_OFFSET, BUFFER_SIZE, INTERRUPTED_OFFSET};
use zerocopy::IntoBytes;

use super::random::Random;
use super::report::{self, count, counts};
use super::{clock, race, settings, visitors};
use crate::threads::Enclave;
use crate::{hostcall, sys};

/// Calls of all threads so far.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// How often a program that wants to end is asked to go on.
const EXIT_REFUSALS: u64 = 3;
static REFUSED_EXITS: AtomicU64 = AtomicU64::new(0);
/// The status with which the program wanted to end when it was refused, plus one.
static STATUS: AtomicU64 = AtomicU64::new(0);

/// Exit status of a program whose own was overwritten.
const UNKNOWN: u64 = 120;

/// A thread of the application has ended. Ends the program if it was not let go: an enclave whose program has ended sends
/// its threads back. The first thread leaves only then.
pub fn let_go(slot: u64) {
    match STATUS.load(Ordering::SeqCst).checked_sub(1) {
        Some(status) => sys::exit_group(status as i32),
        None if slot == 0 => sys::exit_group(UNKNOWN as i32),
        None => {}
    }
}

/// A thread's host area, written and read at once by others.
struct Area(u64);

impl Area {
    fn head(&self) -> HostArea {
        // SAFETY: the thread's own host area; volatile, since the racing thread writes to it too.
        unsafe { (self.0 as *const HostArea).read_volatile() }
    }

    fn set_head(&self, head: HostArea) {
        // SAFETY: as above.
        unsafe { (self.0 as *mut HostArea).write_volatile(head) }
    }

    fn set_interrupted(&self, value: u32) {
        // SAFETY: as above.
        unsafe { ((self.0 as usize + INTERRUPTED_OFFSET) as *mut u32).write_volatile(value) }
    }

    /// The buffer. Nobody else writes to it: the racing thread has been stopped.
    fn buffer(&self) -> &'static mut [u8] {
        let start = (self.0 as usize + BUFFER_OFFSET) as *mut u8;
        // SAFETY: the thread's own host area; the kernel does not touch it until it is entered again.
        unsafe { core::slice::from_raw_parts_mut(start, BUFFER_SIZE) }
    }
}

/// Serves a host call of a slot: honestly, or not.
pub fn serve(enclave: &'static Enclave, slot: u64, address: u64) {
    race::stop(address);
    let area = Area(address);
    let thread = enclave.thread(slot).expect("a slot that made a host call");
    let mut random = match thread.conduct.random.load(Ordering::Relaxed) {
        0 => Random::new(settings::get().seed ^ slot << 32),
        state => Random::resume(state),
    };
    let request = area.head();
    let honest = CALLS.fetch_add(1, Ordering::Relaxed) < settings::get().after;
    if request.nr & race::MARK != 0 {
        overwritten(enclave, &area, &mut random);
    } else {
        count(report::of(&counts().calls, request.nr));
        if request.nr == nr::EXIT {
            report::compare();
            STATUS.store((request.args[0] & 0xff) + 1, Ordering::SeqCst);
        }
        if settings::get().withdraw && withdraws(request) {
            count(report::of(&counts().changed, request.nr));
            area.set_head(HostArea {
                result: 0,
                ..request
            });
        } else if honest || !random.in_256(settings::get().rate) {
            area.set_head(perform(enclave, slot, &area, request));
        } else {
            changed(enclave, slot, &area, request, &mut random);
        }
    }
    thread
        .conduct
        .random
        .store(random.state(), Ordering::Relaxed);
}

/// Every second request for pages that the kernel does not fill.
fn withdraws(request: HostArea) -> bool {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let [_, _, prot, fill, ..] = request.args;
    request.nr == nr::PROTECT
        && prot != 0
        && fill == 0
        && ASKED.fetch_add(1, Ordering::Relaxed) % 2 == 1
}

/// A request that the racing thread wrote over cannot be served. A wake that may have been in it is made up for, and
/// whatever it was, it is not said to have been done.
fn overwritten(enclave: &Enclave, area: &Area, random: &mut Random) {
    count(&counts().calls[0]);
    count(&counts().changed[0]);
    for (_, thread) in enclave.live() {
        thread.interrupt();
    }
    let mut args = [0; 6];
    args.fill_with(|| random.nasty(0, enclave.memory.base));
    let result = failure(random, 0, enclave.memory.base);
    area.set_head(HostArea {
        nr: 0,
        args,
        result,
    });
}

/// An errno, or a number that cannot be.
fn failure(random: &mut Random, asked: u64, enclave: u64) -> i64 {
    match random.below(3) {
        0 => -(1 + random.below(133) as i64),
        1 => random.nasty(asked, enclave).max(1) as i64,
        _ => -(random.one_of(&COMMON) as i64),
    }
}

/// Errors that callers look for.
const COMMON: [u32; 9] = [
    errno::EINTR,
    errno::EAGAIN,
    errno::EBUSY,
    errno::ENOMEM,
    errno::EINVAL,
    errno::EPIPE,
    errno::ETIMEDOUT,
    errno::ENOSYS,
    errno::EBADF,
];

/// Serves a call and lies about it, or only lies.
fn changed(
    enclave: &'static Enclave,
    slot: u64,
    area: &Area,
    request: HostArea,
    random: &mut Random,
) {
    let served = performs(request.nr, random);
    if served && request.nr == nr::THREAD_CREATE {
        visitors::expect(enclave, request.args[0]);
    }
    let honest = match served {
        true => perform(enclave, slot, area, request),
        false => HostArea {
            result: 0,
            ..request
        },
    };
    let reply = lie(enclave, request, honest, served, random);
    let in_buffer = random.in_256(96);
    if in_buffer {
        change_buffer(random, area.buffer(), asked(request));
    }
    let interrupted = random.in_256(32);
    if interrupted {
        area.set_interrupted(random.nasty(1, enclave.memory.base) as u32);
    }
    area.set_head(reply);
    visitors::disturb(enclave, random);
    // The racing thread may write any result.
    let may_race = may_claim_success(request.nr, served);
    let raced = may_race && random.in_256(32) && race::start(area.0, random.number());
    if raced {
        count(&counts().races);
    }
    if !served || in_buffer || interrupted || raced || reply.as_bytes() != honest.as_bytes() {
        count(report::of(&counts().changed, request.nr));
    }
}

fn perform(enclave: &'static Enclave, slot: u64, area: &Area, request: HostArea) -> HostArea {
    let mut args = request.args;
    let result = hostcall::serve(enclave, slot, request.nr, &mut args, area.buffer());
    let mut reply = HostArea {
        args,
        result,
        ..request
    };
    clock::keep_up(&mut reply);
    reply
}

/// Another reply in place of an honest one.
fn lie(
    enclave: &Enclave,
    request: HostArea,
    honest: HostArea,
    served: bool,
    random: &mut Random,
) -> HostArea {
    let base = enclave.memory.base;
    let mut reply = honest;
    reply.result = match may_claim_success(request.nr, served) {
        true => result(random, request, honest.result, base),
        false => failure(random, asked(request), base),
    };
    if matches!(request.nr, nr::CLOCK_GETTIME | nr::CLOCK_GETRES) {
        clock::change(random, &mut reply);
    } else if random.in_256(16) {
        reply.args = another(enclave, random).args;
    } else if random.in_256(128) {
        let word = random.below(6) as usize;
        reply.args[word] = random.nasty(request.args[word], base);
    }
    if random.in_256(64) {
        reply.nr = random.nasty(request.nr, base) & !race::MARK;
    }
    reply
}

/// What stands in some thread's host area at the moment.
fn another(enclave: &Enclave, random: &mut Random) -> HostArea {
    let area = enclave.thread(random.below(enclave.slots()));
    match area.map_or(0, |thread| thread.area()) {
        0 => HostArea {
            nr: 0,
            args: [0; 6],
            result: 0,
        },
        address => Area(address).head(),
    }
}

/// Whether the call is served, too. Wakes are never lost: a thread that sleeps for ever is not what is looked for.
fn performs(number: u64, random: &mut Random) -> bool {
    match number {
        nr::WAKE | nr::INTERRUPT | nr::SIGNALS | nr::CLOCK_GETTIME => true,
        nr::EXIT => REFUSED_EXITS.fetch_add(1, Ordering::Relaxed) >= EXIT_REFUSALS,
        nr::PROTECT if !settings::get().withhold => false,
        nr::DISCARD => false,
        _ => random.in_256(128),
    }
}

/// Whether it may be said to have succeeded. What the kernel cannot do without is done or said to have failed: a thread
/// that never starts would be waited for for ever, and on the `linux` target pages are what the host makes of them.
fn may_claim_success(number: u64, served: bool) -> bool {
    match number {
        nr::THREAD_CREATE | nr::DISCARD => served,
        nr::PROTECT => served || settings::get().withhold,
        _ => true,
    }
}

/// A size or an address that the request named.
fn asked(request: HostArea) -> u64 {
    match request.nr {
        nr::READ | nr::WRITE => request.args[1],
        nr::IOCTL => request.args[2],
        _ => request.args[0],
    }
}

fn result(random: &mut Random, request: HostArea, honest: i64, base: u64) -> i64 {
    match random.below(6) {
        0 => honest,
        1 => 0,
        2 => failure(random, asked(request), base),
        _ => random.nasty(asked(request), base) as i64,
    }
}

/// Random bytes in the buffer: all of it, behind what was asked for, or a few.
fn change_buffer(random: &mut Random, buffer: &mut [u8], asked: u64) {
    let asked = (asked as usize).min(buffer.len());
    match random.below(8) {
        0 => random.fill(buffer),
        1 => {
            let end = buffer.len().min(asked + 4096);
            random.fill(&mut buffer[asked..end]);
        }
        _ => {
            let end = 1 + random.below(512) as usize;
            random.fill(&mut buffer[..end]);
        }
    }
}
