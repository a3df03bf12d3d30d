//! The kernel image: nothing but the naming of the kernel and the linking of it.

#![no_std]
#![no_main]

mystikos_platform::kernel!(mystikos_kernel::boot::MystKernel);
