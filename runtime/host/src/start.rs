//! The start-up block that the kernel copies in at its first entry.

use alloc::vec::Vec;

use mystikos_abi::hostcall::{start, HostSpan, HostStart, HOST_ABI_VERSION, START_SIZE_MAX};
use zerocopy::IntoBytes;

use crate::arguments::{Options, Process};
use crate::threads::Target;
use crate::{fail, signals, Result};

/// Builds the block; it is leaked, since the kernel is told its address.
pub fn block(
    process: &Process,
    options: &Options<'_>,
    arguments: &[&[u8]],
    target: &dyn Target,
) -> Result<u64> {
    let mut bytes = alloc::vec![0; size_of::<HostStart>()];
    let args = strings(&mut bytes, arguments);
    let env = strings(&mut bytes, &process.environment);
    let strace_filter = span(&mut bytes, options.strace_filter);
    let strace_exclude = span(&mut bytes, options.strace_exclude);
    let uid_map = span(&mut bytes, options.uid_map);
    let gid_map = span(&mut bytes, options.gid_map);
    if bytes.len() as u64 > START_SIZE_MAX {
        return Err(fail!(
            "arguments and environment take {} bytes, expected at most {START_SIZE_MAX}",
            bytes.len()
        ));
    }
    let head = HostStart {
        version: HOST_ABI_VERSION,
        flags: flags(options, target),
        size: bytes.len() as u64,
        args,
        env,
        strace_filter,
        strace_exclude,
        strace_tid: options.strace_tid,
        strace_pid: options.strace_pid,
        cpu_count: cpu_count(),
        max_affinity_cpus: options.max_affinity_cpus,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        vdso: if target.is_plain() {
            crate::vdso::functions(process.vdso)
        } else {
            [0; 4]
        },
        total_memory: rustix::system::sysinfo().totalram as u64,
        uid_map,
        gid_map,
        ignored_signals: signals::ignored(),
    };
    bytes[..size_of::<HostStart>()].copy_from_slice(head.as_bytes());
    // Word-aligned memory that is never freed: the kernel reads it once, at a time of its choosing.
    let words: Vec<u128> = bytes
        .chunks(16)
        .map(|chunk| {
            let mut word = [0; 16];
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_le_bytes(word)
        })
        .collect();
    Ok(words.leak().as_ptr() as u64)
}

fn flags(options: &Options<'_>, target: &dyn Target) -> u32 {
    [
        (target.is_plain(), start::ZERO_PAGES),
        (options.strace, start::STRACE),
        (options.strace_failing, start::STRACE_FAILING),
        (options.trace_errors, start::TRACE_ERRORS),
        (options.perf, start::PERF),
    ]
    .iter()
    .filter(|(on, _)| *on)
    .fold(0, |all, (_, flag)| all | flag)
}

fn span(bytes: &mut Vec<u8>, content: &[u8]) -> HostSpan {
    let offset = bytes.len() as u64;
    bytes.extend_from_slice(content);
    HostSpan {
        offset,
        size: content.len() as u64,
    }
}

fn strings(bytes: &mut Vec<u8>, all: &[&[u8]]) -> HostSpan {
    let offset = bytes.len() as u64;
    for string in all {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    HostSpan {
        offset,
        size: bytes.len() as u64 - offset,
    }
}

fn cpu_count() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().max(1))
}
