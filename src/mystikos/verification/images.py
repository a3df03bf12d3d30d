"""The native code in a package, by its digests: launcher, kernel, CRT image.

The launcher is not measured (on ``sgx`` nobody trusts it), so it is compared with one that is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import mystikos
from mystikos.errors import RuntimeMissingError
from mystikos.formats.descriptor import Section
from mystikos.launcher import Runtime
from mystikos.layout import Kernel
from mystikos.package import Package, launcher_digest
from mystikos.verification.policy import INSTALLED, Policy
from mystikos.verification.report import Check

__all__ = ["checks", "of_package", "of_runtime"]

_NAMES = {"launcher": "launcher", "kernel": "kernel", "crt": "CRT image"}


def of_package(package: Package) -> Mapping[str, str]:
    """SHA-256 (hexadecimal) of each image in a package."""
    return {
        "launcher": launcher_digest(package.launcher).hex(),
        "kernel": hashlib.sha256(package.section(Section.KERNEL)).hexdigest(),
        "crt": hashlib.sha256(package.section(Section.CRT)).hexdigest(),
    }


def of_runtime(runtime: Runtime) -> Mapping[str, str]:
    """SHA-256 (hexadecimal) of each image as a package holds it."""
    return {
        "launcher": launcher_digest(memoryview(runtime.launcher)).hex(),
        "kernel": hashlib.sha256(Kernel.parse(runtime.kernel, "libmystkernel").data).hexdigest(),
        "crt": hashlib.sha256(runtime.crt).hexdigest(),
    }


def checks(
    found: Mapping[str, str], installed: Mapping[str, str] | RuntimeMissingError, policy: Policy | None
) -> Iterator[Check]:
    """Whether each image is one that the policy names; without one, whether it is the installed mystikos'."""
    wanted = {} if policy is None else _wanted(policy)
    for name, shown in _NAMES.items():
        allowed = wanted.get(name, ())
        known = allowed or (INSTALLED,)
        meaning = f"the {shown} is that of mystikos {mystikos.__version__}, which is installed here"
        if allowed not in ((), (INSTALLED,)):
            meaning = f"the {shown} is one that the policy names"
        problem = _problem(found[name], name, known, installed)
        yield Check(name, meaning, problem, required=bool(allowed))


def _wanted(policy: Policy) -> Mapping[str, tuple[str, ...]]:
    return {"launcher": policy.launchers, "kernel": policy.kernels, "crt": policy.crt_images}


def _problem(
    digest: str, name: str, known: tuple[str, ...], installed: Mapping[str, str] | RuntimeMissingError
) -> str | None:
    digests = {item.lower() for item in known if item != INSTALLED}
    if INSTALLED in known and not isinstance(installed, RuntimeMissingError):
        digests.add(installed[name])
    if digest in digests:
        return None
    if INSTALLED in known and isinstance(installed, RuntimeMissingError):
        return f"{digest}: there is nothing to compare it with ({installed})"
    return f"{digest} is another one than {', '.join(sorted(digests))}"
