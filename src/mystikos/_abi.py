"""Constants of the package format, generated from runtime/abi by `make abi`; do not edit."""

PAGE_SIZE = 4096

# The sections of a package, in file order; a region record's section index counts along this list.
SECTIONS = (
    ".libmystkernel",
    ".libmystcrt",
    ".mystconfig",
    ".mystbind",
    ".mystpubkeys",
    ".mystroothashes",
    ".mystrootfs",
    ".mystenc",
)

# Region kinds.
KIND_KERNEL = 1
KIND_CRT = 2
KIND_CONFIG = 3
KIND_BINDINGS = 4
KIND_PUBKEYS = 5
KIND_ROOTHASHES = 6
KIND_ROOTFS = 7
KIND_TCS = 8
KIND_SSA = 9
KIND_THREAD = 10
KIND_STACK = 11
KIND_HEAP = 12
KIND_USER = 13
KIND_EXEC_WINDOW = 14

# Where a region's bytes come from, and whether they are measured.
SOURCE_ZERO = 0
SOURCE_SECTION = 1
SOURCE_TCS = 2
REGION_MEASURED = 1

# SECINFO.FLAGS (SDM volume 3D, 35.11).
SECINFO_R = 0x1
SECINFO_W = 0x2
SECINFO_X = 0x4
SECINFO_TCS = 0x100
SECINFO_REG = 0x200

# Enclave descriptor (.mystenc).
DESCRIPTOR_MAGIC = b"MYSTENCL"
DESCRIPTOR_VERSION = 1
DESCRIPTOR_HEADER_SIZE = 128
REGION_RECORD_SIZE = 128
DESCRIPTOR_ZERO_BASED = 1
SIGSTRUCT_SIZE = 1808

# Parameter page (.mystconfig).
PARAMETERS_MAGIC = b"MYSTCONF"
PARAMETERS_VERSION = 1
PARAMETERS_ZERO_BASED = 1
PARAMETERS_DEBUG = 2

# Thread blocks, in pages.
NSSA = 3
SSA_FRAME_PAGES = 1
THREAD_AREA_PAGES = 3
KERNEL_STACK_PAGES = 8
HOLE_PAGES = 1

# The rest of the memory map.
MIN_ENCLAVE_SIZE = 2097152
DEFAULT_START_ADDRESS = 65536
HEAP_BASE_SIZE = 4194304
HEAP_BYTES_PER_ENTRY = 512
KERNEL_DIRECT_ENTRY_OFFSET = 16

# What is asked of the processor.
ATTRIBUTE_DEBUG = 0x2
ATTRIBUTE_MODE64BIT = 0x4
ATTRIBUTES_MASK = 0xFFFFFFFFFFFFFFFF
XFRM = 0x3
XFRM_MASK = 0xFFFFFFFFFFFFFF1B
MISCSELECT = 0x1
MISCMASK = 0xFFFFFFFF

# Between kernel and launcher.
HOST_ABI_VERSION = 1
