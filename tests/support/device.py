"""The test device: packages run on the ``sgx`` target, with a ``/dev/sgx_enclave`` that is none."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.running import DEVICE, Outcome, run

Record = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """How a package ended under the device, and what the device saw of it."""

    outcome: Outcome
    log: tuple[Record, ...]

    def events(self, name: str) -> list[Record]:
        return [record for record in self.log if record["event"] == name]

    @property
    def counts(self) -> dict[str, int]:
        """Instructions of the processor."""
        (end,) = self.events("end")
        return dict(end["counts"])

    @property
    def refused(self) -> list[Record]:
        """Requests that broke a rule."""
        return [record for record in self.log if "errno" in record]


def run_on_device(program: Path, *arguments: str | bytes, options: tuple[str, ...] = (), **more: Any) -> Told:
    """Run a package on the ``sgx`` target under the device, with options of the device's."""
    assert DEVICE.exists(), f"{DEVICE} is missing: `make test-device` builds it"
    with tempfile.TemporaryDirectory(prefix="mystikos-device-") as directory:
        log = Path(directory) / "log"
        command = ("--log", str(log), *options, "--", program, *arguments)
        outcome = run(DEVICE, *command, **{"target": "sgx", **more})
        lines = log.read_text().splitlines() if log.exists() else []
    return Told(outcome, tuple(json.loads(line) for line in lines))
