//! A launcher that lies (cargo feature `hostile`): built by the tests only, never part of a package that is shipped.
//!
//! It loads, measures and enters a package as the launcher does, and what it serves is served by the same code; but
//! between serving and entering again it changes the reply, as the settings in `MYST_HOSTILE` say. What it must not do is
//! only what a processor would not let it do (write to the enclave), and what nobody can survive (let a thread sleep for
//! ever).
//!
//! * [`settings`]: what `MYST_HOSTILE` holds (`seed=1,rate=128,…`).
//! * [`report`]: counts, in a file that outlives the process; whether measured memory is as it was.
//! * [`reply`]: which replies are changed, and how.
//! * [`clock`]: times that leap.
//! * [`race`]: a thread that writes to a host area while the kernel reads it.
//! * [`visitors`]: threads that nobody asked for, and interrupts for no reason.
//! * [`beginning`]: start-up blocks and host areas that are none.
//! * [`random`]: numbers, and those that hurt.

pub mod beginning;
pub mod clock;
pub mod race;
pub mod random;
pub mod reply;
pub mod report;
pub mod settings;
pub mod visitors;

use core::sync::atomic::{AtomicBool, AtomicU64};

use crate::arguments::Process;
use crate::memory::Memory;
use crate::package::Package;
use crate::threads::Seat;
use crate::Result;

pub use beginning::{new_area, shown_area};
pub use report::compare as ends;
pub use visitors::{comes_again, is_visited, tells_again, tells_nothing, told_vector};

/// What it keeps for each thread.
#[derive(Default)]
pub struct OfThread {
    /// Its slot has been entered, and nobody asked for that.
    visitor: AtomicBool,
    /// State of its random numbers, 0 before their first use.
    random: AtomicU64,
}

/// How long to wait at a time for the end of a slot's last thread (nanoseconds).
pub const WAIT_FOR_END: Option<u64> = Some(100_000);

/// Reads the settings and prepares; gives the address of the start-up block, or of what takes its place.
pub fn begin(
    process: &Process,
    package: &Package<'_>,
    file: &'static [u8],
    memory: Memory,
    start: u64,
) -> Result<u64> {
    settings::init(process.variable(b"MYST_HOSTILE").unwrap_or(b""))?;
    report::init(settings::get().report)?;
    report::note_measured(package, file, memory);
    race::init()?;
    Ok(beginning::block(start, memory))
}

/// Serves a host call, more or less.
pub fn serve(seat: &Seat) {
    reply::serve(seat.enclave, seat.slot, seat.area);
}
