//! Links the kernel as a static-PIE file without a C library.

fn main() {
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static-pie",
        "-Wl,--no-dynamic-linker",
        "-Wl,-e,myst_entry",
        "-Wl,-z,separate-code",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        "-Wl,--hash-style=sysv",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
