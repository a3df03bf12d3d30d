//! The address space: what is mapped where, and the pages of user memory under it.
//!
//! User memory is one range of `MemorySize` bytes, and for a program that is not position independent also the window of
//! its linked addresses. From its lower end: the program, the break area growing upwards, free space, mappings placed
//! downwards from the top (the stack is the first of them), and at the very end a reserve that is the kernel's.
//! Places are shifted by a random distance, small against the size of user memory.
//!
//! * [`vma`]: mappings as an ordered map, and its algebra.
//! * [`space`]: mappings and pages changed together.
//! * [`pages`]: what can be done to pages.
//! * [`mapping`]: mmap(2) and what follows from it: files, binding, shared windows.
//! * [`remap`]: moving and resizing, mremap(2).
//! * [`shared`]: shared mappings of files, coherent with read(2) and write(2).
//! * [`fault`]: what was wrong with an access that faulted.
//! * [`lock`]: the lock, and how the kernel's heap grows.

pub mod fault;
pub mod lock;
pub mod mapping;
#[cfg(test)]
mod model;
pub mod pages;
pub mod remap;
pub mod shared;
pub mod space;
pub mod vma;

use alloc::vec::Vec;

use mystikos_platform::memory::{self, Layout};
use mystikos_platform::random;

pub use lock::is_low;
pub use mapping::Request;
pub use space::{page_down, page_up, Place, PAGE};
pub use vma::{Kind, Prot};

use crate::config::config;
use crate::Result;
use vma::State;

/// Takes over user memory. `zero_pages`: fresh pages are zero and the host can make them so again.
pub fn init(layout: &'static Layout, zero_pages: bool) {
    let size = layout.user.end - layout.user.start;
    lock::init(layout, zero_pages, random_distance(size));
}

/// A random number of pages (in bytes), at most 1/64 of user memory and 16 MiB: enough that addresses differ from run to
/// run, and little enough that the room for one large mapping hardly does.
pub fn random_distance(size: u64) -> u64 {
    let mut bytes = [0; 8];
    random::fill(&mut bytes);
    let most = (size / 64).min(16 << 20) / PAGE;
    match most {
        0 => 0,
        most => u64::from_ne_bytes(bytes) % most * PAGE,
    }
}

/// Private anonymous memory of at least `size` bytes, anywhere.
pub fn map_anonymous(size: u64, prot: Prot) -> Result<u64> {
    let size = page_up(size).ok_or(crate::Errno::ENOMEM)?;
    mapping::map(Request::anonymous(Place::Hint(0), size.max(PAGE), prot))
}

/// The main thread's stack: `MainStackSize` bytes with an inaccessible page below. Returns the address after its end.
pub fn stack_for_main(executable: bool) -> Result<u64> {
    let size = page_up(config().main_stack_size).ok_or(crate::Errno::ENOMEM)?;
    let size = size.max(16 * PAGE);
    let whole = mapping::map(Request::anonymous(
        Place::Hint(0),
        size + PAGE,
        Prot::empty(),
    ))?;
    let mut prot = Prot::RW;
    prot.set(Prot::EXEC, executable);
    let mut stack = Request::anonymous(Place::Fixed(whole + PAGE), size, prot);
    stack.kind = Kind::Stack;
    mapping::map(stack)?;
    Ok(whole + PAGE + size)
}

/// One line of /proc/self/maps.
#[derive(Clone)]
pub struct MapsLine {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Permissions.
    pub prot: Prot,
    /// MAP_SHARED.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// The file, if there is one.
    pub file: Option<alloc::sync::Arc<crate::fs::file::OpenFile>>,
    /// `[heap]`, `[stack]` and the like; empty otherwise.
    pub name: &'static str,
}

/// The mappings that /proc/self/maps shows, in ascending order.
pub fn maps() -> Vec<MapsLine> {
    let mut lines: Vec<MapsLine> = Vec::new();
    for (start, vma) in lock::lock().vmas().iter() {
        let name = match vma.kind {
            Kind::Plain => "",
            Kind::Break => "[heap]",
            Kind::Stack => "[stack]",
            Kind::Stubs => "[stubs]",
            Kind::Kernel => continue,
        };
        lines.push(MapsLine {
            start,
            end: vma.end,
            prot: vma.prot,
            shared: vma.state.contains(State::SHARED),
            offset: vma.backing.as_ref().map_or(0, |b| b.offset),
            file: vma.backing.as_ref().map(|b| b.file.clone()),
            name,
        });
    }
    let layout = memory::layout();
    let size = layout.crt().len() as u64;
    let vdso = MapsLine {
        start: layout.crt_address(),
        end: layout.crt_address() + size.next_multiple_of(PAGE),
        prot: Prot::READ | Prot::EXEC,
        shared: false,
        offset: 0,
        file: None,
        name: "[vdso]",
    };
    let at = lines.partition_point(|line| line.start < vdso.start);
    lines.insert(at, vdso);
    lines
}

/// Sizes in bytes for /proc/self/statm, /proc/self/status and /proc/meminfo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All user memory, `MemorySize`.
    pub total: u64,
    /// Not mapped by anything.
    pub free: u64,
    /// Mapped by the application.
    pub mapped: u64,
    /// Of that, accessible (what counts as resident: the kernel does not learn which pages were touched).
    pub resident: u64,
    /// Of that, mappings of files and shared memory.
    pub shared: u64,
    /// Executable mappings.
    pub text: u64,
    /// Private writable mappings, heap and stack.
    pub data: u64,
    /// The main stack.
    pub stack: u64,
    /// Taken by the kernel's heap.
    pub kernel: u64,
    /// What the kernel's heap has left, and what it can still take.
    pub room: u64,
}

/// How user memory is used.
pub fn usage() -> Usage {
    let layout = memory::layout();
    let total = layout.user.end - layout.user.start;
    let mut usage = Usage {
        total,
        ..Usage::default()
    };
    let space = lock::lock();
    for (start, vma) in space.vmas().iter() {
        let size = vma.end - start;
        if vma.kind == Kind::Kernel {
            usage.kernel += size;
            continue;
        }
        usage.mapped += size;
        if vma.prot.is_empty() {
            continue;
        }
        usage.resident += size;
        if vma.backing.is_some() || vma.state.contains(State::SHARED) {
            usage.shared += size;
        }
        if vma.prot.contains(Prot::EXEC) {
            usage.text += size;
        } else if vma.prot.contains(Prot::WRITE) && !vma.state.contains(State::SHARED) {
            usage.data += size;
        }
        if vma.kind == Kind::Stack {
            usage.stack += size;
        }
    }
    usage.free = total.saturating_sub(usage.resident + usage.kernel);
    let user = space.user();
    let taken = usage.mapped + usage.kernel;
    usage.room = (user.end - user.start)
        .saturating_sub(taken)
        .saturating_add(lock::heap_left())
        .min(total);
    usage
}
