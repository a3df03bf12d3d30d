"""A package against a policy: one check for everything that the policy asks."""

from __future__ import annotations

from collections.abc import Iterator

from mystikos import config, signature
from mystikos.config import Config
from mystikos.errors import MystError
from mystikos.package import Package
from mystikos.verification.policy import Policy
from mystikos.verification.report import Check
from mystikos.verification.rules import Rule

__all__ = ["checks"]


def checks(package: Package, mrenclave: bytes, policy: Policy) -> Iterator[Check]:
    """The policy's questions about identity and config; ``mrenclave`` is what was measured."""
    signed = package.sigstruct
    mrsigner = signature.mrsigner(signed.modulus).hex()
    if policy.signers:
        problem = _not_among(f"MRSIGNER {mrsigner}", mrsigner, policy.signers)
        yield Check("policy-signer", "it is signed by whom the policy names", problem)
    if policy.mrenclaves:
        problem = _not_among(f"MRENCLAVE {mrenclave.hex()}", mrenclave.hex(), policy.mrenclaves)
        yield Check("policy-mrenclave", "it measures what the policy names", problem)
    if policy.product_id is not None:
        wrong = signed.product_id != policy.product_id
        problem = f"ProductID is {signed.product_id}, not {policy.product_id}" if wrong else None
        yield Check("policy-product", "it is the product that the policy names", problem)
    if policy.minimum_security_version:
        yield Check(
            "policy-security-version",
            "it has the security fixes that the policy asks for",
            _too_old(signed.security_version, policy.minimum_security_version),
        )
    if not policy.allow_debug:
        debug = "every host can read and change its memory" if package.enclave.debug else None
        yield Check("policy-debug", "it is no debug enclave", debug)
    if policy.forbid:
        yield Check(
            "policy-settings", "its config says nothing that the policy forbids", _broken(package, policy)
        )


def _not_among(what: str, found: str, allowed: tuple[str, ...]) -> str | None:
    known = [item.lower() for item in allowed]
    return None if found in known else f"{what} is not {' or '.join(known)}"


def _too_old(found: int, minimum: int) -> str | None:
    return f"SecurityVersion is {found}, at least {minimum} is asked for" if found < minimum else None


def _broken(package: Package, policy: Policy) -> str | None:
    """The rules that the config breaks: the record's, which is what the kernel reads."""
    try:
        settings: Config = config.from_record(package.record)
    except MystError as exc:
        return f"its config cannot be read: {exc}"
    broken = [(text, Rule.parse(text).broken_by(settings)) for text in policy.forbid]
    return "; ".join(f"{found} (forbidden: {text})" for text, found in broken if found) or None
