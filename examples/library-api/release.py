"""Make a release, and the record that those who audit it need; with Python and no command line of `myst`.

    python3 release.py APPDIR KEY CONFIG PACKAGE [PREVIOUS PACKAGE]

writes PACKAGE and PACKAGE.json: who signed what, what it is made of, what it costs, and how it differs from
the release before. Settings that weaken what a package protects stop it: this is for releases.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mystikos import config, pipeline
from mystikos.config import Config
from mystikos.diffing import diff
from mystikos.errors import MystError
from mystikos.inspection import inspect_package
from mystikos.package import unpack
from mystikos.signers import PemSigner
from mystikos.verification import verify


def release(appdir: Path, key: Path, settings: Config, package: Path) -> dict[str, Any]:
    """Build the package, verify what was written, and tell what it is."""
    costs = pipeline.measure(appdir, settings)
    pipeline.build(appdir, PemSigner.load(key, None), settings, package)

    report = verify(unpack(package))
    if not report.passed or report.mrenclave != costs.mrenclave:
        raise SystemExit(f"{package}: is not what was built; this machine cannot be trusted")

    facts = inspect_package(unpack(package))
    return {
        "mrenclave": report.mrenclave,
        "mrsigner": report.mrsigner,
        "product_id": report.product_id,
        "security_version": report.security_version,
        "epc_pages": facts.enclave.epc_pages,
        "system_calls": {"bound": facts.code.bound, "trapped": facts.code.trapped},
        "files": {
            file.path.decode(errors="backslashreplace"): file.size
            for region in costs.regions
            for file in region.files
            if file.path is not None
        },
    }


def changes(previous: Path, package: Path) -> dict[str, Any]:
    """How the release differs from the one before it."""
    found = diff(previous, package)
    return {
        "files": {change.path.decode(errors="backslashreplace"): list(change.what) for change in found.files},
        "settings": {change.name: [str(change.before), str(change.after)] for change in found.settings},
    }


def main(arguments: list[str]) -> int:
    appdir, key, config_path, package, *previous = map(Path, arguments)

    settings = config.load(config_path)
    weaknesses = config.lint(settings)
    for weakness in weaknesses:
        print(f"{weakness}: {weakness.hint}", file=sys.stderr)
    if weaknesses:
        return 1

    record = release(appdir, key, settings, package)
    if previous:
        record["changes"] = changes(previous[0], package)
    Path(f"{package}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{package}: MRENCLAVE {record['mrenclave']}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        raise SystemExit(__doc__)
    try:
        sys.exit(main(sys.argv[1:]))
    except MystError as error:
        raise SystemExit(f"release: {error}") from error
