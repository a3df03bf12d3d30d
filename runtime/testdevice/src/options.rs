//! The command line.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

/// How to use it.
pub const USAGE: &str = "\
usage: sgx-test-device [option]… -- program [argument]…

Runs a program on this machine as if it had SGX: /dev/sgx_enclave is there, validates every request as Linux does, and
is backed by a software SGX. For tests; nothing is protected.

  --log FILE            a line of JSON for every request, with the rule that a refused one broke
  --guard               enclave memory is out of reach while no thread is in the enclave: access from outside, which
                        hardware would answer with ones, is SIGSEGV and logged, or EFAULT of a system call; slow
  --stats               at the end, counts of the processor's instructions on standard error

The machine:
  --epc-pages N         pages of the EPC (default 1048576); ENOMEM when they are used up
  --sgx1                a processor without SGX2 and EXINFO
  --absent              no device file
  --unreadable          a device file that may not be opened
  --no-provision        no /dev/sgx_provision

What goes wrong:
  --deny-launch         the launch key is another one: EINIT fails
  --noexec              every source of ADD_PAGES lies on a noexec mount
  --transient ERRNO     every other request fails at first: EAGAIN, EBUSY, EINTR
  --partial PAGES       ADD_PAGES adds so many pages at most, as when signals arrive
  --lose-after N        the machine sleeps after N entries, and what is in the EPC is lost
  --interrupts MICROS   interrupts threads in the enclave at random points, on average so often
  --seed N              seed of those (default 1)
";

/// Whether the device file is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// There is no device file.
    pub absent: bool,
    /// It may not be opened.
    pub unreadable: bool,
    /// There is no /dev/sgx_provision.
    pub no_provision: bool,
}

/// What is asked for.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Options {
    pub command: Vec<CString>,
    pub log: Option<PathBuf>,
    pub stats: bool,
    pub guard: bool,
    pub epc_pages: u64,
    pub sgx1: bool,
    pub presence: Presence,
    pub deny_launch: bool,
    pub noexec: bool,
    pub transient: Option<i32>,
    pub partial: Option<u64>,
    pub lose_after: Option<u64>,
    pub interrupts: Option<Duration>,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            command: Vec::new(),
            log: None,
            stats: false,
            guard: false,
            epc_pages: 1 << 20,
            sgx1: false,
            presence: Presence::default(),
            deny_launch: false,
            noexec: false,
            transient: None,
            partial: None,
            lose_after: None,
            interrupts: None,
            seed: 1,
        }
    }
}

/// Reads a command line without the program's own name; `None` when help is asked for.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options::default();
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long("log") => options.log = Some(parser.value()?.into()),
            Arg::Long("stats") => options.stats = true,
            Arg::Long("guard") => options.guard = true,
            Arg::Long("epc-pages") => options.epc_pages = parser.value()?.parse()?,
            Arg::Long("sgx1") => options.sgx1 = true,
            Arg::Long("absent") => options.presence.absent = true,
            Arg::Long("unreadable") => options.presence.unreadable = true,
            Arg::Long("no-provision") => options.presence.no_provision = true,
            Arg::Long("deny-launch") => options.deny_launch = true,
            Arg::Long("noexec") => options.noexec = true,
            Arg::Long("transient") => options.transient = Some(errno(&parser.value()?.string()?)?),
            Arg::Long("partial") => options.partial = Some(positive(parser.value()?.parse()?)?),
            Arg::Long("lose-after") => options.lose_after = Some(parser.value()?.parse()?),
            Arg::Long("interrupts") => {
                options.interrupts =
                    Some(Duration::from_micros(positive(parser.value()?.parse()?)?));
            }
            Arg::Long("seed") => options.seed = parser.value()?.parse()?,
            Arg::Value(program) => {
                let all = std::iter::once(program).chain(parser.raw_args()?);
                options.command = all
                    .map(|word| CString::new(word.into_vec()))
                    .collect::<Result<_, _>>()
                    .map_err(|_| lexopt::Error::Custom("an argument contains a NUL byte".into()))?;
            }
            other => return Err(other.unexpected()),
        }
    }
    if options.command.is_empty() {
        return Err("no program to run".into());
    }
    Ok(Some(options))
}

fn errno(name: &str) -> Result<i32, lexopt::Error> {
    match name {
        "EAGAIN" => Ok(libc::EAGAIN),
        "EBUSY" => Ok(libc::EBUSY),
        "EINTR" => Ok(libc::EINTR),
        _ => Err(format!("--transient: got {name:?}, expected EAGAIN, EBUSY or EINTR").into()),
    }
}

fn positive(number: u64) -> Result<u64, lexopt::Error> {
    match number {
        0 => Err("a number that must not be 0".into()),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_end_where_the_program_begins() {
        let options = parse(words("--sgx1 --epc-pages 7 -- ./prog --sgx1 -x"))
            .unwrap()
            .unwrap();
        assert!(options.sgx1);
        assert_eq!(options.epc_pages, 7);
        let command: Vec<_> = options
            .command
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect();
        assert_eq!(command, ["./prog", "--sgx1", "-x"]);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for line in [
            "",
            "--nonsense -- p",
            "--transient ENOENT p",
            "--partial 0 p",
            "--epc-pages x p",
            "--log",
        ] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn every_option_is_explained() {
        for option in [
            "log",
            "stats",
            "guard",
            "epc-pages",
            "sgx1",
            "absent",
            "unreadable",
            "no-provision",
            "deny-launch",
            "noexec",
            "transient",
            "partial",
            "lose-after",
            "interrupts",
            "seed",
        ] {
            assert!(
                USAGE.contains(&format!("--{option} ")) || USAGE.contains(&format!("--{option}\n")),
                "{option}"
            );
        }
    }
}
