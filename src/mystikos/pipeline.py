"""The one place that knows the order of the stages::

signer = PemSigner.load(Path("private.pem"), None)
build(Path("appdir"), signer, config.load("config.json"), Path("app"))
"""

from __future__ import annotations

import datetime
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mystikos import binding, costs, development, layout, parts, rootfs, signature, signed_directory
from mystikos import config as configs
from mystikos.closure import closure_check, grouped
from mystikos.errors import AttachError, ConfigError, RootFsError
from mystikos.formats.atomic import atomic_directory, atomic_output, output_error, refuse_inside
from mystikos.formats.buildrecord import BuildRecord, BuildRecordError
from mystikos.formats.content import BytesContent
from mystikos.formats.sigstruct import Sigstruct
from mystikos.keysafety import check_debug, check_key
from mystikos.launcher import Runtime
from mystikos.measurement import measure as measure_enclave
from mystikos.package import PackageWriter, unpack
from mystikos.preflight import preflight
from mystikos.progress import Counter, Progress
from mystikos.provenance import ToolChange, other_tools, record_of
from mystikos.request import DetachedSigner, SigningRequest
from mystikos.signers import is_release_key

if TYPE_CHECKING:
    from mystikos.config import Config
    from mystikos.costs import Costs
    from mystikos.formats.content import Content
    from mystikos.layout import Layout
    from mystikos.package import Package
    from mystikos.rootfs import RootFs
    from mystikos.signers import Signer
    from mystikos.verification.report import Check

__all__ = [
    "Built",
    "Requested",
    "attach",
    "build",
    "build_in_memory",
    "build_into",
    "measure",
    "rebuild",
    "request",
    "sign",
    "verify_rebuild",
]

_MODE = 0o755


@dataclass(frozen=True)
class Built:
    """What went into a package; ``lacking`` are libraries that files other than the program do not find."""

    layout: Layout
    sigstruct: Sigstruct
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class Requested:
    """A signing request; ``lacking`` as in ``Built``."""

    request: SigningRequest
    lacking: tuple[str, ...]


def build(
    source: Path,
    signer: Signer,
    config: Config,
    output: Path,
    *,
    runtime: Runtime | None = None,
    date: datetime.date = signature.DEFAULT_DATE,
    allow_debug: bool = False,
    progress: Progress | None = None,
) -> Built:
    """Package the application directory (or CPIO archive) ``source`` as the executable ``output``.

    ``output`` appears whole or not at all. ``progress`` is told how many content bytes of how many are done.
    Raises KeyFileError for a key that everybody has, and for a release key that is to sign a debug enclave
    unless ``allow_debug`` says that this is meant.
    """
    _check_signer(signer, config, allow_debug)
    refuse_inside(source, output)
    with atomic_output(output, _MODE) as file:
        return build_into(file, source, signer, config, runtime=runtime, date=date, progress=progress)


def sign(
    source: Path,
    signer: Signer,
    config: Config,
    directory: Path,
    *,
    runtime: Runtime | None = None,
    date: datetime.date = signature.DEFAULT_DATE,
    allow_debug: bool = False,
    progress: Progress | None = None,
) -> Built:
    """:func:`build` as a signed directory: the package in ``bin``, and its parts.

    ``directory`` must be absent, empty or a signed directory, which is replaced; it appears whole or not at
    all.
    """
    _check_signer(signer, config, allow_debug)
    refuse_inside(source, directory)
    with atomic_directory(directory, signed_directory.why_not) as temporary:
        program = temporary / signed_directory.BIN / config.program_name
        shown = directory / signed_directory.BIN / config.program_name
        try:
            program.parent.mkdir()
        except OSError as error:
            raise output_error(shown.parent, error) from error
        with atomic_output(program, _MODE, shown=shown) as file:
            built = build_into(file, source, signer, config, runtime=runtime, date=date, progress=progress)
        signed_directory.write_parts(unpack(program), temporary, directory)
    return built


def build_into(
    file: BinaryIO,
    source: Path,
    signer: Signer,
    config: Config,
    *,
    runtime: Runtime | None = None,
    date: datetime.date = signature.DEFAULT_DATE,
    progress: Progress | None = None,
) -> Built:
    """:func:`build` into an open, empty, seekable file, whatever the key."""
    signature.check_modulus(signer.public_modulus())
    runtime = runtime or Runtime.load()
    _, planned, lacking = _plan(_load(source), config, runtime)

    writer = PackageWriter(file, runtime.launcher)
    measurement = measure_enclave(
        planned.enclave, writer.contents(planned.contents), progress=_counter(planned, progress).add
    )
    signed = signature.sign(
        measurement.mrenclave,
        planned.enclave,
        signer,
        product_id=config.product_id,
        security_version=config.security_version,
        date=date,
    )
    writer.finish(planned.enclave, measurement, signed, record_of(runtime, config, measurement, signed))
    return Built(planned, signed, lacking)


def build_in_memory(source: Path, config: Config, *, progress: Progress | None = None) -> int:
    """:func:`build` with the key that everybody has; the descriptor of a package that is in memory only."""
    descriptor = os.memfd_create("myst-exec", os.MFD_CLOEXEC)
    with open(descriptor, "w+b", closefd=False) as file:
        build_into(file, source, development.signer(), config, progress=progress)
    return descriptor


def measure(
    source: Path,
    config: Config,
    *,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> Costs:
    """What packaging ``source`` with ``config`` would measure, and what each part of it costs; needs no key.

    Refuses what :func:`build` refuses.
    """
    root, planned, _ = _plan(_load(source), config, runtime or Runtime.load())
    measured = measure_enclave(planned.enclave, planned.contents, progress=_counter(planned, progress).add)
    return costs.account(planned.enclave, root, measured)


def request(
    source: Path,
    config: Config,
    *,
    modulus: int | None = None,
    runtime: Runtime | None = None,
    date: datetime.date = signature.DEFAULT_DATE,
    allow_debug: bool = False,
    progress: Progress | None = None,
) -> Requested:
    """What a key that is elsewhere has to sign, so that :func:`attach` makes the package of it.

    With ``modulus`` only the key of this modulus will do. A key that is elsewhere is a release key:
    ``allow_debug`` as in :func:`build`.
    """
    if modulus is not None:
        check_key(modulus)
    if not allow_debug:
        check_debug(config, release_key=True)
    _, planned, lacking = _plan(_load(source), config, runtime or Runtime.load())
    hashed = {section: _Hashed(content) for section, content in planned.contents.items()}
    measurement = measure_enclave(planned.enclave, hashed, progress=_counter(planned, progress).add)
    fields = signature.unsigned(
        measurement.mrenclave,
        planned.enclave,
        product_id=config.product_id,
        security_version=config.security_version,
        date=date,
    )
    inputs = {section.name.lower(): content.hexdigest() for section, content in sorted(hashed.items())}
    mrsigner = None if modulus is None else signature.mrsigner(modulus).hex()
    return Requested(SigningRequest(fields, inputs, mrsigner), lacking)


def attach(
    source: Path,
    config: Config,
    asked: SigningRequest,
    signed: bytes,
    modulus: int,
    output: Path,
    *,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build the package that was asked for, with the signature (384 bytes, big-endian) that came back.

    Raises SignatureError or AttachError, and writes nothing, unless ``signed`` is a signature over the
    request by the key of ``modulus``, and what is built now is what the request was made of.
    """
    signer = DetachedSigner(asked, signed, modulus)
    try:
        return build(
            source,
            signer,
            config,
            output,
            runtime=runtime,
            date=asked.date,
            allow_debug=True,  # who signed the request was told in it
            progress=progress,
        )
    except AttachError as error:
        now = request(source, config, runtime=runtime, date=asked.date, allow_debug=True).request
        differences = "\n".join(now.differences(asked))
        raise AttachError(error.where, f"{error.found}\n{differences}", hint=error.hint) from error


def rebuild(
    package: Package,
    output: Path,
    *,
    source: Path | None = None,
    config: Config | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> tuple[ToolChange, ...]:
    """Build ``package`` again as ``output``, with the signature that it has, whatever it is over.

    From the application directory (or archive) ``source`` and ``config``; from its own where one is None.
    Equal files are the proof that the package is made of nothing else. Returns which tools have another
    version than the package says it was made with; in ``output`` it says the same.
    """
    runtime = runtime or Runtime.load()
    root = parts.root_file_system(package) if source is None else _load(source)
    config = configs.parse(package.config_source, ".mystconfig") if config is None else config
    _, planned, _ = _plan(root, config, runtime)
    with atomic_output(output, _MODE) as file:
        writer = PackageWriter(file, runtime.launcher)
        measurement = measure_enclave(
            planned.enclave, writer.contents(planned.contents), progress=_counter(planned, progress).add
        )
        record = record_of(runtime, config, measurement, package.sigstruct)
        first = _claimed(package, record)
        said = replace(record, mystikos=first.mystikos, tools=first.tools)
        writer.finish(planned.enclave, measurement, package.sigstruct, said)
    return other_tools(first, record)


def verify_rebuild(
    path: Path,
    *,
    source: Path | None = None,
    config: Config | None = None,
    progress: Progress | None = None,
) -> Check:
    """Package again what a package, or signed directory, is said to be made of, and compare.

    ``source`` (a directory or archive) and ``config`` are what is in the package itself unless they are
    given. Raises PackageError for what is no package, and ConfigError or RootFsError for given inputs that no
    package can hold; that the package's own are refused is a failed check.
    """
    from mystikos.verification import rebuilding

    package = unpack(signed_directory.executable(path))
    with tempfile.TemporaryDirectory(prefix="myst-rebuild-") as home:
        again = Path(home) / "package"
        try:
            tools = rebuild(package, again, source=source, config=config, progress=progress)
        except (ConfigError, RootFsError) as error:
            if source or config:
                raise
            return rebuilding.failed(str(error))
        return rebuilding.check(package, unpack(again), tools)


def _claimed(package: Package, otherwise: BuildRecord) -> BuildRecord:
    try:
        return package.build_record
    except BuildRecordError:
        return otherwise


class _Hashed:
    """A content and its SHA-256; a stream is hashed while it is read, once and wholly."""

    def __init__(self, content: Content) -> None:
        self._content = content
        held = content.data if isinstance(content, BytesContent) else None
        self._streams = held is None
        self._hash = hashlib.sha256(held or b"")

    @property
    def size(self) -> int:
        return self._content.size

    def chunks(self) -> Iterator[memoryview]:
        for chunk in self._content.chunks():
            if self._streams:
                self._hash.update(chunk)
            yield memoryview(chunk)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _load(source: Path) -> RootFs:
    """The root file system in a directory or an archive; that of a signed directory is its part."""
    if not source.is_dir():
        return rootfs.from_archive(source)
    if signed_directory.is_signed_directory(source):
        return rootfs.from_archive(source / signed_directory.ROOTFS)
    return rootfs.scan(source)


def _plan(root: RootFs, config: Config, runtime: Runtime) -> tuple[RootFs, Layout, tuple[str, ...]]:
    """Everything before the measurement; and which libraries other files than the program lack."""
    kernel = layout.Kernel.parse(runtime.kernel, "libmystkernel")
    lacking = _examine(root, config)
    return root, layout.plan(config, root, binding.bind(root), kernel, runtime.crt), lacking


def _examine(root: RootFs, config: Config) -> tuple[str, ...]:
    """Refuse what could not start; return what other files of the tree lack, a line for each library."""
    problems = preflight(config, root)
    if problems:
        raise ConfigError(config.name, problems)

    report = closure_check(root, config.application_path, config.environment_variables)
    return grouped(report.others())


def _counter(planned: Layout, progress: Progress | None) -> Counter:
    return Counter(progress, planned.enclave.measured_size)


def _check_signer(signer: Signer, config: Config, allow_debug: bool) -> None:
    check_key(signer.public_modulus())
    if not allow_debug:
        check_debug(config, is_release_key(signer))
