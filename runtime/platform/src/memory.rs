//! Where everything lies: the parameter page made absolute, measured bytes, the kernel heap.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mystikos_abi::package::{Parameters, Span, FLAG_DEBUG, FORMAT_VERSION, PARAMETERS_MAGIC};
use spin::Once;
use zerocopy::FromBytes;

use crate::sync::Mutex;

/// The enclave's memory map in absolute addresses.
pub struct Layout {
    /// Enclave base.
    pub base: u64,
    /// Enclave size.
    pub size: u64,
    /// The parameter page.
    pub parameters: Parameters,
    /// First thread block.
    pub blocks: usize,
    /// Bytes from block to block.
    pub block_stride: usize,
    /// Number of blocks.
    pub block_count: usize,
    /// Offset of the control page in a block.
    pub block_thread: usize,
    /// User memory.
    pub user: Range<u64>,
    /// Image window of an ET_EXEC application (empty when there is none).
    pub window: Range<u64>,
    kernel: Range<u64>,
}

static LAYOUT: Once<Layout> = Once::new();

/// The memory map; panics before [`init`].
pub fn layout() -> &'static Layout {
    LAYOUT.get().expect("memory map used before it is known")
}

/// Learns the memory map from the measured parameter page, whose address FS base holds at the first entry.
///
/// Panics when the page is not one: it is measured, so that is a defect of the packager.
pub fn init() -> &'static Layout {
    let config: u64;
    // SAFETY: reading FS base; at this point it is the TCS's OFSBASE plus the base.
    unsafe {
        core::arch::asm!("rdfsbase {}", out(reg) config, options(nomem, nostack, preserves_flags));
    }
    // SAFETY: OFSBASE is the measured offset of the config region, whose first page is the parameter page.
    let bytes = unsafe { core::slice::from_raw_parts(config as *const u8, 4096) };
    let (parameters, _) = Parameters::read_from_prefix(bytes).expect("a page holds the parameters");
    assert!(
        parameters.magic == PARAMETERS_MAGIC && parameters.version == FORMAT_VERSION,
        "the parameter page is not one"
    );
    init_from(config - parameters.config.offset, parameters)
}

/// As [`init`], from a parameter page and base in hand (hosted tests use it directly).
pub fn init_from(base: u64, parameters: Parameters) -> &'static Layout {
    let range = |span: Span| base + span.offset..base + span.offset + span.size;
    LAYOUT.call_once(|| Layout {
        base,
        size: parameters.enclave_size,
        blocks: (base + parameters.blocks) as usize,
        block_stride: parameters.block_stride as usize,
        block_count: parameters.block_count as usize,
        block_thread: parameters.block_thread as usize,
        user: range(parameters.user),
        window: range(parameters.window),
        kernel: range(parameters.kernel),
        parameters,
    })
}

impl Layout {
    /// The enclave may be debugged.
    pub fn debug(&self) -> bool {
        self.parameters.flags & FLAG_DEBUG != 0
    }

    /// What goes on inside may be told outside: to who can see it anyway, in a plain process and in an enclave that may be
    /// debugged.
    fn may_tell(&self, in_enclave: bool) -> bool {
        !in_enclave || self.debug()
    }

    fn bytes(&self, span: Span) -> &'static [u8] {
        // SAFETY: the spans used here are measured read-only regions, present for the life of the enclave.
        unsafe {
            core::slice::from_raw_parts((self.base + span.offset) as *const u8, span.size as usize)
        }
    }

    /// Canonical config record (CBOR).
    pub fn config_record(&self) -> &'static [u8] {
        let config = self.bytes(self.parameters.config);
        let record = self.parameters.record;
        &config[record.offset as usize..(record.offset + record.size) as usize]
    }

    /// Root file system image.
    pub fn rootfs(&self) -> &'static [u8] {
        self.bytes(self.parameters.rootfs)
    }

    /// Syscall binding table.
    pub fn bindings(&self) -> &'static [u8] {
        self.bytes(self.parameters.bindings)
    }

    /// CRT image.
    pub fn crt(&self) -> &'static [u8] {
        self.bytes(self.parameters.crt)
    }

    /// Address of the CRT image.
    pub fn crt_address(&self) -> u64 {
        self.base + self.parameters.crt.offset
    }
}

/// [`Layout::may_tell`]; as long as the memory map is not known, nothing may be told.
pub(crate) fn may_tell() -> bool {
    LAYOUT
        .get()
        .is_some_and(|layout| layout.may_tell(crate::enclave::in_enclave()))
}

/// The whole range lies in memory that the application may own: user memory or the image window.
pub fn is_user(address: u64, size: usize) -> bool {
    let Some(layout) = LAYOUT.get() else {
        return false;
    };
    let Some(end) = address.checked_add(size as u64) else {
        return false;
    };
    let inside = (address >= layout.user.start && end <= layout.user.end)
        || (address >= layout.window.start && end <= layout.window.end);
    inside && !CLAIMED.touches(address, end)
}

/// Runs of user memory that became kernel heap. The application may not name them: a system call would write its
/// result into the kernel's own data.
static CLAIMED: Claimed = Claimed {
    writer: Mutex::new(()),
    count: AtomicUsize::new(0),
    runs: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; CLAIMS_MAX],
};

/// The heap grows by larger steps the larger it is, so there are few; neighbours are joined.
const CLAIMS_MAX: usize = 256;

struct Claimed {
    writer: Mutex<()>,
    count: AtomicUsize,
    runs: [(AtomicU64, AtomicU64); CLAIMS_MAX],
}

impl Claimed {
    fn touches(&self, start: u64, end: u64) -> bool {
        let count = self.count.load(Ordering::Acquire);
        self.runs[..count].iter().any(|(from, to)| {
            start < to.load(Ordering::Relaxed) && end > from.load(Ordering::Relaxed)
        })
    }

    /// False when there is no room to note the run. Runs only ever grow, so readers need no lock.
    #[cfg_attr(not(any(feature = "image", test)), allow(dead_code))]
    fn note(&self, run: &Range<u64>) -> bool {
        let _writer = self.writer.lock();
        let count = self.count.load(Ordering::Relaxed);
        for (from, to) in &self.runs[..count] {
            if to.load(Ordering::Relaxed) == run.start {
                to.store(run.end, Ordering::Release);
                return true;
            }
            if from.load(Ordering::Relaxed) == run.end {
                from.store(run.start, Ordering::Release);
                return true;
            }
        }
        let Some((from, to)) = self.runs.get(count) else {
            return false;
        };
        from.store(run.start, Ordering::Relaxed);
        to.store(run.end, Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Release);
        true
    }
}

/// The range lies wholly outside the enclave; nothing does before [`init`].
pub fn is_outside(address: u64, size: u64) -> bool {
    LAYOUT
        .get()
        .is_some_and(|layout| is_apart(address, size, layout.base, layout.size))
}

/// Where the addresses end that Linux gives to a process that asks for no higher ones. What lies above is the host
/// kernel's, or not an address at all.
const PROCESS_END: u64 = 1 << 47;

/// The range has no byte in the enclave, and lies where a process has memory.
fn is_apart(address: u64, size: u64, base: u64, enclave_size: u64) -> bool {
    match (address.checked_add(size), base.checked_add(enclave_size)) {
        (Some(end), Some(enclave_end)) => {
            end <= PROCESS_END && (end <= base || address >= enclave_end)
        }
        _ => false,
    }
}

/// The address lies in the kernel's own image. As long as the memory map is not known, nothing else has run.
#[cfg(feature = "image")]
pub(crate) fn in_kernel_image(address: u64) -> bool {
    LAYOUT.get().is_none_or(|l| l.kernel.contains(&address))
}

impl Layout {
    /// The kernel's own image.
    pub fn kernel(&self) -> Range<u64> {
        self.kernel.clone()
    }
}

/// Gives a run of pages to the kernel heap for good; the application cannot name them any more ([`is_user`]). False, and
/// nothing happens, when there are too many runs already.
///
/// The pages must be the caller's: mapped readable and writable, and never given to the application afterwards.
#[cfg(feature = "image")]
pub fn claim_heap(pages: Range<u64>) -> bool {
    let noted = CLAIMED.note(&pages);
    if noted {
        crate::image::claim(pages);
    }
    noted
}

/// Bytes allocated in the kernel heap, and bytes available without growing.
#[cfg(feature = "image")]
pub fn heap_usage() -> (usize, usize) {
    crate::image::usage()
}

/// Sets what the heap does when it is full: the function is asked for at least `size` bytes of pages and claims them
/// with [`claim_heap`]; it returns whether it could.
#[cfg(feature = "image")]
pub fn set_heap_growth(grow: fn(size: usize) -> bool) {
    crate::image::GROW.call_once(|| grow);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_the_enclave_or_wraps_around_is_not_outside() {
        let apart = |address, size| is_apart(address, size, 0x10000, 0x10000);
        assert!(apart(0, 0x10000) && apart(0x20000, 8) && apart(0xfff8, 8));
        assert!(!apart(0, 0x10001) && !apart(0xffff, 2) && !apart(0x1ffff, 1));
        assert!(!apart(0x18000, 0x100) && !apart(0x8000, 0x18000));
        assert!(!apart(0x8000, u64::MAX) && !apart(u64::MAX - 7, 16));
        assert!(!apart(u64::MAX, 1), "an end that cannot be told");
        assert!(apart((1 << 47) - 8, 8) && !apart((1 << 47) - 8, 9));
        assert!(!apart(1 << 63, 8) && !apart(0xffff_8000_0000_0000, 8));
        // Based at 0, everything below its end belongs to the enclave.
        assert!(!is_apart(0x1000, 8, 0, 0x10000) && is_apart(0x10000, 8, 0, 0x10000));
    }

    #[test]
    fn claimed_runs_are_touched_at_every_edge_and_nowhere_else() {
        let claimed = Claimed {
            writer: Mutex::new(()),
            count: AtomicUsize::new(0),
            runs: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; CLAIMS_MAX],
        };
        assert!(!claimed.touches(0, u64::MAX));
        assert!(claimed.note(&(0x3000..0x4000)));
        assert!(claimed.note(&(0x8000..0x9000)));
        assert!(claimed.touches(0x3fff, 0x4000) && claimed.touches(0x2fff, 0x3001));
        assert!(!claimed.touches(0x2000, 0x3000) && !claimed.touches(0x4000, 0x8000));
        assert!(claimed.touches(0x1000, 0xa000));
    }

    #[test]
    fn neighbours_are_joined_and_too_many_runs_are_refused() {
        let claimed = Claimed {
            writer: Mutex::new(()),
            count: AtomicUsize::new(0),
            runs: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; CLAIMS_MAX],
        };
        assert!(claimed.note(&(0x3000..0x4000)));
        assert!(claimed.note(&(0x4000..0x5000)));
        assert!(claimed.note(&(0x2000..0x3000)));
        assert_eq!(claimed.count.load(Ordering::Relaxed), 1);
        for run in 1..CLAIMS_MAX as u64 {
            assert!(claimed.note(&(run << 20..(run << 20) + 0x1000)));
        }
        assert!(!claimed.note(&(1 << 40..(1 << 40) + 0x1000)));
    }
}
