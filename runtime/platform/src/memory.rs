//! Where everything lies: the parameter page made absolute, measured bytes, the kernel heap.

use core::ops::Range;

use mystikos_abi::package::{Parameters, Span, FLAG_DEBUG, FORMAT_VERSION, PARAMETERS_MAGIC};
use spin::Once;
use zerocopy::FromBytes;

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

/// The whole range lies in memory that the application may own: user memory or the image window.
pub fn is_user(address: u64, size: usize) -> bool {
    let Some(layout) = LAYOUT.get() else {
        return false;
    };
    let Some(end) = address.checked_add(size as u64) else {
        return false;
    };
    (address >= layout.user.start && end <= layout.user.end)
        || (address >= layout.window.start && end <= layout.window.end)
}

/// The range lies wholly outside the enclave.
pub fn is_outside(address: u64, size: u64) -> bool {
    let layout = layout();
    match address.checked_add(size) {
        Some(end) => end <= layout.base || address >= layout.base + layout.size,
        None => false,
    }
}

/// The address lies in the kernel's own image.
#[cfg(feature = "image")]
pub(crate) fn in_kernel_image(address: u64) -> bool {
    LAYOUT.get().is_some_and(|l| l.kernel.contains(&address))
}

impl Layout {
    /// The kernel's own image.
    pub fn kernel(&self) -> Range<u64> {
        self.kernel.clone()
    }
}

/// Gives a run of pages to the kernel heap for good. `zeroed` tells that they already are zero.
///
/// The pages must be the caller's: mapped readable and writable, and never given to the application afterwards.
#[cfg(feature = "image")]
pub fn claim_heap(pages: Range<u64>) {
    crate::image::claim(pages);
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
