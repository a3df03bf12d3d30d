//! The one address space, its lock, and how the kernel's heap grows.
//!
//! The heap may have to grow inside any allocation, so also inside one that is made while the address space is locked.
//! That cannot deadlock:
//!
//! * whoever holds the lock of the address space waits for no other lock but the heap's, and the heap's is never held
//!   while waiting (growing happens with it released);
//! * a thread that needs to grow the heap while it holds the lock itself takes from the reserve, a range at the upper end
//!   of user memory that the application cannot map, by moving one atomic bound.
//!
//! The lock is taken with some heap to spare, so the reserve is touched only in the odd case. What else it is for: when
//! all of user memory is in use, the kernel still has memory to note what it must, and meanwhile refuses what can be
//! refused ([`is_low`]).

use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use mystikos_platform::sync::{Mutex, MutexGuard, Once};
use mystikos_platform::{control, memory};

use super::pages::{HostPages, Pages};
use super::space::{page_down, page_up, AddressSpace, PAGE};
use super::vma::{Kind, Prot};
use crate::{Errno, Result};

/// Address space of the application.
pub type Space = AddressSpace<HostPages>;

static SPACE: Once<Mutex<Space>> = Once::new();

// Slot of the thread that holds the lock, plus one.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

// What is left of the reserve.
static RESERVE_START: AtomicU64 = AtomicU64::new(0);
static RESERVE_END: AtomicU64 = AtomicU64::new(0);

// User memory had nothing left for the heap when it was last asked.
static LOW: AtomicBool = AtomicBool::new(false);

/// Least that the heap grows by.
const CHUNK: u64 = 1 << 20;
/// Least that the heap takes from the reserve.
const RESERVE_CHUNK: u64 = 64 << 10;
/// Heap that is to be at hand before the lock is taken.
const SPARE: u64 = 128 << 10;

/// The locked address space.
pub struct Locked(Option<MutexGuard<'static, Space>>);

impl Deref for Locked {
    type Target = Space;
    fn deref(&self) -> &Space {
        self.0.as_ref().expect("held until dropped")
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Space {
        self.0.as_mut().expect("held until dropped")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let graves = self.take_graves();
        HOLDER.store(0, Ordering::Relaxed);
        self.0 = None;
        drop(graves);
    }
}

fn take() -> Locked {
    let space = SPACE.get().expect("user memory used before it is set up");
    let guard = space.lock();
    HOLDER.store(control::slot() + 1, Ordering::Relaxed);
    Locked(Some(guard))
}

/// Locks the address space.
pub fn lock() -> Locked {
    if heap_left() < SPARE {
        // Not from the reserve, which is for when there is no other way.
        grow_from_user_memory(SPARE);
    }
    take()
}

/// Locks the address space for a call that adds mappings: ENOMEM when the kernel has no memory left to note them.
pub fn lock_to_add() -> Result<Locked> {
    let space = lock();
    match heap_left() < SPARE / 4 {
        true => Err(Errno::ENOMEM),
        false => Ok(space),
    }
}

/// The kernel's heap lives on its reserve, because the application has taken the rest: what can be refused is refused.
pub fn is_low() -> bool {
    LOW.load(Ordering::Relaxed) && is_low_still()
}

#[cold]
fn is_low_still() -> bool {
    let holds = HOLDER.load(Ordering::Relaxed) == control::slot() + 1;
    let low = heap_left() < SPARE && (holds || !grow_from_user_memory(SPARE));
    LOW.store(low, Ordering::Relaxed);
    low
}

/// Bytes that the kernel's heap has left.
pub fn heap_left() -> u64 {
    #[cfg(feature = "image")]
    let left = memory::heap_usage().1 as u64;
    #[cfg(not(feature = "image"))]
    let left = u64::MAX;
    left
}

/// Sets the address space up; the last part of user memory is kept back for the kernel.
pub fn init(layout: &'static memory::Layout, zero_pages: bool, gap: u64) -> Range<u64> {
    let user = layout.user.clone();
    let size = user.end - user.start;
    let reserve = page_down((size / 32).min(16 << 20));
    let end = user.end - reserve;
    RESERVE_START.store(end, Ordering::Relaxed);
    RESERVE_END.store(user.end, Ordering::Release);
    SPACE.call_once(|| {
        Mutex::new(AddressSpace::new(
            HostPages::new(zero_pages),
            user.start..end,
            layout.window.clone(),
            end - gap,
        ))
    });
    #[cfg(feature = "image")]
    memory::set_heap_growth(grow);
    user.start..end
}

/// Gives the heap at least `size` bytes more.
#[cfg_attr(not(feature = "image"), allow(dead_code))]
fn grow(size: usize) -> bool {
    // The heap's own bookkeeping needs a little of what it is given.
    let Some(size) = page_up((size as u64).saturating_add(PAGE)) else {
        return false;
    };
    if HOLDER.load(Ordering::Relaxed) == control::slot() + 1 {
        return grow_from_reserve(size);
    }
    if grow_from_user_memory(size) {
        return true;
    }
    LOW.store(true, Ordering::Relaxed);
    grow_from_reserve(size)
}

fn grow_from_user_memory(size: u64) -> bool {
    let mut space = take();
    // Larger steps as the heap grows, so that there are few of them; smaller ones when room is scarce.
    let generous = page_down(kernel_bytes(&space) / 4).clamp(CHUNK, 32 << 20);
    let user = space.user();
    for wanted in [size.max(generous), size.max(CHUNK), size] {
        let Some(start) = space.vmas().room(wanted, user.start, user.end) else {
            continue;
        };
        let range = start..start + wanted;
        if space.pages().protect(start, wanted, Prot::RW).is_err() {
            return false;
        }
        // The heap has the new pages before the mapping is noted, so noting it does not need to grow the heap.
        if !claim(range.clone()) {
            return false;
        }
        space.map_kernel(range, Prot::RW, Kind::Kernel);
        return true;
    }
    false
}

fn grow_from_reserve(size: u64) -> bool {
    let take_from = |start: u64, size: u64| {
        let rest = start.checked_add(size)?;
        (rest <= RESERVE_END.load(Ordering::Acquire)).then_some(rest)
    };
    for wanted in [size.max(RESERVE_CHUNK), size] {
        let taken = RESERVE_START.fetch_update(Ordering::AcqRel, Ordering::Acquire, |start| {
            take_from(start, wanted)
        });
        if let Ok(start) = taken {
            let given = mystikos_platform::host::protect(start, wanted, Prot::RW.effective());
            if given.is_err() {
                return false;
            }
            return claim(start..start + wanted);
        }
    }
    false
}

fn claim(range: Range<u64>) -> bool {
    #[cfg(feature = "image")]
    let claimed = are_writable(&range) && memory::claim_heap(range);
    #[cfg(not(feature = "image"))]
    let claimed = !range.is_empty();
    claimed
}

/// The host has given pages, and does not only say so: the kernel has no way on from a fault in its own heap.
#[cfg(feature = "image")]
fn are_writable(range: &Range<u64>) -> bool {
    let mut pages = range.clone().step_by(PAGE as usize);
    pages.all(|page| mystikos_platform::user::write(page, &0u64).is_ok())
}

/// Bytes of user memory that the kernel's heap has taken.
pub fn kernel_bytes(space: &Space) -> u64 {
    space
        .vmas()
        .iter()
        .filter(|(_, vma)| vma.kind == Kind::Kernel)
        .map(|(start, vma)| vma.end - start)
        .sum()
}
