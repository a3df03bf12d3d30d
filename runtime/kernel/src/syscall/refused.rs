//! Calls that are always refused, with the errno that Linux gives where the feature is absent or forbidden. Programs
//! ask for them to find out what there is, and go on without.

use linux_raw_sys::general as raw;

use super::table::{Arg, Entry};
use crate::process::Thread;
use crate::{Errno, Result};

const ABSENT: &str = "ENOSYS, as on a kernel built without it.";
const FORBIDDEN: &str = "EPERM, as in a container.";

const fn absent(number: u32, name: &'static str, args: &'static [Arg]) -> Entry {
    Entry::full(number, name, args, enosys).refused(ABSENT)
}

const fn forbidden(number: u32, name: &'static str, args: &'static [Arg]) -> Entry {
    Entry::full(number, name, args, eperm).refused(FORBIDDEN)
}

const PTR3: &[Arg] = &[Arg::Ptr, Arg::Ptr, Arg::Ptr];
const HEX3: &[Arg] = &[Arg::Hex, Arg::Hex, Arg::Hex];

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    absent(
        raw::__NR_rseq,
        "rseq",
        &[Arg::Ptr, Arg::Uint, Arg::Hex, Arg::Hex],
    ),
    absent(raw::__NR_bpf, "bpf", &[Arg::Int, Arg::Ptr, Arg::Uint]),
    absent(
        raw::__NR_perf_event_open,
        "perf_event_open",
        &[Arg::Ptr, Arg::Int, Arg::Int, Arg::Int, Arg::Hex],
    ),
    absent(
        raw::__NR_kcmp,
        "kcmp",
        &[Arg::Int, Arg::Int, Arg::Int, Arg::Hex, Arg::Hex],
    ),
    absent(raw::__NR_pidfd_open, "pidfd_open", &[Arg::Int, Arg::Hex]),
    absent(
        raw::__NR_pidfd_send_signal,
        "pidfd_send_signal",
        &[Arg::Fd, Arg::Signal, Arg::Ptr, Arg::Hex],
    ),
    absent(
        raw::__NR_pidfd_getfd,
        "pidfd_getfd",
        &[Arg::Fd, Arg::Fd, Arg::Hex],
    ),
    absent(
        raw::__NR_landlock_create_ruleset,
        "landlock_create_ruleset",
        PTR3,
    ),
    absent(raw::__NR_keyctl, "keyctl", HEX3),
    absent(raw::__NR_add_key, "add_key", PTR3),
    absent(raw::__NR_request_key, "request_key", PTR3),
    absent(raw::__NR_modify_ldt, "modify_ldt", HEX3),
    absent(raw::__NR_set_thread_area, "set_thread_area", &[Arg::Ptr]),
    absent(raw::__NR_get_thread_area, "get_thread_area", &[Arg::Ptr]),
    absent(raw::__NR_shmget, "shmget", HEX3),
    absent(raw::__NR_semget, "semget", HEX3),
    absent(raw::__NR_msgget, "msgget", &[Arg::Hex, Arg::Hex]),
    absent(
        raw::__NR_mq_open,
        "mq_open",
        &[Arg::Str, Arg::Hex, Arg::Mode, Arg::Ptr],
    ),
    Entry::full(raw::__NR_seccomp, "seccomp", HEX3, einval)
        .refused("EINVAL, as on a kernel built without filters: there is no host behind the calls to protect."),
    forbidden(
        raw::__NR_ptrace,
        "ptrace",
        &[Arg::Int, Arg::Int, Arg::Hex, Arg::Hex],
    ),
    forbidden(
        raw::__NR_syslog,
        "syslog",
        &[Arg::Int, Arg::Ptr, Arg::Int],
    ),
    forbidden(
        raw::__NR_sethostname,
        "sethostname",
        &[Arg::Str, Arg::Uint],
    ),
    forbidden(
        raw::__NR_setdomainname,
        "setdomainname",
        &[Arg::Str, Arg::Uint],
    ),
    forbidden(raw::__NR_reboot, "reboot", HEX3),
    forbidden(raw::__NR_unshare, "unshare", &[Arg::Hex]),
    forbidden(raw::__NR_setns, "setns", &[Arg::Fd, Arg::Hex]),
    forbidden(raw::__NR_acct, "acct", &[Arg::Path]),
    forbidden(raw::__NR_swapon, "swapon", &[Arg::Path, Arg::Hex]),
    forbidden(raw::__NR_swapoff, "swapoff", &[Arg::Path]),
    forbidden(raw::__NR_init_module, "init_module", PTR3),
    forbidden(
        raw::__NR_finit_module,
        "finit_module",
        &[Arg::Fd, Arg::Str, Arg::Hex],
    ),
    forbidden(
        raw::__NR_delete_module,
        "delete_module",
        &[Arg::Str, Arg::Hex],
    ),
    forbidden(raw::__NR_kexec_load, "kexec_load", HEX3),
    forbidden(raw::__NR_iopl, "iopl", &[Arg::Int]),
    forbidden(raw::__NR_ioperm, "ioperm", HEX3),
    forbidden(raw::__NR_vhangup, "vhangup", &[]),
];

fn enosys(_: &Thread, _: [u64; 6]) -> Result<u64> {
    Err(Errno::ENOSYS)
}

fn eperm(_: &Thread, _: [u64; 6]) -> Result<u64> {
    Err(Errno::EPERM)
}

fn einval(_: &Thread, _: [u64; 6]) -> Result<u64> {
    Err(Errno::EINVAL)
}
