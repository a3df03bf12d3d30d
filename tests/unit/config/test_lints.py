"""Lints: what weakens a package is told with name, place and remedy; what does not is left alone."""

from __future__ import annotations

import json

import pytest

from mystikos.config import LINTS, lint, parse
from mystikos.errors import Problem

CLEAN: dict[str, object] = {"ApplicationPath": "/bin/hello", "ProductID": 1, "SecurityVersion": 1}
EXT2 = {"Target": "/data", "Type": "ext2"}
SECRET = {"ID": "a", "LocalPath": "/a", "ClientLib": "/b"}

# settings → the one lint they call, and the subject it names
WEAK: list[tuple[dict[str, object], str, str]] = [
    ({"Debug": 1}, "debug", "Debug"),
    ({"HostApplicationParameters": True}, "host-arguments", "HostApplicationParameters"),
    ({"HostEnvironmentVariables": ["HOME", "LD_PRELOAD"]}, "host-code", "HostEnvironmentVariables[1]"),
    ({"HostEnvironmentVariables": "LD_LIBRARY_PATH"}, "host-code", "HostEnvironmentVariables[0]"),
    ({"HostEnvironmentVariables": ["PYTHONPATH"]}, "host-code", "HostEnvironmentVariables[0]"),
    ({"HostEnvironmentVariables": ["NODE_OPTIONS"]}, "host-code", "HostEnvironmentVariables[0]"),
    ({"HostEnvironmentVariables": ["SSL_CERT_FILE"]}, "host-trust", "HostEnvironmentVariables[0]"),
    (
        {"HostEnvironmentVariables": ["A"], "EnvironmentVariables": ["A=1"]},
        "shadowed-variable",
        "HostEnvironmentVariables[0]",
    ),
    ({"HostEnvironmentVariables": ["MYST_TARGET"]}, "shadowed-variable", "HostEnvironmentVariables[0]"),
    ({"EnvironmentVariables": ["DB_PASSWORD=x"]}, "secret-in-variable", "EnvironmentVariables[0]"),
    ({"ForkMode": "pseudo"}, "no-effect", "ForkMode"),
    ({"ExecStack": 1}, "exec-stack", "ExecStack"),
    ({"Mount": [{"Target": "/data", "Type": "hostfs"}]}, "hostfs-mount", "Mount[0]"),
    ({"Mount": [{"Target": "/a", "Type": "ramfs"}, EXT2]}, "unverified-image", "Mount[1]"),
    ({"Secret": {**SECRET, "SrsAddress": "http://x"}}, "clear-text-secret", "Secret[0].SrsAddress"),
    ({"SecurityVersion": 0}, "security-version", "SecurityVersion"),
    ({"ProductID": 0}, "product-id", "ProductID"),
    ({"EnclaveStartAddress": 4096}, "low-start-address", "EnclaveStartAddress"),
    ({"SyslogLevel": "debug"}, "syslog-debug", "SyslogLevel"),
    ({"UserMemSize": "64m"}, "deprecated-key", "UserMemSize"),
]

HARMLESS: list[dict[str, object]] = [
    {},
    {"HostEnvironmentVariables": ["HOME", "LANG", "TZ", "TESTNAME", "BUILD_ID"]},
    {"EnvironmentVariables": ["LD_LIBRARY_PATH=/lib", "PASSWORD=", "SSL_CERT_FILE=/etc/ca.pem"]},
    {"Mount": [{**EXT2, "RootHash": "ab"}, {**EXT2, "Target": "/b", "PublicKey": "k"}]},
    {"Secret": {**SECRET, "SrsAddress": "https://x"}},
    {"ApplicationParameters": ["a"]},
]


def findings(settings: dict[str, object]) -> tuple[Problem, ...]:
    return lint(parse(json.dumps({**CLEAN, **settings}).encode(), "config.json"))


@pytest.mark.parametrize(("settings", "name", "subject"), WEAK)
def test_a_weak_setting_is_told_with_name_place_and_remedy(
    settings: dict[str, object], name: str, subject: str
) -> None:
    (finding,) = findings(settings)

    assert (finding.lint, finding.subject) == (name, subject)
    assert finding.line == 1
    assert finding.column > 1
    assert finding.hint


def test_sockets_of_the_host_are_told_twice_until_they_can_be_reached() -> None:
    assert [finding.lint for finding in findings({"HostUDS": True})] == ["host-uds", "no-effect"]


def test_arguments_that_are_never_used_are_told() -> None:
    found = findings({"ApplicationParameters": ["a"], "HostApplicationParameters": True})

    assert [finding.lint for finding in found] == ["unused-arguments", "host-arguments"]


def test_every_lint_is_shown_by_a_setting() -> None:
    assert {row.name for row in LINTS} == {name for _, name, _ in WEAK} | {"unused-arguments", "host-uds"}


@pytest.mark.parametrize("settings", HARMLESS)
def test_a_harmless_setting_is_left_alone(settings: dict[str, object]) -> None:
    assert findings(settings) == ()


def test_a_default_that_is_weak_has_no_place() -> None:
    found = lint(parse(b'{"ApplicationPath": "/a"}', "config.json"))

    assert [(finding.lint, finding.line) for finding in found] == [("security-version", 0), ("product-id", 0)]
    assert str(found[1]).startswith("config.json: ProductID: 0: ")


def test_a_mount_over_code_is_told_so() -> None:
    (finding,) = findings({"Mount": [{"Target": "/usr/lib", "Type": "hostfs"}]})

    assert "where programs expect code" in finding.found
