"""What each verb of ``myst`` does, as a function of the same name, with ``_`` for ``-``::

    from mystikos import config, verbs
    from mystikos.signers import PemSigner

    settings = config.load("config.json")
    signer = PemSigner.load("private.pem", None)
    verbs.package_sgx(Path("appdir"), signer, settings, Path("hello"))
    assert verbs.verify(Path("hello")).passed

They take what the verb is given, return what it tells, and print nothing. Most are other modules' functions
under the verb's name; where a verb does more than one of these, the function is here. ``completion`` and
``man`` are about the command line alone and have none.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mystikos.errors import ConfigError, OutputError, Problem

if TYPE_CHECKING:
    from mystikos.collect import collect
    from mystikos.config import Config
    from mystikos.diffing import diff
    from mystikos.doctor import Diagnosis, Finding
    from mystikos.extraction import Extracted
    from mystikos.inspection import inspect_path as inspect
    from mystikos.inspection.dump import Dump
    from mystikos.launcher import Target
    from mystikos.parts import Parts
    from mystikos.pipeline import attach, measure
    from mystikos.pipeline import build as package_sgx
    from mystikos.pipeline import request as digest
    from mystikos.pipeline import sign as sign_sgx
    from mystikos.progress import Progress
    from mystikos.rootfs import RootFs
    from mystikos.signers import keygen
    from mystikos.verification import examine as verify

__all__ = [
    "Checked",
    "Started",
    "attach",
    "check",
    "collect",
    "diff",
    "digest",
    "doctor",
    "dump_sgx",
    "excpio",
    "exec_linux",
    "exec_sgx",
    "extract",
    "fsgsbase",
    "init",
    "inspect",
    "keygen",
    "measure",
    "mkcpio",
    "package_sgx",
    "schema",
    "sign_sgx",
    "verify",
]

ELSEWHERE = {
    "attach": ("pipeline", "attach"),
    "collect": ("collect", "collect"),
    "diff": ("diffing", "diff"),
    "digest": ("pipeline", "request"),
    "inspect": ("inspection", "inspect_path"),
    "keygen": ("signers", "keygen"),
    "measure": ("pipeline", "measure"),
    "package_sgx": ("pipeline", "build"),
    "sign_sgx": ("pipeline", "sign"),
    "verify": ("verification", "examine"),
}
"""The verbs that are one function of another module: its module and name."""


def __getattr__(name: str) -> Any:
    """Load such a function when it is asked for: some of what is behind them is slow to load."""
    if name not in ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = ELSEWHERE[name]
    return getattr(importlib.import_module(f"mystikos.{module}"), function)


@dataclass(frozen=True)
class Started:
    """The files that ``init`` wrote; the key may have been there."""

    config: Path
    key: Path
    key_is_new: bool


def init(directory: Path, application_path: str | None = None) -> Started:
    """Write a commented config.json into ``directory``, and a key, private.pem, unless there is one.

    Raises ConfigError for an ``application_path`` that is none, OutputError for a config that is there.
    """
    from mystikos.config import documents, parse
    from mystikos.formats.atomic import write_new
    from mystikos.signers import keygen

    config, key = directory / "config.json", directory / "private.pem"
    text = documents.starter(application_path).encode()
    parse(text, "application_path")
    if os.path.lexists(config):
        hint = "edit it, or name another directory"
        raise OutputError(str(config), "exists already", expected="no config yet", hint=hint)
    write_new(config, text)
    is_new = not key.exists()
    if is_new:
        keygen(key)
    return Started(config, key, is_new)


@dataclass(frozen=True)
class Checked:
    """Mistakes in a config, settings that weaken security, and libraries that may be missed later."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def check(config: Path, appdir: Path | None = None) -> Checked:
    """Every mistake in a config file, alone or for an application directory (or archive).

    Raises OSError for a file that cannot be read, RootFsError for a directory that no package can hold.
    """
    from mystikos.closure import closure_check, grouped
    from mystikos.config import lint, load
    from mystikos.preflight import preflight
    from mystikos.rootfs import from_archive, scan

    try:
        settings = load(config)
    except ConfigError as error:
        return Checked(error.problems)
    if appdir is None:
        return Checked(warnings=lint(settings))
    tree = from_archive(appdir) if appdir.is_file() else scan(appdir)
    if errors := preflight(settings, tree):
        return Checked(errors, lint(settings))
    report = closure_check(tree, settings.application_path, settings.environment_variables)
    return Checked((), lint(settings), tuple(f"lacks {line}" for line in grouped(report.others())))


def dump_sgx(package: Path) -> Dump:
    """What identifies a package, in the words of the original command. Raises PackageError."""
    from mystikos.inspection.dump import dump
    from mystikos.package import unpack
    from mystikos.signed_directory import executable

    return dump(unpack(executable(package)))


def extract(
    package: Path,
    directory: Path,
    *,
    only: Collection[str] | None = None,
    archive: bool = False,
    keep_set_id: bool = False,
    progress: Progress | None = None,
) -> Parts:
    """The parts of a package (or signed directory) as files: :func:`mystikos.parts.extract` of a path."""
    from mystikos import parts
    from mystikos.package import unpack
    from mystikos.signed_directory import executable

    return parts.extract(
        unpack(executable(package)),
        directory,
        only=parts.PARTS if only is None else only,
        archive=archive,
        keep_set_id=keep_set_id,
        progress=progress,
    )


def mkcpio(directory: Path, archive: Path, *, progress: Progress | None = None) -> RootFs:
    """Pack a directory into a root file system image, the same for every copy of it.

    Raises RootFsError for what cannot be in one, OutputError where nothing can be written.
    """
    from mystikos.formats.atomic import atomic_output, refuse_inside
    from mystikos.progress import Counter
    from mystikos.rootfs import scan

    tree = scan(directory)
    counter = Counter(progress, tree.size)
    with atomic_output(archive) as file:
        refuse_inside(directory, archive)
        for chunk in tree.chunks():
            file.write(chunk)
            counter.add(len(chunk))
    return tree


def excpio(
    archive: Path, directory: Path, *, keep_set_id: bool = False, progress: Progress | None = None
) -> Extracted:
    """Unpack a root file system image into a new or empty directory. Raises RootFsError and OutputError."""
    from mystikos.extraction import extract as unpack_archive
    from mystikos.rootfs import from_archive

    return unpack_archive(from_archive(archive), directory, keep_set_id=keep_set_id, progress=progress)


def schema(*, policy: bool = False) -> dict[str, Any]:
    """The JSON Schema of the config file, or of the policy file."""
    from mystikos.config.documents import json_schema
    from mystikos.verification.documents import json_schema as policy_schema

    return policy_schema() if policy else json_schema()


def doctor() -> Diagnosis:
    """Where packages can run on this machine, and what is missing."""
    from mystikos import machine
    from mystikos.doctor import diagnose

    return diagnose(machine.read())


def fsgsbase() -> Finding:
    """Whether the FSGSBASE instructions work, which packages need on every target."""
    return next(finding for finding in doctor().findings if finding.name == "FSGSBASE")


def exec_sgx(
    source: Path,
    config: Config,
    arguments: Sequence[str] = (),
    *,
    target: Target = "sgx",
    progress: Progress | None = None,
) -> NoReturn:
    """Become a program of an application directory (or archive), in an enclave that its host can read.

    ``config`` says which, and must be a debug one; ``arguments`` are what a package is run with. Nothing is
    written to disk. Raises what :func:`mystikos.pipeline.build` raises, and RuntimeMissingError where a
    package cannot be started at all.
    """
    from mystikos.launcher import execute
    from mystikos.pipeline import build_in_memory

    package = build_in_memory(source, config, progress=progress)
    execute(package, [config.application_path, *arguments], target=target)


def exec_linux(
    source: Path, config: Config, arguments: Sequence[str] = (), *, progress: Progress | None = None
) -> NoReturn:
    """:func:`exec_sgx` in a plain Linux process, which protects nothing."""
    exec_sgx(source, config, arguments, target="linux", progress=progress)
