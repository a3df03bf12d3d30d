//! The longer texts of /proc/PID (proc(5)).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::process::{trimmed, Subject};
use super::system::ticks;
use crate::mm;
use crate::process::{self, limits, Process, PARENT_PID};
use crate::time::Clock;
use crate::Result;

/// /proc/PID/maps.
pub fn maps() -> Vec<u8> {
    let mut text = Vec::new();
    for line in mm::maps() {
        let facts = line.file.as_ref().and_then(|file| file.stat().ok());
        let (dev, ino) = facts.map_or((0, 0), |stat| (stat.dev, stat.ino));
        let letter = |on, letter| if on { letter } else { '-' };
        let head = format!(
            "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {ino} ",
            line.start,
            line.end,
            letter(line.prot.contains(mm::Prot::READ), 'r'),
            letter(line.prot.contains(mm::Prot::WRITE), 'w'),
            letter(line.prot.contains(mm::Prot::EXEC), 'x'),
            if line.shared { 's' } else { 'p' },
            line.offset,
            (dev >> 8) & 0xfff,
            dev & 0xff,
        );
        let name = match &line.file {
            Some(file) => match &file.dentry {
                Some(dentry) => dentry.path(),
                None => super::descriptors::shown(file),
            },
            None => line.name.as_bytes().to_vec(),
        };
        text.extend_from_slice(head.as_bytes());
        if !name.is_empty() {
            // Names stand in one column (seq_pad in Linux).
            text.resize(text.len() + 73usize.saturating_sub(head.len()), b' ');
            for &byte in &name {
                match byte {
                    b'\n' => text.extend_from_slice(b"\\012"),
                    byte => text.push(byte),
                }
            }
        }
        text.push(b'\n');
    }
    text
}

const PAGE: u64 = 4096;

/// /proc/PID/statm.
pub fn statm() -> Vec<u8> {
    let usage = mm::usage();
    format!(
        "{} {} {} {} 0 {} 0\n",
        usage.mapped / PAGE,
        usage.resident / PAGE,
        usage.shared / PAGE,
        usage.text / PAGE,
        (usage.data + usage.stack) / PAGE
    )
    .into_bytes()
}

fn name(subject: &Subject) -> Vec<u8> {
    match &subject.thread {
        Some(thread) => trimmed(&thread.name.lock()).to_vec(),
        None => trimmed(&process::name_of(&subject.process.program.read().path)).to_vec(),
    }
}

fn tid(subject: &Subject) -> u32 {
    let own = subject.thread.as_ref().map(|thread| thread.tid);
    own.unwrap_or(subject.process.pid)
}

/// /proc/PID/stat.
pub fn stat(subject: &Subject) -> Result<Vec<u8>> {
    let process = &subject.process;
    let usage = mm::usage();
    let group = *process.group.lock();
    let nice = i64::from(*process.nice.lock());
    let threads = process.live_threads().len();
    let spent = ticks(Clock::ProcessCpu.now().unwrap_or(0));
    let (pending, blocked) = match &subject.thread {
        Some(thread) => (thread.signals.pending().0, thread.signals.mask().0),
        None => (0, 0),
    };
    let (ignored, caught) = (process.signals.ignored().0, process.signals.caught().0);
    let mut text = format!("{} (", tid(subject)).into_bytes();
    text.extend_from_slice(&name(subject));
    let started = ticks(process.start_time);
    let rest = [
        format!(
            ") R {PARENT_PID} {} {} 0 -1 4194304 0 0 0 0 {spent} 0 0 0 {} {nice} {threads} 0",
            group.pgid,
            group.sid,
            20 + nice,
        ),
        format!(
            " {started} {} {} 18446744073709551615 0 0 0 0 0",
            usage.mapped,
            usage.resident / PAGE
        ),
        format!(
            " {} {} {} {} 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
            pending & 0x7fff_ffff,
            blocked & 0x7fff_ffff,
            ignored & 0x7fff_ffff,
            caught & 0x7fff_ffff,
        ),
    ];
    text.extend_from_slice(rest.concat().as_bytes());
    Ok(text)
}

/// /proc/PID/status.
pub fn status(subject: &Subject) -> Result<Vec<u8>> {
    let process = &subject.process;
    let usage = mm::usage();
    let credentials = process.credentials.lock().clone();
    let threads = process.live_threads().len();
    let umask = process.fs.read().umask;
    let slots = process
        .files
        .read()
        .open()
        .last()
        .map_or(0, |(fd, _)| fd + 1);
    let (pending, blocked) = match &subject.thread {
        Some(thread) => (thread.signals.pending().0, thread.signals.mask().0),
        None => (0, 0),
    };
    let ids = |ids: &crate::process::credentials::Ids| {
        format!(
            "{}\t{}\t{}\t{}",
            ids.real, ids.effective, ids.saved, ids.files
        )
    };
    let groups: String = credentials.groups.iter().map(|g| format!("{g} ")).collect();
    let cpus = process::cpu_count();
    let mut lines = String::new();
    let mut line = |key: &str, value: String| {
        lines += key;
        lines += ":\t";
        lines += &value;
        lines.push('\n');
    };
    let kilobytes = |bytes: u64| format!("{:8} kB", bytes / 1024);
    line("Umask", format!("{umask:04o}"));
    line("State", "R (running)".into());
    line("Tgid", format!("{}", process.pid));
    line("Ngid", "0".into());
    line("Pid", format!("{}", tid(subject)));
    line("PPid", format!("{PARENT_PID}"));
    line("TracerPid", "0".into());
    line("Uid", ids(&credentials.user));
    line("Gid", ids(&credentials.group));
    line(
        "FDSize",
        format!("{}", (slots.max(1) as u32).next_power_of_two().max(64)),
    );
    line("Groups", groups);
    line("VmPeak", kilobytes(usage.mapped));
    line("VmSize", kilobytes(usage.mapped));
    line("VmLck", kilobytes(0));
    line("VmPin", kilobytes(0));
    line("VmHWM", kilobytes(usage.resident));
    line("VmRSS", kilobytes(usage.resident));
    line(
        "RssAnon",
        kilobytes(usage.resident - usage.shared.min(usage.resident)),
    );
    line("RssFile", kilobytes(usage.shared));
    line("RssShmem", kilobytes(0));
    line("VmData", kilobytes(usage.data));
    line("VmStk", kilobytes(usage.stack));
    line("VmExe", kilobytes(usage.text));
    line("VmSwap", kilobytes(0));
    line("Threads", format!("{threads}"));
    line("SigPnd", format!("{pending:016x}"));
    line("ShdPnd", format!("{:016x}", process.signals.pending().0));
    line("SigBlk", format!("{blocked:016x}"));
    line("SigIgn", format!("{:016x}", process.signals.ignored().0));
    line("SigCgt", format!("{:016x}", process.signals.caught().0));
    line("CapInh", format!("{:016x}", credentials.inheritable));
    line("CapPrm", format!("{:016x}", credentials.permitted));
    line("CapEff", format!("{:016x}", credentials.effective));
    line("Seccomp", "0".into());
    line(
        "Cpus_allowed_list",
        match cpus {
            1 => "0".into(),
            cpus => format!("0-{}", cpus - 1),
        },
    );
    line("Mems_allowed_list", "0".into());

    let mut text = b"Name:\t".to_vec();
    text.extend_from_slice(&name(subject));
    text.push(b'\n');
    text.extend_from_slice(lines.as_bytes());
    Ok(text)
}

/// /proc/PID/limits.
pub fn limits(process: &Process) -> Vec<u8> {
    const NAMES: [(&str, &str); limits::COUNT] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let shown = |value: u64| match value {
        limits::INFINITY => String::from("unlimited"),
        value => format!("{value}"),
    };
    let mut text = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    let all = process.limits.lock().clone();
    for ((name, unit), resource) in NAMES.iter().zip(0..) {
        if let Ok(limit) = all.get(resource) {
            text += &format!(
                "{name:<25} {:<20} {:<20} {unit:<10}\n",
                shown(limit.current),
                shown(limit.maximum)
            );
        }
    }
    text.into_bytes()
}
