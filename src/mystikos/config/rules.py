"""What the settings of a Config must be to one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mystikos.config.kinds import format_size
from mystikos.config.settings import Config
from mystikos.errors import clip

# subject ("Mount[1].Target"), found, expected, hint
Contradiction = tuple[str, str, str | None, str | None]


@dataclass(frozen=True)
class Rule:
    """One rule; it is skipped when one of the keys it reads could not be read."""

    keys: tuple[str, ...]
    find: Callable[[Config], Iterator[Contradiction]]


def contradictions(config: Config, unreadable: Sequence[str] = ()) -> Iterator[Contradiction]:
    """Every way in which settings contradict each other."""
    for rule in RULES:
        if not set(rule.keys) & set(unreadable):
            yield from rule.find(config)


def _stack_fits(config: Config) -> Iterator[Contradiction]:
    if config.main_stack_size >= config.memory_size:
        found = f"{format_size(config.main_stack_size)} does not fit in MemorySize"
        subject = "MainStackSize" if "MainStackSize" in config.places else "MemorySize"
        yield subject, found, f"less than {format_size(config.memory_size)}", "raise MemorySize"


def _variables_differ(config: Config) -> Iterator[Contradiction]:
    names = [entry.split(b"=", 1)[0] for entry in config.environment_variables]
    yield from _repeated("EnvironmentVariables", names)


def _host_variables_differ(config: Config) -> Iterator[Contradiction]:
    yield from _repeated("HostEnvironmentVariables", config.host_environment_variables)


def _targets_differ(config: Config) -> Iterator[Contradiction]:
    yield from _repeated("Mount", [mount.target for mount in config.mount], ".Target")


def _flags_agree(config: Config) -> Iterator[Contradiction]:
    for i, mount in enumerate(config.mount):
        if len(mount.flags) > 1:
            yield f"Mount[{i}].Flags", f"got {len(mount.flags)} flags", '"ro" or "rw"', None


def _trust_is_for_ext2(config: Config) -> Iterator[Contradiction]:
    for i, mount in enumerate(config.mount):
        for name, value in (("PublicKey", mount.public_key), ("RootHash", mount.root_hash)):
            if value is not None and mount.type != "ext2":
                hint = f"nothing would verify a {mount.type}; remove {name} or use an ext2 image"
                yield f"Mount[{i}].{name}", f"set on a {mount.type} mount", "an ext2 mount", hint


def _secret_files_differ(config: Config) -> Iterator[Contradiction]:
    yield from _repeated("Secret", [secret.local_path.encode() for secret in config.secret], ".LocalPath")


def _repeated(subject: str, names: Sequence[bytes], member: str = "") -> Iterator[Contradiction]:
    first: dict[bytes, int] = {}
    for i, name in enumerate(names):
        if name in first:
            shown = clip(name.decode("utf-8", "backslashreplace"))
            yield (
                f"{subject}[{i}]{member}",
                f"{shown} is given already by {subject}[{first[name]}]",
                None,
                None,
            )
        first.setdefault(name, i)


RULES = (
    Rule(("MemorySize", "MainStackSize"), _stack_fits),
    Rule(("EnvironmentVariables",), _variables_differ),
    Rule(("HostEnvironmentVariables",), _host_variables_differ),
    Rule(("Mount",), _targets_differ),
    Rule(("Mount",), _flags_agree),
    Rule(("Mount",), _trust_is_for_ext2),
    Rule(("Secret",), _secret_files_differ),
)
