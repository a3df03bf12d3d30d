//! Links the launcher as a static-PIE file without a C library: no start-up cost, and no use of the FS register, which
//! belongs to the application while the launcher serves it.

fn main() {
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static-pie",
        "-Wl,--no-dynamic-linker",
        "-Wl,-z,separate-code",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,noexecstack",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        "-Wl,--hash-style=sysv",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
