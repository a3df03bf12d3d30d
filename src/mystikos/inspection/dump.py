"""The facts of ``myst dump-sgx``, in the terms of the original command."""

from __future__ import annotations

from dataclasses import dataclass

from mystikos import signature
from mystikos.formats.descriptor import Kind
from mystikos.formats.sigstruct import KEY_SIZE
from mystikos.package import Package


@dataclass(frozen=True)
class Dump:
    """What the original tells of an enclave, by its names.

    Heap is what the kernel's heap and user memory take, stack that of the kernel for one thread. The
    signature's bytes are in the order of SIGSTRUCT, the least significant first.
    """

    product_id: int
    security_version: int
    debug: int
    xfrm: str
    num_heap_pages: int
    num_stack_pages: int
    num_tcs: int
    mrenclave: str
    mrsigner: str
    signature: str


def dump(package: Package) -> Dump:
    """The facts of an unpacked package."""
    signed, enclave = package.sigstruct, package.enclave
    heap, stacks = (*enclave.of_kind(Kind.HEAP), *enclave.of_kind(Kind.USER)), enclave.of_kind(Kind.STACK)
    return Dump(
        product_id=signed.product_id,
        security_version=signed.security_version,
        debug=int(enclave.debug),
        xfrm=f"{signed.xfrm:#016x}",
        num_heap_pages=sum(region.pages for region in heap),
        num_stack_pages=stacks[0].pages if stacks else 0,
        num_tcs=len(enclave.of_kind(Kind.TCS)),
        mrenclave=signed.enclave_hash.hex(),
        mrsigner=signature.mrsigner(signed.modulus).hex(),
        signature=signed.signature.to_bytes(KEY_SIZE, "little").hex(),
    )
