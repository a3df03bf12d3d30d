//! What happened: a line of JSON for each request, and counts of the processor's instructions.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mystikos_sgx::Leaf;
use serde_json::{json, Value};

use crate::refusal;

/// Instructions and events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub ecreate: u64,
    pub eadd: u64,
    pub eextend: u64,
    pub einit: u64,
    pub eenter: u64,
    pub eresume: u64,
    pub eexit: u64,
    pub aex: u64,
    /// Other leaves of ENCLU.
    pub inside: u64,
    /// Instructions and entries that faulted.
    pub faults: u64,
}

impl Counts {
    /// Counts a leaf function of ENCLU.
    pub fn leaf(&mut self, leaf: Leaf) {
        *match leaf {
            Leaf::Eenter => &mut self.eenter,
            Leaf::Eresume => &mut self.eresume,
            Leaf::Eexit => &mut self.eexit,
            _ => &mut self.inside,
        } += 1;
    }

    fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("ECREATE", self.ecreate),
            ("EADD", self.eadd),
            ("EEXTEND", self.eextend),
            ("EINIT", self.einit),
            ("EENTER", self.eenter),
            ("ERESUME", self.eresume),
            ("EEXIT", self.eexit),
            ("AEX", self.aex),
            ("other", self.inside),
            ("faults", self.faults),
        ]
    }
}

/// The log, if one is kept.
#[derive(Default)]
pub struct Journal {
    log: Option<BufWriter<File>>,
}

impl Journal {
    /// A journal with a log at `path`, if one is wanted.
    pub fn new(path: Option<&Path>) -> io::Result<Journal> {
        let log = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Journal { log })
    }

    /// Writes a line; what cannot be written is not worth ending the program for.
    pub fn note(&mut self, line: impl FnOnce() -> Value) {
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{}", line());
        }
    }

    /// Writes a line about a request and its outcome.
    pub fn outcome<T>(&mut self, tid: i32, event: &str, what: Value, result: &refusal::Result<T>) {
        self.note(|| {
            let mut line = json!({ "event": event, "tid": tid, "what": what });
            if let Err(refusal) = result {
                line["errno"] = json!(refusal.errno);
                line["rule"] = json!(refusal.rule);
            }
            line
        });
    }

    /// Ends the log with the counts; returns them as text.
    pub fn finish(&mut self, counts: &Counts) -> String {
        let named = counts.named();
        self.note(|| {
            let counts: serde_json::Map<_, _> = named
                .iter()
                .map(|&(name, count)| (name.to_owned(), json!(count)))
                .collect();
            json!({ "event": "end", "counts": counts })
        });
        if let Some(log) = &mut self.log {
            let _ = log.flush();
        }
        let words: Vec<_> = named
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        words.join(" ")
    }
}
