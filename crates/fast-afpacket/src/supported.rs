//! What this library is made for. Anything else is refused here, before something is built that only looks right.
//!
//! `lab/machines/refused` compiles this file for machines of every kind.

#[cfg(not(target_os = "linux"))]
compile_error!("fast-afpacket is for Linux; other systems, Android among them, are not supported");

// Those whose socket options have the numbers of asm-generic/socket.h in the kernel. On Alpha, MIPS, PA-RISC and SPARC
// they have others.
#[cfg(not(any(
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "loongarch64",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "riscv32",
    target_arch = "riscv64",
    target_arch = "s390x",
    target_arch = "x86",
    target_arch = "x86_64",
)))]
compile_error!("fast-afpacket does not support this processor: Linux numbers socket options differently on some");

// x32 and ILP32: neither the kernel's own layout of control messages nor that of a 32-bit machine.
#[cfg(all(
    any(target_arch = "aarch64", target_arch = "powerpc64", target_arch = "riscv64", target_arch = "x86_64"),
    not(target_pointer_width = "64"),
))]
compile_error!("fast-afpacket does not support programs with 32-bit addresses on a processor of 64 bits");

// 32-bit PowerPC, among others.
#[cfg(not(target_has_atomic = "64"))]
compile_error!("fast-afpacket counts with 64-bit atomics, which this processor does not have");
