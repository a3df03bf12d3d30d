"""Wheel build hook: build the native runtime and ship it as package data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(_ROOT / "tools"), str(_ROOT / "src")]
import build_runtime
import scan_kernel


class RuntimeBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # any build config will do
    """Runs for wheels and editable installs alike; an sdist carries the Rust sources instead."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, then tell hatchling about files that .gitignore would hide, and that they are native."""
        try:
            placed = build_runtime.build(Path(self.root))
        except build_runtime.RuntimeBuildError as error:
            raise SystemExit(f"mystikos: {error}") from error
        kernel = next(path for path in placed if path.name == "libmystkernel")
        if offences := scan_kernel.scan(kernel):
            raise SystemExit("mystikos: the kernel cannot run in an enclave:\n" + "\n".join(offences))
        build_data["artifacts"] += [f"/{path.relative_to(self.root)}" for path in placed]
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
