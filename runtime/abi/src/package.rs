//! Formats inside a package file. See `docs/reference/package-format.md`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the descriptor, of the parameter page and of the binding table.
pub const FORMAT_VERSION: u32 = 1;

/// Names of the sections, in the order that [`RegionRecord::section`] counts them.
pub const SECTIONS: [&str; 8] = [
    ".libmystkernel",
    ".libmystcrt",
    ".mystconfig",
    ".mystbind",
    ".mystpubkeys",
    ".mystroothashes",
    ".mystrootfs",
    ".mystenc",
];

/// Index of `.mystenc` in [`SECTIONS`].
pub const SECTION_DESCRIPTOR: usize = 7;

/// `MYSTENCL`, first bytes of the descriptor.
pub const DESCRIPTOR_MAGIC: [u8; 8] = *b"MYSTENCL";
/// `MYSTCONF`, first bytes of the parameter page.
pub const PARAMETERS_MAGIC: [u8; 8] = *b"MYSTCONF";
/// `MYSTBIND`, first bytes of the binding table.
pub const BINDINGS_MAGIC: [u8; 8] = *b"MYSTBIND";

/// Flag of the descriptor and of the parameter page: the enclave base is 0.
pub const FLAG_ZERO_BASED: u32 = 1;
/// Flag of the parameter page: the enclave may be debugged.
pub const FLAG_DEBUG: u32 = 2;

/// Region holds zero pages.
pub const SOURCE_ZERO: u32 = 0;
/// Region holds bytes of a section.
pub const SOURCE_SECTION: u32 = 1;
/// Region is one TCS page made from the record's own fields.
pub const SOURCE_TCS: u32 = 2;

/// Region flag: its pages are extended into the measurement (EEXTEND).
pub const REGION_MEASURED: u32 = 1;

/// What a region is for.
pub mod kind {
    /// A segment of the kernel.
    pub const KERNEL: u32 = 1;
    /// The CRT image (vDSO).
    pub const CRT: u32 = 2;
    /// Parameter page, canonical record, JSON.
    pub const CONFIG: u32 = 3;
    /// Syscall binding table.
    pub const BINDINGS: u32 = 4;
    /// Trusted disk public keys.
    pub const PUBKEYS: u32 = 5;
    /// Trusted disk root hashes.
    pub const ROOTHASHES: u32 = 6;
    /// Root file system image.
    pub const ROOTFS: u32 = 7;
    /// Thread control structure.
    pub const TCS: u32 = 8;
    /// State save area frames.
    pub const SSA: u32 = 9;
    /// Control page and exception stack of a thread.
    pub const THREAD: u32 = 10;
    /// Kernel stack of a thread.
    pub const STACK: u32 = 11;
    /// Kernel heap.
    pub const HEAP: u32 = 12;
    /// User memory.
    pub const USER: u32 = 13;
    /// User memory at the linked address of an ET_EXEC application.
    pub const EXEC_WINDOW: u32 = 14;
}

/// Header of `.mystenc`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DescriptorHeader {
    /// [`DESCRIPTOR_MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// [`FLAG_ZERO_BASED`].
    pub flags: u32,
    /// Bytes of the whole descriptor.
    pub size: u64,
    /// SECS.SIZE, bytes.
    pub enclave_size: u64,
    /// SECS.SSAFRAMESIZE, pages.
    pub ssa_frame_size: u32,
    /// SECS.MISCSELECT.
    pub miscselect: u32,
    /// SECS.ATTRIBUTES.FLAGS.
    pub attributes: u64,
    /// SECS.ATTRIBUTES.XFRM.
    pub xfrm: u64,
    /// Offset of the first region record.
    pub regions_offset: u64,
    /// Number of region records.
    pub region_count: u32,
    /// Bytes of one record.
    pub region_size: u32,
    /// Offset of SIGSTRUCT.
    pub sigstruct_offset: u64,
    /// Bytes of SIGSTRUCT.
    pub sigstruct_size: u64,
    /// Zero.
    pub reserved: [u8; 8],
    /// SHA-256 of the descriptor with this field zero.
    pub checksum: [u8; 32],
}

/// One run of enclave pages that are added alike.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RegionRecord {
    /// Offset from the enclave base.
    pub offset: u64,
    /// Pages.
    pub page_count: u64,
    /// SECINFO.FLAGS.
    pub secinfo: u64,
    /// One of [`kind`].
    pub kind: u32,
    /// [`REGION_MEASURED`].
    pub flags: u32,
    /// [`SOURCE_ZERO`], [`SOURCE_SECTION`] or [`SOURCE_TCS`].
    pub source: u32,
    /// Index into [`SECTIONS`].
    pub section: u32,
    /// Offset in the section, a multiple of the page size.
    pub source_offset: u64,
    /// Content bytes; the last page is filled up with zeros.
    pub source_size: u64,
    /// TCS.OSSA.
    pub ossa: u64,
    /// TCS.OENTRY.
    pub oentry: u64,
    /// TCS.OFSBASE.
    pub ofsbase: u64,
    /// TCS.OGSBASE.
    pub ogsbase: u64,
    /// TCS.NSSA.
    pub nssa: u32,
    /// Zero.
    pub reserved: u32,
    /// What MRENCLAVE would be if the enclave ended after this region: for diagnosis only.
    pub digest: [u8; 32],
}

/// A run of bytes in the enclave: offset from its base, and size.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Span {
    /// Offset from the enclave base.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// The measured page from which the kernel learns where everything is (start of `.mystconfig`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Parameters {
    /// [`PARAMETERS_MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// [`FLAG_ZERO_BASED`], [`FLAG_DEBUG`].
    pub flags: u32,
    /// Canonical record, relative to the start of the section.
    pub record: Span,
    /// JSON as given, relative to the start of the section.
    pub json: Span,
    /// SECS.SIZE.
    pub enclave_size: u64,
    /// Kernel image in memory.
    pub kernel: Span,
    /// CRT image.
    pub crt: Span,
    /// This section.
    pub config: Span,
    /// Binding table.
    pub bindings: Span,
    /// Public keys.
    pub pubkeys: Span,
    /// Root hashes.
    pub roothashes: Span,
    /// Root file system image.
    pub rootfs: Span,
    /// Offset of the first thread block.
    pub blocks: u64,
    /// Bytes from one block to the next.
    pub block_stride: u64,
    /// Number of blocks.
    pub block_count: u64,
    /// Offset of the SSA in a block.
    pub block_ssa: u64,
    /// Offset of the thread area in a block.
    pub block_thread: u64,
    /// Kernel stack in a block (offset within the block).
    pub block_stack: Span,
    /// TCS.NSSA.
    pub nssa: u32,
    /// SSAFRAMESIZE, pages.
    pub ssa_frame_size: u32,
    /// Kernel heap.
    pub heap: Span,
    /// User memory.
    pub user: Span,
    /// Image window of an ET_EXEC application; size 0 when there is none.
    pub window: Span,
}

/// Header of `.mystbind`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BindingsHeader {
    /// [`BINDINGS_MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// Number of file records.
    pub file_count: u32,
    /// Number of site records.
    pub site_count: u64,
    /// Offset of the file records.
    pub files_offset: u64,
    /// Offset of the site records.
    pub sites_offset: u64,
    /// Zero.
    pub reserved: [u8; 24],
}

/// A file that has bound sites, named by where its data lies in the root file system image.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BoundFile {
    /// Offset of the data in the image.
    pub data_offset: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Index of its first site.
    pub first_site: u64,
    /// Number of its sites.
    pub site_count: u64,
}

/// A `syscall` instruction that is replaced when its page is mapped for execution.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BoundSite {
    /// Where in the file the 5-byte jump is written.
    pub patch_offset: u32,
    /// Execution continues this many bytes after the patch offset.
    pub return_delta: u8,
    /// Displaced bytes before the `syscall`.
    pub before: u8,
    /// Displaced bytes after it.
    pub after: u8,
    /// Zero.
    pub reserved: u8,
    /// Displaced bytes before, then those after, then zeros.
    pub code: [u8; 24],
}

const _: () = assert!(core::mem::size_of::<DescriptorHeader>() == 128);
const _: () = assert!(core::mem::size_of::<RegionRecord>() == 128);
const _: () = assert!(core::mem::size_of::<Parameters>() == 280);
const _: () = assert!(core::mem::size_of::<BindingsHeader>() == 64);
const _: () = assert!(core::mem::size_of::<BoundFile>() == 32);
const _: () = assert!(core::mem::size_of::<BoundSite>() == 32);

/// What the packager plans with and the kernel and launcher take as they find it.
pub mod plan {
    /// Smallest SECS.SIZE.
    pub const MIN_ENCLAVE_SIZE: u64 = 2 << 20;
    /// Where the memory map of a zero-based enclave starts unless EnclaveStartAddress says otherwise.
    pub const DEFAULT_START_ADDRESS: u64 = 0x10000;
    /// Kernel heap: this many bytes …
    pub const HEAP_BASE_SIZE: u64 = 4 << 20;
    /// … and this many for each entry of the root file system.
    pub const HEAP_BYTES_PER_ENTRY: u64 = 512;
}
