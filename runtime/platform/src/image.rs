//! The freestanding image: memory functions, allocator, panic handler.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::global_asm;
use core::ops::Range;

use mystikos_abi::hostcall::exit;
use spin::Once;
use talc::{ErrOnOom, Span, Talc};

use crate::sync::Mutex;
use crate::{entry, host};

// The C memory functions that compiled Rust calls. `rep movsb` is fast on every processor with SGX (ERMS).
global_asm!(
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".type memcpy, @function",
    ".type memmove, @function",
    ".type memset, @function",
    ".type memcmp, @function",
    ".type bcmp, @function",
    ".type strlen, @function",
    ".balign 16",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".balign 16",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 1f",
    "rep movsb",
    "ret",
    "1: lea rdi, [rdi + rcx - 1]",
    "lea rsi, [rsi + rcx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".balign 16",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".balign 16",
    "memcmp:",
    "bcmp:",
    "xor ecx, ecx",
    "1: cmp rcx, rdx",
    "je 2f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "jz 1b",
    "ret",
    "2: xor eax, eax",
    "ret",
    ".balign 16",
    "strlen:",
    "xor eax, eax",
    "1: cmp byte ptr [rdi + rax], 0",
    "je 2f",
    "inc rax",
    "jmp 1b",
    "2: ret",
);

// Parts of `alloc` come compiled for unwinding and name these. A panic ends the kernel at once, so nothing unwinds.
global_asm!(
    ".globl _Unwind_Resume, rust_eh_personality",
    ".type _Unwind_Resume, @function",
    ".type rust_eh_personality, @function",
    "_Unwind_Resume:",
    "rust_eh_personality:",
    "ud2",
);

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
    let size = host::write_panic(format_args!("{info}"));
    entry::leave_for_good(exit::PANIC, size, 0)
}
