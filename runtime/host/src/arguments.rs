//! The process's own command line, environment and auxiliary vector, and the launcher's options.
//!
//! Only leading arguments that the launcher knows are its own; the first unknown one, or `--`, ends them, and everything
//! after reaches the application untouched.

use alloc::vec::Vec;
use core::ffi::CStr;

use crate::{fail, Result};

/// What the kernel put on the initial stack (execve(2)).
pub struct Process {
    /// argv.
    pub arguments: Vec<&'static [u8]>,
    /// environ.
    pub environment: Vec<&'static [u8]>,
    /// AT_EXECFN: the path this program was started by.
    pub path: &'static CStr,
    /// AT_SYSINFO_EHDR: the vDSO, or 0.
    pub vdso: u64,
    /// AT_HWCAP2.
    pub hwcap2: u64,
}

const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;

/// AT_HWCAP2: the FSGSBASE instructions may be used.
pub const HWCAP2_FSGSBASE: u64 = 2;

impl Process {
    /// Reads the initial stack.
    ///
    /// # Safety
    ///
    /// `stack` is the stack pointer at the process's first instruction, and nobody changes what lies above it.
    pub unsafe fn read(stack: *const u64) -> Process {
        // SAFETY: argc, argv pointers, 0, environment pointers, 0, auxiliary vector, as the System V ABI lays them out.
        unsafe {
            let argc = *stack as usize;
            let (arguments, next) = strings(stack.add(1), argc);
            let (environment, mut aux) = strings(next, usize::MAX);
            let mut process = Process {
                arguments,
                environment,
                path: c"",
                vdso: 0,
                hwcap2: 0,
            };
            while *aux != 0 {
                let value = *aux.add(1);
                match *aux {
                    AT_EXECFN => process.path = CStr::from_ptr(value as *const core::ffi::c_char),
                    AT_SYSINFO_EHDR => process.vdso = value,
                    AT_HWCAP2 => process.hwcap2 = value,
                    _ => {}
                }
                aux = aux.add(2);
            }
            process
        }
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &[u8]) -> Option<&'static [u8]> {
        self.environment
            .iter()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
    }
}

/// Up to `most` strings behind a null-terminated array of pointers, and what follows the array.
///
/// # Safety
///
/// `at` points to such an array of pointers to NUL-terminated strings that live for ever.
unsafe fn strings(mut at: *const u64, most: usize) -> (Vec<&'static [u8]>, *const u64) {
    let mut all = Vec::new();
    // SAFETY: the caller's.
    unsafe {
        while *at != 0 {
            if all.len() < most {
                all.push(CStr::from_ptr(*at as *const core::ffi::c_char).to_bytes());
            }
            at = at.add(1);
        }
        (all, at.add(1))
    }
}

/// The launcher's own options.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Options<'a> {
    pub strace: bool,
    pub strace_failing: bool,
    pub strace_filter: &'a [u8],
    pub strace_exclude: &'a [u8],
    pub strace_tid: u32,
    pub strace_pid: u32,
    pub trace_errors: bool,
    pub perf: bool,
    pub max_affinity_cpus: u32,
    pub uid_map: &'a [u8],
    pub gid_map: &'a [u8],
}

impl Options<'_> {
    /// One of them makes the kernel tell what the application does.
    pub fn is_tracing(&self) -> bool {
        self.strace || self.strace_failing || self.trace_errors || self.perf
    }
}

/// Splits the command line (without argv[0]) into the launcher's options and the application's arguments.
pub fn parse<'a, 'l>(arguments: &'l [&'a [u8]]) -> Result<(Options<'a>, &'l [&'a [u8]])> {
    let mut options = Options::default();
    let mut rest = arguments;
    while let Some((&argument, after)) = rest.split_first() {
        if argument == b"--" {
            return Ok((options, after));
        }
        let (name, value) = match argument.iter().position(|&b| b == b'=') {
            Some(at) => (&argument[..at], Some(&argument[at + 1..])),
            None => (argument, None),
        };
        let text = core::str::from_utf8(name).unwrap_or("");
        rest = after;
        match text {
            "--strace" | "--strace-failing" | "--trace-errors" | "--perf" if value.is_some() => {
                return Err(fail!("{text} takes no value"));
            }
            "--strace" => options.strace = true,
            "--strace-failing" => {
                options.strace = true;
                options.strace_failing = true;
            }
            "--trace-errors" => options.trace_errors = true,
            "--perf" => options.perf = true,
            "--nobrk" | "--exec-stack" | "--host-uds" => {
                return Err(fail!(
                    "{text}: this is decided by the signed config of the package, not at start; put -- before it if it is meant for the application"
                ));
            }
            "--mount" | "--rootfs" => {
                return Err(fail!(
                    "{text}: mounts and external root file systems are not built yet; put -- before it if it is meant for the application"
                ));
            }
            "--strace-filter"
            | "--strace-exclude-filter"
            | "--strace-filter-tid"
            | "--strace-filter-pid"
            | "--max-affinity-cpus"
            | "--host-to-enc-uid-map"
            | "--host-to-enc-gid-map" => {
                let value = match value {
                    Some(value) => value,
                    None => {
                        let (&value, after) = rest
                            .split_first()
                            .ok_or_else(|| fail!("{text}: expected a value after it"))?;
                        rest = after;
                        value
                    }
                };
                set(&mut options, text, value)?;
            }
            _ => return Ok((options, unshifted(arguments, rest))),
        }
    }
    Ok((options, rest))
}

/// The arguments from the one before `rest` on.
fn unshifted<'a, 'l>(all: &'l [&'a [u8]], rest: &[&'a [u8]]) -> &'l [&'a [u8]] {
    &all[all.len() - rest.len() - 1..]
}

fn set<'a>(options: &mut Options<'a>, name: &str, value: &'a [u8]) -> Result<()> {
    let number = || {
        core::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
            .filter(|&n| n > 0)
            .ok_or_else(|| {
                fail!(
                    "{name}: got \"{}\", expected a positive number",
                    alloc::string::String::from_utf8_lossy(value)
                )
            })
    };
    match name {
        "--strace-filter" => {
            options.strace = true;
            options.strace_filter = names(name, value)?;
        }
        "--strace-exclude-filter" => {
            options.strace = true;
            options.strace_exclude = names(name, value)?;
        }
        "--strace-filter-tid" => options.strace_tid = number()?,
        "--strace-filter-pid" => options.strace_pid = number()?,
        "--max-affinity-cpus" => options.max_affinity_cpus = number()?,
        "--host-to-enc-uid-map" => options.uid_map = id_map(name, value)?,
        _ => options.gid_map = id_map(name, value)?,
    }
    Ok(())
}

/// Names separated by colons; the kernel knows which there are.
fn names<'a>(name: &str, value: &'a [u8]) -> Result<&'a [u8]> {
    if value.split(|&b| b == b':').all(|one| !one.is_empty()) {
        Ok(value)
    } else {
        Err(fail!(
            "{name}: got \"{}\", expected names of system calls separated by colons, such as openat:read",
            alloc::string::String::from_utf8_lossy(value)
        ))
    }
}

/// `host:enclave` pairs separated by commas.
fn id_map<'a>(name: &str, value: &'a [u8]) -> Result<&'a [u8]> {
    let is_number =
        |text: &[u8]| core::str::from_utf8(text).is_ok_and(|text| text.parse::<u32>().is_ok());
    let good = value.split(|&b| b == b',').all(|pair| {
        let mut parts = pair.split(|&b| b == b':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(host), Some(inside), None) => is_number(host) && is_number(inside),
            _ => false,
        }
    });
    if good {
        Ok(value)
    } else {
        Err(fail!(
            "{name}: got \"{}\", expected pairs host:enclave separated by commas, such as 1000:0",
            alloc::string::String::from_utf8_lossy(value)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<'a>(arguments: &[&'a [u8]]) -> (Options<'a>, Vec<&'a [u8]>) {
        let (options, rest) = parse(arguments).expect("good options");
        (options, rest.to_vec())
    }

    #[test]
    fn only_leading_known_options_are_the_launchers() {
        let (options, rest) = parsed(&[b"--perf", b"a", b"--strace"]);
        assert!(options.perf && !options.strace);
        assert_eq!(rest, [b"a".as_slice(), b"--strace"]);
    }

    #[test]
    fn two_dashes_end_the_options_and_are_not_passed_on() {
        let (options, rest) = parsed(&[b"--", b"--perf", b"--"]);
        assert_eq!(options, Options::default());
        assert_eq!(rest, [b"--perf".as_slice(), b"--"]);
    }

    #[test]
    fn an_unknown_option_belongs_to_the_application() {
        let (_, rest) = parsed(&[b"--help", b"--perf"]);
        assert_eq!(rest, [b"--help".as_slice(), b"--perf"]);
    }

    #[test]
    fn values_stand_after_an_equals_sign_or_in_the_next_argument() {
        assert_eq!(parsed(&[b"--max-affinity-cpus=3"]).0.max_affinity_cpus, 3);
        assert_eq!(
            parsed(&[b"--max-affinity-cpus", b"3", b"x"])
                .0
                .max_affinity_cpus,
            3
        );
    }

    #[test]
    fn bad_values_are_refused_with_what_was_expected() {
        for bad in [
            [b"--max-affinity-cpus=0".as_slice()],
            [b"--host-to-enc-uid-map=1:2:3"],
            [b"--host-to-enc-uid-map=a:b"],
            [b"--strace-filter-tid=-1"],
            [b"--perf=1"],
            [b"--nobrk"],
        ] {
            assert!(parse(&bad).is_err(), "{:?}", bad);
        }
    }
}
