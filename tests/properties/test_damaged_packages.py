"""Damage to a package, ten thousand kinds of it: the verifier answers, and answers no, whatever it is."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from mystikos.cli import main
from mystikos.errors import MystError, PackageError
from mystikos.formats.descriptor import DescriptorError, Section, Slice
from mystikos.inspection import inspect_package
from mystikos.launcher import Runtime
from mystikos.package import Package, unpack
from mystikos.report import report as html_report
from mystikos.verification import Policy, Report, examine
from tests.support import packages
from tests.support.mutations import MUTATIONS
from tests.support.packages import PackageForge
from tests.support.rounds import seeds

PARTS = 4  # so that several processors can work
ROUNDS = 2500
SIGNED_AGAIN = 0.04  # of the mutations; each costs a signature
RUNTIME = packages.runtime()
POLICY = Policy(forbid=("host-code", "HostEnvironmentVariables=LD_*"), launchers=("installed",))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return unpack(packages.make(tmp_path_factory.mktemp("package")))


def loaded(forge: PackageForge) -> list[bytes]:
    """The bytes that count: sections as far as they are loaded, and the descriptor."""
    parts = [bytes(forge.data[at.offset : at.end]) for at in [forge.package.sections[Section.ENCLAVE]]]
    for region in forge.package.enclave.regions:
        if isinstance(region.source, Slice):
            start = forge.offset(region.source.section, region.source.offset)
            parts.append(bytes(forge.data[start : start + region.source.size]))
    return parts


def mutated(package: Package, source: random.Random) -> tuple[PackageForge, bool]:
    """A package with one to three mutations, and whether it was signed again."""
    forge = PackageForge(bytearray(package.file), package)
    for mutate in source.choices(MUTATIONS, k=source.choice([1, 1, 1, 2, 3])):
        if len(forge.data) < len(package.file):
            break
        mutate(forge, source)
    whole = len(forge.data) >= len(package.file)
    if whole and source.random() < SIGNED_AGAIN:
        try:
            forge.sign_again()
        except (DescriptorError, MystError, ValueError):
            return forge, False
        return forge, True
    if whole and source.random() < 0.7:
        forge.fix_descriptor()
    return forge, False


def answer(path: Path) -> Report | None:
    """What the verifier says of a file; None when it takes it for no package at all."""
    try:
        return examine(path, POLICY, runtime=RUNTIME)
    except PackageError:
        return None


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_packages_are_answered_and_pass_only_if_nothing_that_counts_changed(
    package: Package, tmp_path: Path, part: int
) -> None:
    original = loaded(PackageForge(bytearray(package.file), package))
    answers: Counter[str] = Counter()
    for seed in seeds(ROUNDS, first=part * ROUNDS):
        forge, signed_again = mutated(package, random.Random(seed))
        try:
            report = answer(forge.write(tmp_path))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        if report is None:
            answers["no package"] += 1
            continue
        answers["yes" if report.passed else next(c.name for c in report.checks if c.failed)] += 1
        assert not report.passed or signed_again or loaded(forge) == original, f"seed {seed}"
    assert {"format", "measurement", "record"} <= set(answers), answers  # the damage went everywhere


def test_the_command_line_says_no_in_one_document(
    package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "load", lambda: RUNTIME)
    answers: Counter[int] = Counter()
    for seed in seeds(150):
        forge, _ = mutated(package, random.Random(seed))
        path = forge.write(tmp_path)
        code = main(["verify", str(path), "--json", "--forbid", "host-code"])
        out, err = capsys.readouterr()
        assert "internal error" not in err, f"seed {seed}"
        said = json.loads(out)
        if code == 2:
            assert set(said) == {"errors"}, f"seed {seed}"
            assert said["errors"][0]["message"], f"seed {seed}"
            assert err.startswith("myst: "), f"seed {seed}"
        else:
            assert said["passed"] is (code == 0), f"seed {seed}"
        answers[code] += 1
    assert set(answers) <= {0, 1, 2}, answers
    assert answers[1], answers
    assert answers[2], answers


def test_mutated_packages_never_crash_inspection_and_its_report(package: Package, tmp_path: Path) -> None:
    told = 0
    for seed in seeds(60):
        forge, _ = mutated(package, random.Random(seed))
        try:
            page = html_report(inspect_package(unpack(forge.write(tmp_path))))
        except MystError:
            continue
        assert page.endswith(b"</html>\n"), f"seed {seed}"
        told += 1
    assert told
