//! The address space.

use mystikos_platform::memory::Layout;

/// Takes over user memory. `zero_pages`: fresh pages are zero and the host can make them so again.
pub fn init(layout: &'static Layout, zero_pages: bool) {
    let _ = (layout, zero_pages);
    unimplemented!("K2")
}
