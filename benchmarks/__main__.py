"""``python -m benchmarks [NAME…]``: run, print, and write benchmarks/results/NAME.json and .md."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import Result

_RESULTS = Path(__file__).with_name("results")
_NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; 1 when one misses its bar."""
    unknown = sorted(set(names) - set(_NAMES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(_NAMES)}", file=sys.stderr)
        return 2

    met = True
    for name in names or _NAMES:
        results = list(importlib.import_module(f"benchmarks.{name}").run())
        _write(name, results)
        print(_markdown(name, results))
        met = met and all(result.met for result in results)
    return 0 if met else 1


def _write(name: str, results: list[Result]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    facts = {"machine": _machine(), "results": [{**asdict(r), "met": r.met} for r in results]}
    (_RESULTS / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    (_RESULTS / f"{name}.md").write_text(_markdown(name, results))


def _markdown(name: str, results: list[Result]) -> str:
    rows = [f"| {r.name} | {r.value:.3f} | {_bar(r)} | {r.detail} |" for r in results]
    head = [
        f"# {name}",
        "",
        _machine(),
        "",
        "| what | ratio | bar | met | numbers |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _bar(result: Result) -> str:
    """The bar, and whether it is met."""
    if result.bar is None:
        return "none | "
    sign = "≥" if result.higher_is_better else "≤"
    return f"{sign} {result.bar:g} | {'yes' if result.met else '**no**'}"


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line), "?")
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} processors, {system}"


raise SystemExit(main(sys.argv[1:]))
