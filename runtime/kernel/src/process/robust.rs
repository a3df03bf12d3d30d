//! Robust futexes: locks of a thread that ends are marked, and one waiter of each is woken (get_robust_list(2)).

use linux_raw_sys::general as raw;
use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use core::sync::atomic::Ordering;

use super::{futex, Thread};
use crate::Result;

/// `struct robust_list_head`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Head {
    next: u64,
    futex_offset: i64,
    pending: u64,
}

/// Bytes of a head, which set_robust_list(2) must name.
pub const HEAD_SIZE: u64 = size_of::<Head>() as u64;

/// Most locks that are looked at: the list is the application's, and may be a circle.
const LIMIT: usize = raw::ROBUST_LIST_LIMIT as usize;

/// Bit of a list entry's address: the lock is one of FUTEX_LOCK_PI.
const PI: u64 = 1;

/// Marks and wakes all locks that the thread holds.
pub fn release_all(thread: &Thread) {
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        // A list that cannot be read ends where it cannot, as on Linux.
        let _ = walk(thread, head);
    }
}

fn walk(thread: &Thread, address: u64) -> Result<()> {
    let head: Head = user::read(address)?;
    let word = |entry: u64| (entry & !PI).wrapping_add_signed(head.futex_offset);
    let mut entry = head.next;
    for _ in 0..LIMIT {
        if entry & !PI == address {
            break;
        }
        // Read before the lock is released: its owner may then free it.
        let next = user::read::<u64>(entry & !PI);
        if entry != head.pending {
            release(thread, word(entry), entry & PI != 0, false)?;
        }
        entry = next?;
    }
    match head.pending & !PI {
        0 => Ok(()),
        _ => release(thread, word(head.pending), head.pending & PI != 0, true),
    }
}

/// Marks one lock, if the thread holds it, and wakes a waiter.
fn release(thread: &Thread, address: u64, pi: bool, pending: bool) -> Result<()> {
    let value = user::load_u32(address)?;
    let owner = value & raw::FUTEX_TID_MASK;
    // Being unlocked when the thread ended: the word is free, but the waiters were not woken any more.
    if pending && !pi && owner == 0 {
        futex::wake(address, 1, futex::ANY);
        return Ok(());
    }
    if owner != thread.tid {
        return Ok(());
    }
    if pi {
        return futex::hand_on(address, raw::FUTEX_OWNER_DIED);
    }
    let mut value = value;
    loop {
        let new = value & raw::FUTEX_WAITERS | raw::FUTEX_OWNER_DIED;
        match user::compare_exchange_u32(address, value, new)? {
            before if before == value => break,
            before if before & raw::FUTEX_TID_MASK != thread.tid => return Ok(()),
            before => value = before,
        }
    }
    if value & raw::FUTEX_WAITERS != 0 {
        futex::wake(address, 1, futex::ANY);
    }
    Ok(())
}
