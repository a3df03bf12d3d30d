//! The kernel's only unsafe code. Everything above this crate is ordinary Rust.
//!
//! * [`entry`]: how the enclave is entered and left; the syscall gate; the way back to application code.
//! * [`enclave`]: what entering by EENTER and leaving by EEXIT take beyond that.
//! * [`exception`]: what happens to a thread that faulted or was interrupted.
//! * [`control`]: the per-thread control page, and the registers of the application kept in it.
//! * [`host`]: host calls. Replies are hostile and checked against the request.
//! * [`start`]: what the host tells at the first entry.
//! * [`clock`]: what can be checked of the host's time.
//! * [`enclu`]: reports and keys, which the processor makes.
//! * [`untrusted`]: memory outside of the enclave, accessed in whole words.
//! * [`user`]: pointers that come from the application; a bad one is EFAULT.
//! * [`memory`]: where everything lies, measured bytes, the kernel heap.
//! * [`fpu`]: extended state in signal frames.
//! * [`sync`]: locks that give the CPU away instead of spinning for long.
//! * [`random`]: random bytes from RDRAND.
//! * [`errno`]: error numbers.

#![no_std]
// Hosted unit tests of the kernel link this crate without the parts that only the image has.
#![cfg_attr(
    not(feature = "image"),
    allow(dead_code, unused_imports, unused_macros)
)]

extern crate alloc;

pub mod clock;
pub mod control;
pub mod enclave;
pub mod enclu;
pub mod entry;
pub mod errno;
pub mod exception;
pub mod fpu;
pub mod host;
#[cfg(feature = "image")]
mod image;
pub mod memory;
pub mod random;
pub mod start;
pub mod sync;
pub mod untrusted;
pub mod user;

pub use errno::Errno;

/// What the kernel above provides to this crate; named by [`kernel!`].
pub trait Kernel {
    /// First entry of the first thread: bring the kernel up and start the application in the caller's thread. Returns
    /// when the thread's user registers are ready.
    fn boot(start: start::Start);
    /// First entry of any later thread.
    fn thread();
    /// A system call: its arguments are in the thread's user registers.
    fn system_call();
    /// The application faulted or was interrupted.
    fn trap(trap: exception::Trap);
    /// Something is pending for this thread (see [`control::set_pending`]) on its way back to the application.
    fn work();
}

/// Names the type that is the kernel; used exactly once, by the kernel image.
#[macro_export]
macro_rules! kernel {
    ($kernel:ty) => {
        #[no_mangle]
        extern "C" fn myst_boot(start: u64) {
            let start = $crate::start::Start::copy_in(start);
            // Until here, FS base was the address of the parameter page; no application has one yet.
            $crate::control::set_fs_base(0);
            <$kernel as $crate::Kernel>::boot(start);
        }
        #[no_mangle]
        extern "C" fn myst_thread() {
            <$kernel as $crate::Kernel>::thread();
        }
        #[no_mangle]
        extern "C" fn myst_system_call() {
            <$kernel as $crate::Kernel>::system_call();
        }
        #[no_mangle]
        extern "C" fn myst_trap() {
            <$kernel as $crate::Kernel>::trap($crate::exception::take_trap());
        }
        #[no_mangle]
        extern "C" fn myst_work() {
            <$kernel as $crate::Kernel>::work();
        }
    };
}

/// Gives the heap region to the allocator. The host's zeros are not relied upon: the allocator writes before it reads.
fn boot_heap() {
    #[cfg(feature = "image")]
    {
        let layout = memory::layout();
        let heap = layout.parameters.heap;
        let start = layout.base + heap.offset;
        let claimed = memory::claim_heap(start..start + heap.size);
        assert!(claimed, "the first run of the heap finds room");
    }
}
