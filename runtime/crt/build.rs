//! Links the CRT image as a shared object with the symbol versions that C libraries look for in a vDSO.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=vdso.lds");
    for argument in [
        "-shared",
        "-nostdlib",
        "-nostartfiles",
        "-Wl,-soname,linux-vdso.so.1",
        "-Wl,--hash-style=both",
        "-Wl,--build-id=none",
        "-Wl,--strip-all",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-Bsymbolic",
        &format!("-Wl,-T,{here}/vdso.lds"),
        &format!("-Wl,--version-script,{here}/vdso.map"),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
