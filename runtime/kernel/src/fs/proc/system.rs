//! What /proc tells of the system as a whole. What the kernel does not know is left out rather than made up.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mystikos_platform::random;
use mystikos_platform::sync::Once;

use super::mounts;
use crate::config::config;
use crate::cpu::{self, info};
use crate::fs::clock;
use crate::fs::fd::FD_MAX;
use crate::fs::pseudo::Fixed;
use crate::syscall::system::{MACHINE, RELEASE, SYSNAME, VERSION};
use crate::{mm, process, time};

/// The files of /proc that are always there.
pub const FILES: &[Fixed] = &[
    Fixed::text("cgroups", || {
        b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n".to_vec()
    }),
    Fixed::text("cmdline", || b"\n".to_vec()),
    Fixed::text("cpuinfo", cpuinfo),
    Fixed::text("devices", devices),
    Fixed::text("filesystems", mounts::filesystems),
    Fixed::text("loadavg", loadavg),
    Fixed::text("meminfo", meminfo),
    Fixed::link("mounts", "self/mounts"),
    Fixed::link("net", "self/net"),
    Fixed::text("stat", stat),
    Fixed::text("swaps", || {
        b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec()
    }),
    Fixed::directory("sys", SYS),
    Fixed::text("uptime", uptime),
    Fixed::text("version", version),
];

const SYS: &[Fixed] = &[
    Fixed::directory(
        "fs",
        &[
            Fixed::text("file-max", || line(FD_MAX)),
            Fixed::text("nr_open", || line(FD_MAX)),
            Fixed::text("pipe-max-size", || line(crate::fs::pipe::SIZE_MAX)),
        ],
    ),
    Fixed::directory(
        "kernel",
        &[
            Fixed::text("cap_last_cap", || line(40)),
            Fixed::text("domainname", || line("(none)")),
            Fixed::text("hostname", || line(&config().hostname)),
            Fixed::text("ngroups_max", || line(65536)),
            Fixed::text("osrelease", || line(RELEASE)),
            Fixed::text("ostype", || line(SYSNAME)),
            Fixed::text("overflowgid", || line(65534)),
            Fixed::text("overflowuid", || line(65534)),
            Fixed::text("pid_max", || line(process::PID_LIMIT)),
            Fixed::directory(
                "random",
                &[
                    Fixed::text("boot_id", boot_id),
                    Fixed::text("entropy_avail", || line(256)),
                    Fixed::text("poolsize", || line(256)),
                    Fixed::text("uuid", || line(uuid())),
                ],
            ),
            Fixed::text("randomize_va_space", || line(2)),
            Fixed::text("threads-max", || line(config().max_threads)),
            Fixed::text("version", || line(VERSION)),
        ],
    ),
    Fixed::directory(
        "net",
        &[Fixed::directory(
            "core",
            &[Fixed::text("somaxconn", || line(4096))],
        )],
    ),
    Fixed::directory(
        "vm",
        &[
            Fixed::text("max_map_count", || line(65530)),
            Fixed::text("mmap_min_addr", || line(65536)),
            Fixed::text("nr_hugepages", || line(0)),
            // An allocation that does not fit fails: nothing is promised that is not there.
            Fixed::text("overcommit_memory", || line(2)),
            Fixed::text("overcommit_ratio", || line(100)),
            Fixed::text("swappiness", || line(0)),
        ],
    ),
];

fn line(value: impl core::fmt::Display) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// As CPUID tells it, and by number only where that cannot be had.
fn cpuinfo() -> Vec<u8> {
    let count = process::cpu_count();
    let info::Lines { first, last } = cpu::info().unwrap_or_default();
    let cpus = (0..count).map(|cpu| {
        format!(
            "processor\t: {cpu}\n{first}physical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {cpu}\n\
             cpu cores\t: {count}\n{last}\n"
        )
    });
    cpus.collect::<String>().into_bytes()
}

fn devices() -> Vec<u8> {
    b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n".to_vec()
}

/// Threads that run cannot be told from those that wait without asking the host: the load is not known.
fn loadavg() -> Vec<u8> {
    let process = super::own_process();
    let threads = process.live_threads();
    let last = threads.last().map_or(process.pid, |thread| thread.tid);
    format!("0.00 0.00 0.00 1/{} {last}\n", threads.len()).into_bytes()
}

fn meminfo() -> Vec<u8> {
    let usage = mm::usage();
    let lines = [
        ("MemTotal", usage.total),
        ("MemFree", usage.free),
        ("MemAvailable", usage.free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", usage.resident),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        (
            "AnonPages",
            usage.resident - usage.shared.min(usage.resident),
        ),
        ("Mapped", usage.shared),
        ("Shmem", 0),
        ("Slab", usage.kernel),
        ("CommitLimit", usage.total),
        ("Committed_AS", usage.resident),
    ];
    let mut text = String::new();
    for (name, bytes) in lines {
        text += &format!("{:<16}{:>8} kB\n", format!("{name}:"), bytes / 1024);
    }
    text += "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n";
    text.into_bytes()
}

/// Ticks of a hundredth of a second (USER_HZ).
pub fn ticks(nanoseconds: u64) -> u64 {
    nanoseconds / 10_000_000
}

fn boot_time() -> i128 {
    clock::now() - i128::from(time::monotonic())
}

fn stat() -> Vec<u8> {
    let process = super::own_process();
    let mut text = String::from("cpu  0 0 0 0 0 0 0 0 0 0\n");
    for cpu in 0..process::cpu_count() {
        text += &format!("cpu{cpu} 0 0 0 0 0 0 0 0 0 0\n");
    }
    let threads = process.live_threads().len();
    text += &format!(
        "intr 0\nctxt 0\nbtime {}\nprocesses {threads}\nprocs_running 1\nprocs_blocked 0\n",
        boot_time().div_euclid(1_000_000_000)
    );
    text.into_bytes()
}

fn uptime() -> Vec<u8> {
    let hundredths = ticks(time::monotonic());
    format!("{}.{:02} 0.00\n", hundredths / 100, hundredths % 100).into_bytes()
}

fn version() -> Vec<u8> {
    line(format_args!(
        "{SYSNAME} version {RELEASE} ({MACHINE}) {VERSION}"
    ))
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> String {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

fn boot_id() -> Vec<u8> {
    static ID: Once<String> = Once::new();
    line(ID.call_once(uuid))
}
