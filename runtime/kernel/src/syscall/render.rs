//! Arguments and results as strace(1) writes them.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use mystikos_platform::user;

use super::table::Arg;
use crate::signal::set;
use crate::{signal, Errno, Result};

/// Most bytes of a string or buffer that are shown.
const SHOWN: usize = 32;
/// PATH_MAX: paths are shown in full.
const PATH_MAX: usize = 4096;

/// An argument before the call is made; `None` for one that only the call fills.
pub fn argument(arg: Arg, value: u64, all: &[u64; 6]) -> Option<String> {
    Some(match arg {
        Arg::Int => format!("{}", value as i32),
        Arg::Uint => format!("{value}"),
        Arg::Hex if value == 0 => "0".into(),
        Arg::Hex => format!("{value:#x}"),
        Arg::Fd => format!("{}", value as i32),
        Arg::DirFd => match value as i32 {
            AT_FDCWD => "AT_FDCWD".into(),
            fd => format!("{fd}"),
        },
        Arg::Path => text(value, PATH_MAX),
        Arg::Str => text(value, SHOWN),
        Arg::BufIn(size) => buffer(value, all[size as usize]),
        Arg::BufOut => return None,
        Arg::Ptr => pointer(value),
        Arg::Flags(names) => flags(names, value),
        Arg::Enum(names) => one_of(names, value),
        Arg::CreateMode(flags) if all[flags as usize] & MAKES_A_FILE == 0 => String::new(),
        Arg::Mode | Arg::CreateMode(_) => format!("{:#05o}", value as u32).replacen("0o", "0", 1),
        Arg::Signal => match value as u32 {
            0 => "0".into(),
            signal => set::name(signal).into(),
        },
    })
}

const AT_FDCWD: i32 = -100;

/// O_CREAT and the bit of O_TMPFILE that is not O_DIRECTORY.
const MAKES_A_FILE: u64 = 0o100 | 0o20000000;

/// A buffer that the call has filled with as many bytes as its result says.
pub fn filled(value: u64, result: Result<u64>) -> String {
    match result {
        Ok(size) => buffer(value, size),
        Err(_) => pointer(value),
    }
}

fn pointer(value: u64) -> String {
    match value {
        0 => "NULL".into(),
        value => format!("{value:#x}"),
    }
}

fn text(address: u64, most: usize) -> String {
    if address == 0 {
        return pointer(0);
    }
    match user::read_string(address, most, Errno::E2BIG) {
        Ok(bytes) => quoted(&bytes, false),
        Err(Errno::E2BIG) => buffer(address, most as u64 + 1),
        Err(_) => pointer(address),
    }
}

fn buffer(address: u64, size: u64) -> String {
    let shown = size.min(SHOWN as u64) as usize;
    let mut bytes = [0; SHOWN];
    if address == 0 && size > 0 {
        return pointer(0);
    }
    match user::copy_in(address, &mut bytes[..shown]) {
        Ok(()) => quoted(&bytes[..shown], size > SHOWN as u64),
        Err(_) => pointer(address),
    }
}

/// Bytes in quotes, escaped as in C, with dots when they were cut.
fn quoted(bytes: &[u8], cut: bool) -> String {
    let mut out = String::from("\"");
    for (i, &byte) in bytes.iter().enumerate() {
        let digit_follows = bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
        let written = match byte {
            b'"' => out.write_str("\\\""),
            b'\\' => out.write_str("\\\\"),
            b'\n' => out.write_str("\\n"),
            b'\r' => out.write_str("\\r"),
            b'\t' => out.write_str("\\t"),
            0x0b => out.write_str("\\v"),
            0x0c => out.write_str("\\f"),
            b' '..=b'~' => out.write_char(byte as char),
            _ if digit_follows => write!(out, "\\{byte:03o}"),
            _ => write!(out, "\\{byte:o}"),
        };
        debug_assert!(written.is_ok());
    }
    out.push('"');
    if cut {
        out.push_str("...");
    }
    out
}

/// Names of bits joined by `|`, the rest in hexadecimal. A name for 0 stands for the absence of the bits that are named
/// right after it (such as O_RDONLY for that of O_WRONLY and O_RDWR).
fn flags(names: &[(u64, &str)], value: u64) -> String {
    let value = value as u32 as u64;
    let mut left = value;
    let mut parts = alloc::vec::Vec::new();
    // Names of several bits before those of single ones, so that O_SYNC is not O_DSYNC and something.
    let mut sorted: alloc::vec::Vec<_> = names.iter().filter(|(bits, _)| *bits != 0).collect();
    sorted.sort_by_key(|(bits, _)| core::cmp::Reverse(bits.count_ones()));
    for (bits, name) in sorted {
        if left & bits == *bits {
            left &= !bits;
            parts.push((*bits, *name));
        }
    }
    parts.sort_by_key(|(bits, _)| *bits);
    let zero = names.iter().position(|(bits, _)| *bits == 0);
    if let Some(zero) = zero {
        let excluded = names[zero + 1..].iter().take(2);
        let present = excluded.fold(0, |set, (bits, _)| set | bits) & value;
        if value == 0 || (names.len() > zero + 2 && present == 0) {
            parts.insert(0, names[zero]);
        }
    }
    let mut out = String::new();
    for (_, name) in parts {
        if !out.is_empty() {
            out.push('|');
        }
        out.push_str(name);
    }
    match (out.is_empty(), left) {
        (true, 0) => "0".into(),
        (true, left) => format!("{left:#x}"),
        (false, 0) => out,
        (false, left) => format!("{out}|{left:#x}"),
    }
}

fn one_of(names: &[(u64, &str)], value: u64) -> String {
    let value = value as u32 as u64;
    match names.iter().find(|(v, _)| *v == value) {
        Some((_, name)) => String::from(*name),
        None => format!("{value:#x}"),
    }
}

/// Calls whose result is an address.
const ADDRESSES: [&str; 4] = ["mmap", "brk", "mremap", "shmat"];

/// What follows the `=`.
pub fn result(name: &str, result: Result<u64>) -> String {
    match result {
        Ok(value) if ADDRESSES.contains(&name) => format!("{value:#x}"),
        Ok(value) => format!("{}", value as i64),
        Err(errno) => failure(errno),
    }
}

/// A failed call's result.
pub fn failure(errno: Errno) -> String {
    match restart(errno) {
        Some((name, when)) => format!("? {name} (To be restarted {when})"),
        None => format!("-1 {} ({})", errno.name(), description(errno)),
    }
}

fn restart(errno: Errno) -> Option<(&'static str, &'static str)> {
    if errno == Errno::ERESTARTSYS {
        Some(("ERESTARTSYS", "if SA_RESTART is set"))
    } else if errno == signal::ERESTARTNOINTR {
        Some(("ERESTARTNOINTR", "in any case"))
    } else if errno == signal::ERESTARTNOHAND {
        Some(("ERESTARTNOHAND", "if no handler"))
    } else if errno == signal::ERESTART_RESTARTBLOCK {
        Some(("ERESTART_RESTARTBLOCK", "with the time that is left"))
    } else {
        None
    }
}

/// As strerror(3) says it.
pub fn description(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => "Operation not permitted",
        Errno::ENOENT => "No such file or directory",
        Errno::ESRCH => "No such process",
        Errno::EINTR => "Interrupted system call",
        Errno::EIO => "Input/output error",
        Errno::ENXIO => "No such device or address",
        Errno::E2BIG => "Argument list too long",
        Errno::ENOEXEC => "Exec format error",
        Errno::EBADF => "Bad file descriptor",
        Errno::ECHILD => "No child processes",
        Errno::EAGAIN => "Resource temporarily unavailable",
        Errno::ENOMEM => "Cannot allocate memory",
        Errno::EACCES => "Permission denied",
        Errno::EFAULT => "Bad address",
        Errno::ENOTBLK => "Block device required",
        Errno::EBUSY => "Device or resource busy",
        Errno::EEXIST => "File exists",
        Errno::EXDEV => "Invalid cross-device link",
        Errno::ENODEV => "No such device",
        Errno::ENOTDIR => "Not a directory",
        Errno::EISDIR => "Is a directory",
        Errno::EINVAL => "Invalid argument",
        Errno::ENFILE => "Too many open files in system",
        Errno::EMFILE => "Too many open files",
        Errno::ENOTTY => "Inappropriate ioctl for device",
        Errno::ETXTBSY => "Text file busy",
        Errno::EFBIG => "File too large",
        Errno::ENOSPC => "No space left on device",
        Errno::ESPIPE => "Illegal seek",
        Errno::EROFS => "Read-only file system",
        Errno::EMLINK => "Too many links",
        Errno::EPIPE => "Broken pipe",
        Errno::EDOM => "Numerical argument out of domain",
        Errno::ERANGE => "Numerical result out of range",
        Errno::EDEADLK => "Resource deadlock avoided",
        Errno::ENAMETOOLONG => "File name too long",
        Errno::ENOLCK => "No locks available",
        Errno::ENOSYS => "Function not implemented",
        Errno::ENOTEMPTY => "Directory not empty",
        Errno::ELOOP => "Too many levels of symbolic links",
        Errno::ENODATA => "No data available",
        Errno::EOVERFLOW => "Value too large for defined data type",
        Errno::EILSEQ => "Invalid or incomplete multibyte or wide character",
        Errno::EUSERS => "Too many users",
        Errno::ENOTSOCK => "Socket operation on non-socket",
        Errno::EDESTADDRREQ => "Destination address required",
        Errno::EMSGSIZE => "Message too long",
        Errno::EPROTOTYPE => "Protocol wrong type for socket",
        Errno::ENOPROTOOPT => "Protocol not available",
        Errno::EPROTONOSUPPORT => "Protocol not supported",
        Errno::ESOCKTNOSUPPORT => "Socket type not supported",
        Errno::EOPNOTSUPP => "Operation not supported",
        Errno::EPFNOSUPPORT => "Protocol family not supported",
        Errno::EAFNOSUPPORT => "Address family not supported by protocol",
        Errno::EADDRINUSE => "Address already in use",
        Errno::EADDRNOTAVAIL => "Cannot assign requested address",
        Errno::ENETDOWN => "Network is down",
        Errno::ENETUNREACH => "Network is unreachable",
        Errno::ECONNABORTED => "Software caused connection abort",
        Errno::ECONNRESET => "Connection reset by peer",
        Errno::ENOBUFS => "No buffer space available",
        Errno::EISCONN => "Transport endpoint is already connected",
        Errno::ENOTCONN => "Transport endpoint is not connected",
        Errno::ETIMEDOUT => "Connection timed out",
        Errno::ECONNREFUSED => "Connection refused",
        Errno::EHOSTUNREACH => "No route to host",
        Errno::EALREADY => "Operation already in progress",
        Errno::EINPROGRESS => "Operation now in progress",
        Errno::ESTALE => "Stale file handle",
        Errno::EDQUOT => "Disk quota exceeded",
        Errno::ECANCELED => "Operation canceled",
        Errno::EOWNERDEAD => "Owner died",
        Errno::ENOTRECOVERABLE => "State not recoverable",
        _ => "Unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &[(u64, &str)] = &[
        (0, "O_RDONLY"),
        (1, "O_WRONLY"),
        (2, "O_RDWR"),
        (0o100, "O_CREAT"),
        (0o10000, "O_DSYNC"),
        (0o4010000, "O_SYNC"),
        (0o2000000, "O_CLOEXEC"),
    ];

    #[test]
    fn flags_are_named_and_the_rest_is_hexadecimal() {
        assert_eq!(flags(OPEN, 0), "O_RDONLY");
        assert_eq!(flags(OPEN, 0o2000000), "O_RDONLY|O_CLOEXEC");
        assert_eq!(flags(OPEN, 0o101), "O_WRONLY|O_CREAT");
        assert_eq!(flags(OPEN, 0o4010002), "O_RDWR|O_SYNC");
        assert_eq!(flags(OPEN, 0x8000_0000), "O_RDONLY|0x80000000");
        assert_eq!(flags(&[(1, "A")], 0), "0");
        assert_eq!(flags(&[(1, "A")], 2), "0x2");
    }

    #[test]
    fn strings_are_escaped_as_strace_does() {
        assert_eq!(
            quoted(b"a\"b\\\n\x01\x017\xff", false),
            r#""a\"b\\\n\1\0017\377""#
        );
        assert_eq!(quoted(b"abc", true), "\"abc\"...");
    }

    #[test]
    fn numbers_and_modes_look_familiar() {
        let show = |arg, value| argument(arg, value, &[0; 6]).unwrap();
        assert_eq!(show(Arg::DirFd, -100i64 as u64), "AT_FDCWD");
        assert_eq!(show(Arg::Fd, 0xffff_ffff), "-1");
        assert_eq!(show(Arg::Mode, 0o644), "0644");
        let opened =
            |flags| argument(Arg::CreateMode(1), 0o600, &[0, flags, 0o600, 0, 0, 0]).unwrap();
        assert_eq!(opened(0o101), "0600");
        assert_eq!(opened(0o2000000), "");
        assert_eq!(show(Arg::Ptr, 0), "NULL");
        assert_eq!(show(Arg::Signal, 15), "SIGTERM");
        assert_eq!(show(Arg::Path, 0), "NULL");
    }

    #[test]
    fn results_tell_errors_in_words() {
        assert_eq!(
            result("openat", Err(Errno::ENOENT)),
            "-1 ENOENT (No such file or directory)"
        );
        assert_eq!(result("mmap", Ok(0x7f00_0000)), "0x7f000000");
        assert_eq!(result("read", Ok(5)), "5");
        assert_eq!(
            result("read", Err(Errno::ERESTARTSYS)),
            "? ERESTARTSYS (To be restarted if SA_RESTART is set)"
        );
    }
}
