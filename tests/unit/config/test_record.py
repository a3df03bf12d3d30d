"""The canonical record: what package-format.md says, byte for byte, and back."""

from __future__ import annotations

import cbor2
import pytest

from mystikos.config import KEYS, Config, Mount, Secret, from_record
from mystikos.errors import ConfigError

CONFIG = Config(
    application_path=b"/bin/hello",
    application_parameters=(b"a", b"\xff"),
    mount=(Mount(target=b"/data", type="ext2", flags=("ro",), root_hash="ab"),),
    secret=(Secret(id="s", srs_address="https://x", local_path="/k", client_lib="/l"),),
    debug=True,
    product_id=300,
)

FACTS = {
    "ApplicationParameters": [b"a", b"\xff"],
    "ApplicationPath": b"/bin/hello",
    "CreateZeroBaseEnclave": False,
    "CurrentWorkingDirectory": b"/",
    "Debug": True,
    "EnclaveStartAddress": 0x10000,
    "EnvironmentVariables": [],
    "ExecStack": False,
    "ForkMode": "none",
    "HostApplicationParameters": False,
    "HostEnvironmentVariables": [],
    "HostUDS": False,
    "Hostname": "mystikos",
    "MainStackSize": 1536 << 10,
    "MaxAffinityCPUs": 0,
    "MaxThreads": 128,
    "MemorySize": 64 << 20,
    "Mount": [{"Flags": ["ro"], "PublicKey": None, "RootHash": "ab", "Target": b"/data", "Type": "ext2"}],
    "NoBrk": False,
    "ProductID": 300,
    "Secret": [
        {
            "ClientLib": "/l",
            "ID": "s",
            "LocalPath": "/k",
            "SrsAddress": "https://x",
            "SrsApiVersion": "",
            "Verbose": False,
        }
    ],
    "SecurityVersion": 0,
    "SyslogLevel": "err",
    "ThreadStackSize": 0,
    "UnhandledSyscallEnosys": False,
    "version": "0.1",
}


def _deterministic(value: object) -> bytes:
    """RFC 8949 §4.2.1, written here once more so that no library vouches for itself."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(_deterministic, value))
    assert isinstance(value, dict)
    members = sorted((_deterministic(key), _deterministic(item)) for key, item in value.items())
    return _head(5, len(value)) + b"".join(key + item for key, item in members)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for additional, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | additional]) + number.to_bytes(size, "big")
    raise AssertionError(number)


def test_the_record_is_the_deterministic_encoding_of_every_key() -> None:
    assert CONFIG.record() == _deterministic(FACTS)


def test_a_config_comes_back_from_its_record() -> None:
    assert from_record(CONFIG.record()) == CONFIG


def test_source_and_name_are_no_part_of_the_record() -> None:
    assert (
        Config(application_path=b"/a", source=b"{}", name="x").record()
        == Config(application_path=b"/a", source=b"[]", name="y").record()
    )


def test_every_setting_changes_the_record() -> None:
    others = {bool: True, int: 1 << 20, str: "info", bytes: b"/x", tuple: (b"A=1",)}
    special = {
        "fork_mode": "pseudo",
        "max_threads": 7,
        "max_affinity_cpus": 7,
        "product_id": 7,
        "security_version": 7,
        "mount": (Mount(target=b"/m", type="ramfs"),),
        "secret": (Secret(id="s", srs_address="a", local_path="/k", client_lib="/l"),),
    }
    special["host_environment_variables"] = (b"A",)
    plain = Config(application_path=b"/a")
    for row in KEYS:
        if row.name == "version":  # only one value is allowed
            continue
        value = special.get(row.attribute, others[type(getattr(plain, row.attribute))])
        changed = Config(**{"application_path": b"/a", row.attribute: value})  # type: ignore[arg-type]
        assert changed.record() != plain.record(), row.name


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (b"", "not CBOR"),
        (b"\xff", "not CBOR"),
        (CONFIG.record()[:-1], "not CBOR"),
        (b"\x81" * 100_000, "not CBOR"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "not CBOR"),
        (b"\x80" * 3_000_000, "no config has so many"),
        (cbor2.dumps([]), "the keys are not those"),
        (cbor2.dumps({**FACTS, "More": 1}, canonical=True), "the keys are not those"),
        (
            cbor2.dumps({k: v for k, v in FACTS.items() if k != "Debug"}, canonical=True),
            "the keys are not those",
        ),
        (cbor2.dumps({**FACTS, "Debug": 1}, canonical=True), "Debug: got another value"),
        (cbor2.dumps({**FACTS, "Mount": [{}]}, canonical=True), "Mount: got another value"),
        (cbor2.dumps({**FACTS, "Mount": 7}, canonical=True), "Mount: got another value"),
        (cbor2.dumps({**FACTS, "ApplicationParameters": b"a"}, canonical=True), "ApplicationParameters: got"),
        (cbor2.dumps({**FACTS, "MemorySize": -1}, canonical=True), "MemorySize: got another value"),
        (cbor2.dumps(dict(reversed(FACTS.items()))), "the encoding is not canonical"),
        (CONFIG.record() + b"\0", "the encoding is not canonical"),
    ],
)
def test_a_record_that_config_never_makes_is_refused(record: bytes, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_record(record)

    assert found in str(caught.value)
