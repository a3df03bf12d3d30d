//! `--strace`: system calls as strace(1) shows them. `--perf`: how many there were, and how long they took.
//!
//! One line per call, written at once when it has returned:
//!
//! ```text
//! [101 101] openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linux_raw_sys::general as raw;
use mystikos_platform::host::{self, start_flags};
use mystikos_platform::start::Start;
use mystikos_platform::sync::Once;
use mystikos_platform::{control, memory};

use super::table::{self, Entry, LIMIT};
use super::{names, render};
use crate::config::Config;
use crate::process::Thread;
use crate::signal::info::SigInfo;
use crate::signal::set;
use crate::{time, Errno, Result};

/// What is shown.
struct Options {
    calls: bool,
    only_failing: bool,
    errors: bool,
    perf: bool,
    /// Calls that are shown; empty for all.
    filter: Vec<u64>,
    exclude: Vec<u64>,
    /// Thread and process that are shown, 0 for all.
    tid: u32,
    pid: u32,
}

static OPTIONS: Once<Options> = Once::new();
/// Some option is on; looked at before each call.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Takes the tracing options; they are ignored unless the enclave may be debugged.
pub fn init(start: &Start, config: &Config) {
    if !(config.debug && memory::layout().debug()) {
        return;
    }
    let head = start.head();
    let options = OPTIONS.call_once(|| Options {
        calls: start.has(start_flags::STRACE) || start.has(start_flags::STRACE_FAILING),
        only_failing: start.has(start_flags::STRACE_FAILING),
        errors: start.has(start_flags::TRACE_ERRORS),
        perf: start.has(start_flags::PERF),
        filter: numbers(start.span(head.strace_filter), "--strace-filter"),
        exclude: numbers(start.span(head.strace_exclude), "--strace-exclude-filter"),
        tid: head.strace_tid,
        pid: head.strace_pid,
    });
    let active = options.calls || options.errors || options.perf;
    ACTIVE.store(active, Ordering::Relaxed);
}

/// The calls that a filter names. A name that is none ends the program before it starts, as strace(1) does: a trace
/// that misses what was meant would look like a program that does nothing.
fn numbers(filter: &[u8], option: &str) -> Vec<u64> {
    let filter = String::from_utf8_lossy(filter);
    let mut numbers = Vec::new();
    for name in filter.split(':').filter(|name| !name.is_empty()) {
        match names::number(name.strip_prefix("SYS_").unwrap_or(name)) {
            Some(number) => numbers.push(number),
            None => {
                host::log(format!("myst: {option}: {name}: no such system call\n").as_bytes());
                host::exit_program(125);
            }
        }
    }
    numbers
}

/// Serves a call, and shows it if it is to be traced.
#[inline]
pub fn call(thread: &Thread, entry: &Entry, arguments: [u64; 6]) -> Result<u64> {
    if ACTIVE.load(Ordering::Relaxed) {
        traced(thread, entry, arguments)
    } else {
        (entry.handler)(thread, arguments)
    }
}

#[cold]
#[inline(never)]
fn traced(thread: &Thread, entry: &Entry, arguments: [u64; 6]) -> Result<u64> {
    let Some(options) = OPTIONS.get() else {
        return (entry.handler)(thread, arguments);
    };
    let shown = options.calls && options.selects(thread, entry.number as u64);
    let before = shown.then(|| shown_arguments(entry, &arguments));
    if let (Some(parts), true) = (&before, never_returns(entry) && !options.only_failing) {
        let call = finished(entry, parts, &arguments, Err(Errno::EFAULT));
        say(thread, &format!("{call} = ?"));
    }
    let started = options.perf.then(time::monotonic);
    let result = (entry.handler)(thread, arguments);
    if let Some(started) = started {
        count(entry.number, time::monotonic().saturating_sub(started));
    }
    if let Some(parts) = &before {
        if result.is_err() || !options.only_failing {
            let call = finished(entry, parts, &arguments, result);
            let outcome = render::result(entry.name, result);
            say(thread, &format!("{call} = {outcome}"));
        }
    }
    if let (Err(errno), true) = (result, options.errors) {
        explain(thread, entry, errno);
    }
    result
}

fn never_returns(entry: &Entry) -> bool {
    let ends = [raw::__NR_exit, raw::__NR_exit_group];
    ends.contains(&(entry.number as u32))
}

impl Options {
    fn selects(&self, thread: &Thread, number: u64) -> bool {
        self.selects_thread(thread)
            && (self.filter.is_empty() || self.filter.contains(&number))
            && !self.exclude.contains(&number)
    }

    fn selects_thread(&self, thread: &Thread) -> bool {
        (self.tid == 0 || self.tid == thread.tid)
            && (self.pid == 0 || self.pid == thread.process.pid)
    }
}

/// The arguments as they are before the call; `None` for what the call fills.
fn shown_arguments(entry: &Entry, arguments: &[u64; 6]) -> Vec<Option<String>> {
    let pairs = entry.args.iter().zip(arguments);
    pairs
        .map(|(arg, value)| render::argument(*arg, *value, arguments))
        .collect()
}

/// The call with all its arguments, once its result is known.
fn finished(
    entry: &Entry,
    parts: &[Option<String>],
    arguments: &[u64; 6],
    result: Result<u64>,
) -> String {
    let mut line = format!("{}(", entry.name);
    for (i, part) in parts.iter().enumerate() {
        if part.as_ref().is_some_and(String::is_empty) {
            continue;
        }
        if i > 0 {
            line.push_str(", ");
        }
        match part {
            Some(part) => line.push_str(part),
            None => line.push_str(&render::filled(arguments[i], result)),
        }
    }
    line.push(')');
    line
}

fn say(thread: &Thread, text: &str) {
    let line = format!("[{} {}] {text}\n", thread.process.pid, thread.tid);
    host::log(line.as_bytes());
}

/// `--trace-errors`: where the application made a call that failed, and what the table tells of its limits.
fn explain(thread: &Thread, entry: &Entry, errno: Errno) {
    let site = control::regs().rip;
    let mut text = format!(
        "{} made at {site:#x}: {}",
        entry.name,
        render::failure(errno)
    );
    if !entry.note.is_empty() {
        let _ = write!(text, "; {:?}: {}", entry.support, entry.note);
    }
    say(thread, &text);
}

/// Shows a call that has no entry.
pub fn unhandled(thread: &Thread, number: u64, arguments: [u64; 6], enosys: bool) {
    let Some(options) = OPTIONS.get() else {
        return;
    };
    if !(options.calls && options.selects(thread, number)) {
        return;
    }
    let mut line = match names::of(number) {
        Some(name) => String::from(name),
        None => format!("syscall_{number:#x}"),
    };
    for (i, value) in arguments.iter().enumerate() {
        let _ = write!(line, "{}{value:#x}", if i == 0 { "(" } else { ", " });
    }
    let outcome = match enosys {
        true => render::failure(Errno::ENOSYS),
        false => String::from("?"),
    };
    say(thread, &format!("{line}) = {outcome}"));
}

/// Shows a signal that is delivered.
pub fn signal(thread: &Thread, info: &SigInfo) {
    if !ACTIVE.load(Ordering::Relaxed) {
        return;
    }
    let Some(options) = OPTIONS.get() else {
        return;
    };
    if options.calls && options.selects_thread(thread) {
        let name = set::name(info.signal());
        let detail = match info.code {
            // SI_USER, SI_QUEUE, SI_TKILL
            0 | -1 | -6 => format!("si_pid={}, si_uid={}", info.pid(), info.uid()),
            _ => format!("si_addr={:#x}", info.address()),
        };
        let code = match info.code {
            0 => "SI_USER",
            0x80 => "SI_KERNEL",
            -1 => "SI_QUEUE",
            -2 => "SI_TIMER",
            -6 => "SI_TKILL",
            other => &format!("{other}"),
        };
        say(
            thread,
            &format!("--- {name} {{si_signo={name}, si_code={code}, {detail}}} ---"),
        );
    }
}

/// Calls and nanoseconds by number.
static CALLS: [AtomicU64; LIMIT] = [const { AtomicU64::new(0) }; LIMIT];
static TIMES: [AtomicU64; LIMIT] = [const { AtomicU64::new(0) }; LIMIT];

fn count(number: u16, ns: u64) {
    CALLS[number as usize].fetch_add(1, Ordering::Relaxed);
    TIMES[number as usize].fetch_add(ns, Ordering::Relaxed);
}

/// The program ends with this status: says so, and what was counted.
pub fn finish(status: u8) {
    let Some(options) = OPTIONS.get() else {
        return;
    };
    if options.calls && !options.only_failing {
        let pid = crate::process::first().map_or(0, |process| process.pid);
        host::log(format!("[{pid}] +++ exited with {status} +++\n").as_bytes());
    }
    if options.perf {
        host::log(table_of_times().as_bytes());
    }
}

/// Counts and times, the longest first.
fn table_of_times() -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut rows: Vec<(u64, u64, &str)> = (0..LIMIT)
        .filter(|&i| load(&CALLS[i]) != 0)
        .map(|i| {
            let name = table::find(i as u64).map_or("?", |entry| entry.name);
            (load(&TIMES[i]), load(&CALLS[i]), name)
        })
        .collect();
    rows.sort_by_key(|row| core::cmp::Reverse(*row));
    let mut text = String::from("       total      average       calls  system call\n");
    for (time, calls, name) in rows {
        let (total, average) = (time / 1000, time / calls);
        let _ = writeln!(text, "{total:>9} us {average:>9} ns {calls:>11}  {name}");
    }
    text
}
