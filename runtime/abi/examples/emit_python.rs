//! Prints `src/mystikos/_abi.py`: `cargo run -p mystikos-abi --example emit_python`.

use mystikos_abi::{block, hostcall, package, sgx, PAGE_SIZE};

fn bytes(name: &str, value: &[u8]) {
    println!("{name} = b\"{}\"", String::from_utf8_lossy(value));
}

fn heading(text: &str) {
    println!("\n# {text}");
}

macro_rules! numbers {
    ($($name:ident = $value:expr),* $(,)?) => {
        $(println!("{} = {}", stringify!($name), u64::from($value));)*
    };
}

macro_rules! hexadecimal {
    ($($name:ident = $value:expr),* $(,)?) => {
        $(println!("{} = {:#X}", stringify!($name), u64::from($value));)*
    };
}

fn main() {
    println!("\"\"\"Constants of the package format, generated from runtime/abi by `make abi`; do not edit.\"\"\"");
    println!("\nPAGE_SIZE = {PAGE_SIZE}");
    heading("The sections of a package, in file order; a region record's section index counts along this list.");
    println!("SECTIONS = (");
    for section in package::SECTIONS {
        println!("    \"{section}\",");
    }
    println!(")");
    heading("Region kinds.");
    numbers!(
        KIND_KERNEL = package::kind::KERNEL,
        KIND_CRT = package::kind::CRT,
        KIND_CONFIG = package::kind::CONFIG,
        KIND_BINDINGS = package::kind::BINDINGS,
        KIND_PUBKEYS = package::kind::PUBKEYS,
        KIND_ROOTHASHES = package::kind::ROOTHASHES,
        KIND_ROOTFS = package::kind::ROOTFS,
        KIND_TCS = package::kind::TCS,
        KIND_SSA = package::kind::SSA,
        KIND_THREAD = package::kind::THREAD,
        KIND_STACK = package::kind::STACK,
        KIND_HEAP = package::kind::HEAP,
        KIND_USER = package::kind::USER,
        KIND_EXEC_WINDOW = package::kind::EXEC_WINDOW,
    );
    heading("Where a region's bytes come from, and whether they are measured.");
    numbers!(
        SOURCE_ZERO = package::SOURCE_ZERO,
        SOURCE_SECTION = package::SOURCE_SECTION,
        SOURCE_TCS = package::SOURCE_TCS,
        REGION_MEASURED = package::REGION_MEASURED,
    );
    heading("SECINFO.FLAGS (SDM volume 3D, 35.11).");
    hexadecimal!(
        SECINFO_R = sgx::SECINFO_R,
        SECINFO_W = sgx::SECINFO_W,
        SECINFO_X = sgx::SECINFO_X,
        SECINFO_TCS = sgx::SECINFO_TCS,
        SECINFO_REG = sgx::SECINFO_REG,
    );
    heading("Enclave descriptor (.mystenc).");
    bytes("DESCRIPTOR_MAGIC", &package::DESCRIPTOR_MAGIC);
    numbers!(
        DESCRIPTOR_VERSION = package::FORMAT_VERSION,
        DESCRIPTOR_HEADER_SIZE = size_of::<package::DescriptorHeader>() as u64,
        REGION_RECORD_SIZE = size_of::<package::RegionRecord>() as u64,
        DESCRIPTOR_ZERO_BASED = package::FLAG_ZERO_BASED,
        SIGSTRUCT_SIZE = sgx::sigstruct::SIZE as u64,
    );
    heading("Parameter page (.mystconfig).");
    bytes("PARAMETERS_MAGIC", &package::PARAMETERS_MAGIC);
    numbers!(
        PARAMETERS_VERSION = package::FORMAT_VERSION,
        PARAMETERS_ZERO_BASED = package::FLAG_ZERO_BASED,
        PARAMETERS_DEBUG = package::FLAG_DEBUG,
    );
    heading("Thread blocks, in pages.");
    numbers!(
        NSSA = block::NSSA,
        SSA_FRAME_PAGES = block::SSA_FRAME_PAGES,
        THREAD_AREA_PAGES = block::THREAD_PAGES,
        KERNEL_STACK_PAGES = block::STACK_PAGES,
        HOLE_PAGES = block::HOLE_PAGES,
    );
    heading("The rest of the memory map.");
    numbers!(
        MIN_ENCLAVE_SIZE = package::plan::MIN_ENCLAVE_SIZE,
        DEFAULT_START_ADDRESS = package::plan::DEFAULT_START_ADDRESS,
        HEAP_BASE_SIZE = package::plan::HEAP_BASE_SIZE,
        HEAP_BYTES_PER_ENTRY = package::plan::HEAP_BYTES_PER_ENTRY,
        KERNEL_DIRECT_ENTRY_OFFSET = block::LINUX_ENTRY_OFFSET,
    );
    heading("What is asked of the processor.");
    hexadecimal!(
        ATTRIBUTE_DEBUG = sgx::ATTRIBUTE_DEBUG,
        ATTRIBUTE_MODE64BIT = sgx::ATTRIBUTE_MODE64BIT,
        ATTRIBUTES_MASK = sgx::asked::ATTRIBUTES_MASK,
        XFRM = sgx::asked::XFRM,
        XFRM_MASK = sgx::asked::XFRM_MASK,
        MISCSELECT = sgx::asked::MISCSELECT,
        MISCMASK = sgx::asked::MISCMASK,
    );
    heading("Between kernel and launcher.");
    numbers!(HOST_ABI_VERSION = hostcall::HOST_ABI_VERSION);
}
