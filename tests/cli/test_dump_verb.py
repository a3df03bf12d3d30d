"""``myst dump-sgx``: scripts that read the original's output go on working."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import packages

from mystikos import config as configs
from mystikos import pipeline
from mystikos.cli import main
from mystikos.package import unpack
from mystikos.signature import mrsigner

KEYS = [
    "product_id", "security_version", "debug", "xfrm", "num_heap_pages", "num_stack_pages", "num_tcs",
    "mrenclave", "mrsigner", "signature",
]  # fmt: skip


@pytest.mark.parametrize("verb", ["dump-sgx", "dump"])
def test_the_lines_are_those_of_the_original(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = packages.make(tmp_path, SecurityVersion=3)
    assert main([verb, str(package)]) == 0

    lines = capsys.readouterr().out.splitlines()
    config = lines.index("Package configuration:")
    facts = dict(line.split("=") for line in lines[:config])
    signed = unpack(package).sigstruct
    assert list(facts) == KEYS
    assert (facts["product_id"], facts["security_version"], facts["debug"]) == ("7", "3", "0")
    assert (facts["num_tcs"], facts["num_stack_pages"]) == ("2", "8")
    assert facts["mrenclave"] == signed.enclave_hash.hex()
    assert facts["mrsigner"] == mrsigner(signed.modulus).hex()
    assert bytes.fromhex(facts["signature"]) == signed.signature.to_bytes(384, "little")
    assert json.loads("\n".join(lines[config + 1 :]))["SecurityVersion"] == 3


def test_json_has_the_same_keys_and_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump-sgx", str(packages.make(tmp_path)), "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == [*KEYS, "config"]
    assert json.loads(facts["config"])["ProductID"] == 7


def test_a_config_does_not_speak_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '{\t"ApplicationPath": "/bin/app", // \x9b31m\n\r\n  "MemorySize": "2m"}'
    config = configs.parse(text.encode(), "config.json")
    source = packages.appdir(tmp_path / "appdir")
    pipeline.build(source, packages.signer(), config, tmp_path / "app", runtime=packages.runtime())

    assert main(["dump-sgx", str(tmp_path / "app")]) == 0
    shown = capsys.readouterr().out.partition("Package configuration:\n")[2]
    assert shown == '{\t"ApplicationPath": "/bin/app", // \\x9b31m\n\n  "MemorySize": "2m"}\n'


def test_what_is_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("text")
    assert main(["dump-sgx", str(tmp_path / "text")]) == 2
    assert capsys.readouterr().err.startswith(f"myst: {tmp_path}/text: ")
