//! The freestanding image: allocator, panic handler.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;

use mystikos_abi::hostcall::exit;
// Linked for its symbols: memory functions, relocation.
use mystikos_freestanding as _;
use spin::Once;
use talc::{ErrOnOom, Span, Talc};

use crate::sync::Mutex;
use crate::{enclave, entry, host};

struct Heap(Mutex<Talc<ErrOnOom>>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Talc::new(ErrOnOom)));

pub(crate) static GROW: Once<fn(usize) -> bool> = Once::new();

// SAFETY: talc's allocator under a lock; growing happens with the lock released and is retried once.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        for attempt in 0..2 {
            // SAFETY: the layout has a nonzero size, by GlobalAlloc's contract.
            if let Ok(block) = unsafe { self.0.lock().malloc(layout) } {
                return block.as_ptr();
            }
            let wanted = layout.size().saturating_add(layout.align());
            if attempt == 0 && !GROW.get().is_some_and(|grow| grow(wanted)) {
                break;
            }
        }
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = core::ptr::NonNull::new(block) else {
            return;
        };
        // SAFETY: the block was allocated here with this layout, by GlobalAlloc's contract.
        unsafe { self.0.lock().free(block, layout) }
    }
}

pub(crate) fn claim(pages: Range<u64>) {
    let size = (pages.end - pages.start) as usize;
    // SAFETY: the caller gives these pages to the heap for good.
    let claimed = unsafe { self_heap().claim(Span::from_base_size(pages.start as *mut u8, size)) };
    assert!(claimed.is_ok(), "heap pages are too few to be used");
}

fn self_heap() -> crate::sync::MutexGuard<'static, Talc<ErrOnOom>> {
    HEAP.0.lock()
}

pub(crate) fn usage() -> (usize, usize) {
    let heap = self_heap();
    let counters = heap.get_counters();
    (counters.allocated_bytes, counters.available_bytes)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    enclave::stop();
    let size = host::write_panic(format_args!("{info}"));
    entry::leave_for_good(exit::PANIC, size, 0)
}
