//! Prints `src/mystikos/_syscalls.json`: `cargo run -p mystikos-kernel --example emit_syscalls`.

use mystikos_kernel::syscall::table::{Entry, Support, FAMILIES};

fn support(entry: &Entry) -> &'static str {
    match entry.support {
        Support::Full => "full",
        Support::Partial => "partial",
        Support::Accepted => "accepted",
        Support::Refused => "refused",
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    assert!(
        !escaped.contains(char::is_control),
        "a note is one line: {text}"
    );
    format!("\"{escaped}\"")
}

fn main() {
    let mut entries: Vec<&Entry> = FAMILIES.iter().copied().flatten().collect();
    entries.sort_by_key(|entry| entry.number);
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| {
            format!(
                "  {{\"number\": {}, \"name\": {}, \"support\": {}, \"note\": {}}}",
                entry.number,
                quoted(entry.name),
                quoted(support(entry)),
                quoted(entry.note)
            )
        })
        .collect();
    println!("[\n{}\n]", lines.join(",\n"));
}
