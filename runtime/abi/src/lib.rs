//! What the packager (Python), the launcher and the kernel agree on: formats, offsets, host calls.
//!
//! No code with an opinion lives here, and nothing unsafe. `docs/reference/package-format.md` is the prose;
//! `examples/emit_python.rs` prints the same constants as `src/mystikos/_abi.py`, and a test compares them.
//!
//! * [`package`]: the descriptor, region records, parameter page and binding table.
//! * [`block`]: the parts of a per-thread block, and the words of its control page that application code uses.
//! * [`hostcall`]: the numbered calls by which the kernel asks the host for something, and the start-up block.
//! * [`sgx`]: the processor's structures (SDM volume 3D).

#![no_std]
#![forbid(unsafe_code)]

pub mod block;
pub mod hostcall;
pub mod package;
pub mod sgx;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;
