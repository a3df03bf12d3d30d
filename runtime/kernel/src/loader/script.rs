//! `#!` scripts (execve(2), "Interpreter scripts").

use alloc::vec::Vec;

use crate::{Errno, Result};

/// Bytes at the start of a file that are looked at (BINPRM_BUF_SIZE).
pub const HEAD: usize = 256;

/// Most scripts one after another that are interpreters of each other.
pub const DEPTH_MAX: usize = 5;

/// The interpreter that a script names, and the argument it gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shebang {
    /// Path of the interpreter.
    pub interpreter: Vec<u8>,
    /// The rest of the line, as one argument.
    pub argument: Option<Vec<u8>>,
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Reads the first line; `None` when the file is no script. `head`: the first [`HEAD`] bytes, or all if there are fewer.
pub fn parse(head: &[u8]) -> Result<Option<Shebang>> {
    let Some(line) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let end = line.iter().position(|&b| b == b'\n' || b == 0);
    let truncated = end.is_none() && head.len() >= HEAD;
    let line = &line[..end.unwrap_or(line.len())];
    let start = line.iter().position(|&b| !is_blank(b));
    let line = &line[start.ok_or(Errno::ENOEXEC)?..];
    let name = line.iter().position(|&b| is_blank(b));
    // A path that may go on beyond what was read is not run; an argument is cut off there.
    if truncated && name.is_none() {
        return Err(Errno::ENOEXEC);
    }
    let (interpreter, rest) = line.split_at(name.unwrap_or(line.len()));
    let argument = trim(rest);
    Ok(Some(Shebang {
        interpreter: interpreter.to_vec(),
        argument: (!argument.is_empty()).then(|| argument.to_vec()),
    }))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text {
        if !is_blank(*first) {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !is_blank(*last) {
            break;
        }
        text = rest;
    }
    text
}

impl Shebang {
    /// argv of the interpreter for a script at `path` that was called with `arguments`.
    pub fn arguments(self, path: &[u8], arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut all = alloc::vec![self.interpreter];
        all.extend(self.argument);
        all.push(path.to_vec());
        all.extend(arguments.iter().skip(1).cloned());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        parse(head).unwrap().map(|s| (s.interpreter, s.argument))
    }

    #[test]
    fn the_line_is_split_into_interpreter_and_one_argument() {
        assert_eq!(parsed(b"#!/bin/sh\n"), Some((b"/bin/sh".to_vec(), None)));
        assert_eq!(
            parsed(b"#! \t/usr/bin/env  python3 -u \t\nrest"),
            Some((b"/usr/bin/env".to_vec(), Some(b"python3 -u".to_vec())))
        );
        assert_eq!(parsed(b"#!/bin/sh"), Some((b"/bin/sh".to_vec(), None)));
        assert_eq!(parsed(b"\x7fELF"), None);
        assert_eq!(parsed(b"#"), None);
    }

    #[test]
    fn a_line_without_an_interpreter_is_refused() {
        assert_eq!(parse(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(parse(b"#! \t \n/bin/sh"), Err(Errno::ENOEXEC));
    }

    #[test]
    fn a_path_that_is_cut_off_is_refused_and_an_argument_is_cut() {
        let mut head = b"#!/".to_vec();
        head.resize(HEAD, b'a');
        assert_eq!(parse(&head), Err(Errno::ENOEXEC));
        head[20] = b' ';
        let argument = parsed(&head).unwrap().1.unwrap();
        assert_eq!(argument.len(), HEAD - 21);
    }

    #[test]
    fn the_script_takes_the_place_of_argv0() {
        let shebang = parse(b"#!/bin/sh -e\n").unwrap().unwrap();
        let arguments = [b"name".to_vec(), b"one".to_vec()];
        assert_eq!(
            shebang.arguments(b"/script", &arguments),
            [&b"/bin/sh"[..], b"-e", b"/script", b"one"]
        );
    }
}
