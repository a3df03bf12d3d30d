"""The facts in words that text and report share."""

from __future__ import annotations

from collections.abc import Mapping

from iced_x86 import Decoder, Formatter, FormatterSyntax

from mystikos.config import KEYS, format_size
from mystikos.config.kinds import Size
from mystikos.formats.descriptor import PAGE
from mystikos.inspection.facts import (
    BuildFacts,
    CallSite,
    CodeFacts,
    EnclaveFacts,
    ImageFacts,
    PackageFacts,
    SettingFacts,
)
from mystikos.text import display, size, to_json

KINDS = {
    "KERNEL": "kernel",
    "CRT": "C runtime support",
    "CONFIG": "config",
    "BINDINGS": "system call bindings",
    "PUBKEYS": "trusted disk keys",
    "ROOTHASHES": "trusted disk root hashes",
    "ROOTFS": "root file system",
    "TCS": "thread control structures",
    "SSA": "thread state save areas",
    "THREAD": "thread areas",
    "STACK": "kernel stacks",
    "HEAP": "kernel heap",
    "USER": "user memory",
    "EXEC_WINDOW": "fixed-address program",
}
"""What the kinds of regions are, for people."""

_SIZES = frozenset(row.name for row in KEYS if isinstance(row.kind, Size))


def identity_rows(facts: PackageFacts) -> list[tuple[str, str]]:
    """What identifies a package, and what it asks for."""
    application = "unknown: the config cannot be read" if facts.application is None else facts.application
    identity, enclave = facts.identity, facts.enclave
    signer = identity.mrsigner
    if identity.published_key:
        signer += f" (no signer: the key is published, {identity.published_key})"
    return [
        ("Application", display(application)),
        ("MRENCLAVE", f"{identity.mrenclave} (as signed)"),
        ("MRSIGNER", signer),
        ("ProductID", str(identity.product_id)),
        ("SecurityVersion", str(identity.security_version)),
        ("Debug", "yes: the host can read its memory" if identity.debug else "no"),
        ("Signature date", identity.date),
        ("Made with", _made_with(facts.build)),
        ("ATTRIBUTES.FLAGS", f"{identity.attributes}, mask {identity.attributes_mask}"),
        ("XFRM", f"{identity.xfrm}, mask {identity.xfrm_mask}"),
        ("MISCSELECT", f"{identity.miscselect}, mask {identity.miscmask}"),
        ("Enclave", f"{size(enclave.size)}{', zero-based' if enclave.zero_based else ''}"),
        ("Protected memory", f"{size(enclave.epc_pages * PAGE)} in {enclave.epc_pages} pages"),
        ("Threads", str(enclave.threads)),
        ("File", size(facts.file_size)),
    ]


def _made_with(build: BuildFacts | None) -> str:
    if build is None:
        return "unknown: the build record cannot be read"
    tools = (f"{name} {version.removeprefix(f'{name} ')}" for name, version in build.tools.items())
    return f"mystikos {', '.join([build.mystikos, *tools])} (a claim)"


def setting_value(setting: SettingFacts) -> str:
    """A value as it would stand in the JSON, on one line; a size with its suffix."""
    if setting.key in _SIZES and isinstance(setting.value, int):
        return f"{setting.value} ({format_size(setting.value)})" if setting.value else "0"
    return display(" ".join(to_json(setting.value).split()))


def setting_origin(setting: SettingFacts) -> str:
    """Whether the author wrote it, and whether it is the default all the same."""
    if setting.given is None:
        return "default" if setting.default else ""
    if setting.given:
        return "given, as the default" if setting.default else "given"
    return "default" if setting.default else "not in the JSON"


def overhead(enclave: EnclaveFacts) -> str:
    """What comes on top of the enclave's own pages."""
    return f"and {enclave.overhead_pages} more for SECS and version arrays on Linux"


def share(part: int, whole: int) -> str:
    """A part in percent, rounded to what is worth telling."""
    return f"{100 * part / whole:.1f} %" if whole else ""


def origin(image: ImageFacts) -> str:
    """Whether an image is that of the installed mystikos."""
    return {True: "installed here", False: "another build", None: "nothing here to compare with"}[
        image.installed
    ]


def site_text(site: CallSite) -> str:
    """The instructions that are displaced for a bound system call, or why it traps."""
    if not site.bound:
        return f"traps: {site.reason}"
    return "; ".join([*_assembly(site.before), "syscall", *_assembly(site.after)])


def _assembly(code: str) -> list[str]:
    formatter = Formatter(FormatterSyntax.INTEL)
    formatter.hex_prefix, formatter.hex_suffix = "0x", ""
    formatter.uppercase_hex = False
    formatter.space_after_operand_separator = True
    return [formatter.format(instruction) for instruction in Decoder(64, bytes.fromhex(code))]


def counted(counts: Mapping[str, int]) -> str:
    """As in "8 cpuid, 6 rdtsc"."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def effects(facts: CodeFacts) -> list[tuple[str, str]]:
    """What becomes of each instruction that was found."""
    return sorted({(site.name, site.effect) for file in facts.files for site in file.illegal_sites})
