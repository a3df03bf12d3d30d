"""The one place that knows the order of the stages.

signer = PemSigner.load(Path("private.pem"), None)
build(Path("appdir"), signer, config.load(Path("config.json")), Path("app"))
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mystikos import binding, costs, layout, rootfs, signature
from mystikos.closure import closure_check, grouped
from mystikos.errors import ConfigError, OutputError
from mystikos.formats.atomic import atomic_output
from mystikos.formats.sigstruct import Sigstruct
from mystikos.launcher import Runtime
from mystikos.measurement import measure as measure_enclave
from mystikos.package import PackageWriter
from mystikos.preflight import preflight

if TYPE_CHECKING:
    from mystikos.config import Config
    from mystikos.costs import Costs
    from mystikos.layout import Layout
    from mystikos.rootfs import RootFs
    from mystikos.signers import Signer

__all__ = ["Built", "build", "build_into", "measure"]

_MODE = 0o755


@dataclass(frozen=True)
class Built:
    """What went into a package; ``lacking`` are libraries that files other than the program do not find."""

    layout: Layout
    sigstruct: Sigstruct
    lacking: tuple[str, ...]


def build(
    source: Path,
    signer: Signer,
    config: Config,
    output: Path,
    *,
    runtime: Runtime | None = None,
    date: datetime.date = signature.DEFAULT_DATE,
    progress: Callable[[int, int], None] | None = None,
) -> Built:
    """Package the application directory (or CPIO archive) ``source`` as the executable ``output``.

    ``output`` appears whole or not at all. ``progress`` is told how many content bytes of how many are done.
    """
    _refuse_inside(source, output)
    with atomic_output(output, _MODE) as file:
        return build_into(file, source, signer, config, runtime=runtime, date=date, progress=progress)


def build_into(
    file: BinaryIO,
    source: Path,
    signer: Signer,
    config: Config,
    *,
    runtime: Runtime | None = None,
    date: datetime.date = signature.DEFAULT_DATE,
    progress: Callable[[int, int], None] | None = None,
) -> Built:
    """:func:`build` into an open, empty, seekable file."""
    runtime = runtime or Runtime.load()
    _, planned, lacking = _plan(source, config, runtime)

    writer = PackageWriter(file, runtime.launcher)
    measurement = measure_enclave(
        planned.enclave, writer.contents(planned.contents), progress=_counter(planned, progress)
    )
    signed = signature.sign(
        measurement.mrenclave,
        planned.enclave,
        signer,
        product_id=config.product_id,
        security_version=config.security_version,
        date=date,
    )
    writer.finish(planned.enclave, measurement, signed)
    return Built(planned, signed, lacking)


def measure(
    source: Path,
    config: Config,
    *,
    runtime: Runtime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Costs:
    """What packaging ``source`` with ``config`` would measure, and what each part of it costs; needs no key.

    Refuses what :func:`build` refuses.
    """
    root, planned, _ = _plan(source, config, runtime or Runtime.load())
    measured = measure_enclave(planned.enclave, planned.contents, progress=_counter(planned, progress))
    return costs.account(planned.enclave, root, measured)


def _plan(source: Path, config: Config, runtime: Runtime) -> tuple[RootFs, Layout, tuple[str, ...]]:
    """Everything before the measurement; and which libraries other files than the program lack."""
    kernel = layout.Kernel.parse(runtime.kernel, "libmystkernel")
    root = rootfs.scan(source) if source.is_dir() else rootfs.from_archive(source)
    lacking = _examine(source, root, config)
    return root, layout.plan(config, root, binding.bind(root), kernel, runtime.crt), lacking


def _examine(source: Path, root: RootFs, config: Config) -> tuple[str, ...]:
    """Refuse what could not start; return what other files of the tree lack, a line for each library."""
    problems = preflight(config, root)
    if problems:
        raise ConfigError(config.name, problems)

    report = closure_check(root, config.application_path, config.environment_variables)
    return grouped(report.others())


def _counter(planned: Layout, progress: Callable[[int, int], None] | None) -> Callable[[int], None] | None:
    if progress is None:
        return None
    total = sum(content.size for content in planned.contents.values())
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    return count


def _refuse_inside(source: Path, output: Path) -> None:
    """A package inside its own application directory would be part of the next one."""
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise OutputError(
            str(output),
            f"lies inside the application directory {source}",
            expected="a place outside of it",
            hint="choose another with --outfile",
        )
