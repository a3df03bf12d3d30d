"""``myst doctor`` and ``myst fsgsbase``: what they print of a machine, and their exit codes."""

from __future__ import annotations

import json

import pytest
from tests.support import machines

from mystikos import machine
from mystikos.cli import main
from mystikos.machine import Machine

FSGSBASE_LACKING = machines.with_kernel(hwcap2=0)


def told(
    verb: list[str], facts: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit code and output on a machine like that; nothing goes to stderr."""
    monkeypatch.setattr(machine, "read", lambda: facts)
    status = main(verb)
    out, err = capsys.readouterr()
    assert err == ""
    return status, out


def test_a_machine_that_runs_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = told(["doctor"], machines.SERVER, monkeypatch, capsys)
    assert status == 0
    assert "MISSING" not in out
    assert out.splitlines()[-4:] == [
        "Packages here:",
        "  sgx:    yes, protected by the processor",
        "  sim:    yes, without protection",
        "  linux:  yes, without protection",
    ]


def test_what_is_missing_comes_with_one_line_that_helps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = told(["doctor"], machines.CONTAINER, monkeypatch, capsys)
    assert status == 1
    lines = out.splitlines()
    assert lines[-3] == "  sgx:    no, missing: /dev/sgx_enclave"
    (place,) = [i for i, line in enumerate(lines) if line.startswith("MISSING")]
    assert lines[place + 1].strip() == (
        "→ start the container with --device /dev/sgx_enclave --device /dev/sgx_provision"
    )


@pytest.mark.parametrize("name", machines.ALL)
def test_json_is_one_document_that_agrees_with_the_exit_code(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = told(["doctor", "--json"], machines.ALL[name], monkeypatch, capsys)
    answer = json.loads(out)
    assert list(answer) == ["targets", "findings", "machine"]
    assert list(answer["targets"]) == ["sgx", "sim", "linux"]
    assert status == (0 if answer["targets"]["sgx"]["possible"] else 1)
    missing = [one for one in answer["findings"] if one["state"] == "missing"]
    causes = [one["name"] for one in missing if "sgx" in one["needed_by"]]
    assert answer["targets"]["sgx"]["missing"] == causes
    assert answer["machine"]["enclave"]["path"] == "/dev/sgx_enclave"


@pytest.mark.parametrize("name", machines.ALL)
def test_the_text_says_what_the_json_says(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = told(["doctor"], machines.ALL[name], monkeypatch, capsys)
    answer = json.loads(told(["doctor", "--json"], machines.ALL[name], monkeypatch, capsys)[1])
    marks = {"ok": "ok", "note": "note", "missing": "MISSING"}
    expected: list[list[str]] = []
    for finding in answer["findings"]:
        expected.append(f"{marks[finding['state']]} {finding['name']} {finding['found']}".split())
        if finding["remedy"]:
            expected.append(f"→ {finding['remedy']}".split())
    expected += [[], ["Packages", "here:"]]
    for target, verdict in answer["targets"].items():
        protection = "protected by the processor" if target == "sgx" else "without protection"
        told_of = (
            f"yes, {protection}" if verdict["possible"] else "no, missing: " + ", ".join(verdict["missing"])
        )
        expected.append(f"{target}: {told_of}".split())
    assert [line.split() for line in out.splitlines()] == expected


def test_text_of_the_machine_cannot_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = machines.with_kernel(machines.with_processor(model="\x1b[31mCPU"), release="6.1\x1b]0;x")
    assert "\x1b" not in told(["doctor"], evil, monkeypatch, capsys)[1]
    assert "\x1b" not in told(["doctor", "--json"], evil, monkeypatch, capsys)[1]


def test_arguments_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "package"]) == 2
    assert "unexpected extra argument" in capsys.readouterr().err


def test_this_machine_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) in (0, 1)
    answer = json.loads(capsys.readouterr().out)
    assert answer["machine"]["kernel"]["system"] == "Linux"
    assert all(finding["found"] for finding in answer["findings"])


def test_fsgsbase_that_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["fsgsbase"], machines.SERVER, monkeypatch, capsys) == (0, "FSGSBASE: programs may use it\n")
    status, out = told(["fsgsbase", "--json"], machines.SERVER, monkeypatch, capsys)
    assert (status, json.loads(out)) == (0, {"works": True, "remedy": None})


def test_fsgsbase_that_does_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = told(["fsgsbase"], FSGSBASE_LACKING, monkeypatch, capsys)
    assert status == 1
    assert out.startswith("FSGSBASE: programs may not use it\n→ ")
    status, out = told(["fsgsbase", "--json"], FSGSBASE_LACKING, monkeypatch, capsys)
    assert (status, json.loads(out)["works"]) == (1, False)
