"""The native code in a package, by its digests: launcher, kernel, CRT image.

The launcher is not measured (on ``sgx`` nobody trusts it), so it is compared with one that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import mystikos
from mystikos.errors import RuntimeMissingError
from mystikos.verification.policy import INSTALLED, Policy
from mystikos.verification.report import Check

__all__ = ["checks"]

_NAMES = {"launcher": "launcher", "kernel": "kernel", "crt": "CRT image"}


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
