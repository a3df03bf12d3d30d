"""From a package alone to a report of named checks: is it what it says it is, and what a policy asks for?

Everything is recomputed from the file's bytes::

    report = verify(unpack(Path("app")), Policy(signers=(mrsigner_of("release.pem"),)))
    report.passed, [(check.name, check.problem) for check in report.checks]

:func:`examine` takes the file, and answers for one that is damaged, too. A package that passes without a
policy is consistent; whose it is, only a policy asks.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mystikos import measurement, signature
from mystikos.errors import PackageError, RuntimeMissingError
from mystikos.launcher import Runtime
from mystikos.package import Package, is_damaged, unpack
from mystikos.progress import Counter, Progress
from mystikos.provenance import images_of_package, images_of_runtime
from mystikos.signed_directory import BIN, differing_part, executable
from mystikos.verification import consistency, images, judging, tracing
from mystikos.verification.policy import Policy, mrsigner_of
from mystikos.verification.policy import load as load_policy
from mystikos.verification.report import Check, Mismatch, Report

__all__ = ["Check", "Mismatch", "Policy", "Report", "examine", "load_policy", "mrsigner_of", "verify"]


def examine(
    path: Path,
    policy: Policy | None = None,
    *,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> Report:
    """:func:`verify` a file, or the package in a signed directory, whose other files must be its parts.

    A damaged package fails the check "format", and no other is made. One that changes meanwhile fails the
    check "unchanged": what was found need not be what is there now. Raises PackageError for a file that is
    no package at all, or cannot be read.
    """
    program = executable(path)
    found = _stamp(program)
    try:
        package = unpack(program)
    except PackageError as error:
        if not is_damaged(program):
            raise
        return Report(checks=(Check("format", "every byte of the file has its place", error.found),))
    report = verify(package, policy, runtime=runtime, progress=progress)
    more = [] if program == path else [_directory(package, path)]
    if _stamp(program) != found:
        more.append(Check("unchanged", "nobody wrote to the file meanwhile", "it changed while it was read"))
    return replace(report, checks=(*report.checks, *more))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What tells that the file of this name is another one, or was written to; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None  # unpack tells why
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _directory(package: Package, path: Path) -> Check:
    name = differing_part(package, path)
    problem = None if name is None else f"{name} is not what the package in {BIN} holds"
    return Check("directory", "the files beside the package are its parts", problem)


def verify(
    package: Package,
    policy: Policy | None = None,
    *,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> Report:
    """Recompute and compare everything that a package claims about itself, and what the policy asks of it.

    ``runtime`` is what its launcher, kernel and CRT image are compared with: that of the installed mystikos,
    unless told otherwise. Without a policy they may be others.
    """
    counter = Counter(progress, package.enclave.measured_size)
    measured = measurement.measure(package.enclave, package.contents, progress=counter.add)
    found = images_of_package(package)
    strictness = "exact" if policy is None else policy.attribute_masks
    made = [
        *consistency.checks(package, measured, strictness),
        *images.checks(found, _installed(runtime), policy),
        *(() if policy is None else judging.checks(package, measured.mrenclave, policy)),
    ]
    return Report(
        mrenclave=measured.mrenclave.hex(),
        mrsigner=signature.mrsigner(package.sigstruct.modulus).hex(),
        product_id=package.sigstruct.product_id,
        security_version=package.sigstruct.security_version,
        debug=package.enclave.debug,
        checks=tuple(made),
        mismatch=tracing.first_mismatch(package, measured),
        images=found,
    )


def _installed(runtime: Runtime | None) -> dict[str, str] | RuntimeMissingError:
    try:
        return dict(images_of_runtime(runtime or Runtime.load()))
    except RuntimeMissingError as error:
        return error
