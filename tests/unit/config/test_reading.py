"""Reading a config file: every form that is allowed, and every mistake with its place."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mystikos.config import KEYS, Config, Mount, Secret, load, parse
from mystikos.errors import ConfigError

# The sample of the specification (sign-package.md), word for word.
SAMPLE = b"""{
    "version": "0.1",

    "Debug": 1,
    "ProductID": 1,
    "SecurityVersion": 1,

    "MemorySize": "40m",
    "ApplicationPath": "/bin/hello",
    "ApplicationParameters": [
        "Enclave-red", "Enclave-blue",
        "Enclave-green", "Enclave-yellow",
        "Enclave-pink"
    ],
    "HostApplicationParameters": true,
    "EnvironmentVariables": [
        "ENC-ENVP-1=Enclave_envp_1",
        "ENC-ENVP-2=Enclave_envp_1"
    ],
    "HostEnvironmentVariables": ["TESTNAME"],
    "UnhandledSyscallEnosys": false
}
"""


def config_with(**settings: object) -> Config:
    return parse(json.dumps({"ApplicationPath": "/bin/hello", **settings}).encode(), "config.json")


def mistakes(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode() if isinstance(text, str) else text, "config.json")
    return [str(problem) for problem in caught.value.problems]


def mistakes_with(**settings: object) -> list[str]:
    """The mistakes without their places."""
    text = json.dumps({"ApplicationPath": "/bin/hello", **settings})
    return [mistake.split(": ", 1)[1] for mistake in mistakes(text)]


def test_the_sample_of_the_specification_is_read() -> None:
    assert parse(SAMPLE, "config.json") == Config(
        application_path=b"/bin/hello",
        application_parameters=tuple(
            b"Enclave-" + colour for colour in b"red blue green yellow pink".split()
        ),
        debug=True,
        product_id=1,
        security_version=1,
        memory_size=40 << 20,
        host_application_parameters=True,
        environment_variables=(b"ENC-ENVP-1=Enclave_envp_1", b"ENC-ENVP-2=Enclave_envp_1"),
        host_environment_variables=(b"TESTNAME",),
        source=SAMPLE,
    )


def test_defaults_are_those_of_the_reference() -> None:
    config = config_with()

    assert config.version == "0.1"
    assert config.memory_size == 64 << 20
    assert config.main_stack_size == 1536 << 10
    assert config.max_threads == 128
    assert config.current_working_directory == b"/"
    assert config.fork_mode == "none"
    assert (config.product_id, config.security_version, config.max_affinity_cpus) == (0, 0, 0)
    assert not any(
        [
            config.debug,
            config.no_brk,
            config.exec_stack,
            config.host_uds,
            config.host_application_parameters,
            config.unhandled_syscall_enosys,
            config.create_zero_base_enclave,
        ]
    )


FLAGS = [
    "Debug",
    "CreateZeroBaseEnclave",
    "NoBrk",
    "ExecStack",
    "HostApplicationParameters",
    "UnhandledSyscallEnosys",
    "HostUDS",
]


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_a_boolean_or_an_integer(name: str) -> None:
    (row,) = [row for row in KEYS if row.name == name]

    given = [getattr(config_with(**{name: value}), row.attribute) for value in (True, False, 1, 0)]

    assert given == [True, False, True, False]


@pytest.mark.parametrize("value", [2, -1, "true", None, 1.0, [], "1"])
def test_a_flag_is_nothing_else(value: object) -> None:
    assert mistakes_with(NoBrk=value) == [f"NoBrk: got {_shown(value)}, expected true or false (or 1 or 0)"]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (131072, 131072),
        ("131072", 131072),
        ("128k", 128 << 10),
        ("512m", 512 << 20),
        ("1g", 1 << 30),
        ("8M", 8 << 20),
        ("0002m", 2 << 20),
    ],
)
@pytest.mark.parametrize("name", ["MemorySize", "UserMemSize"])
def test_a_size_is_bytes_or_a_number_with_a_suffix(name: str, value: object, size: int) -> None:
    assert config_with(MainStackSize="16k", **{name: value}).memory_size == size


@pytest.mark.parametrize(
    "value",
    [
        "40q",
        "",
        "m",
        "-1m",
        "1.5g",
        "40 m",
        " 40m",
        "40mb",
        "0x10",
        "\u0664\u0660m",
        1.5,
        True,
        None,
        [],
        -4096,
        0,
    ],
)
def test_a_size_is_nothing_else(value: object) -> None:
    assert mistakes_with(MemorySize=value) == [
        f"MemorySize: got {_shown(value)}, expected bytes or a number with suffix k, m or g, 64k to 1024g"
    ]


@pytest.mark.parametrize("value", ["99999999999999999999g", 2**70, "63k", "1025g"])
def test_a_size_beyond_sense_is_refused(value: object) -> None:
    (mistake,) = mistakes_with(MemorySize=value)

    assert mistake.endswith("64k to 1024g")


def test_thread_stack_size_0_is_the_default_of_the_kernel() -> None:
    assert config_with(ThreadStackSize=0).thread_stack_size == 0
    assert config_with(ThreadStackSize="256k").thread_stack_size == 256 << 10


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ProductID", 0, 65535),
        ("SecurityVersion", 0, 65535),
        ("MaxThreads", 1, 4096),
        ("MaxAffinityCPUs", 0, 8192),
    ],
)
def test_a_number_keeps_its_range(name: str, low: int, high: int) -> None:
    for value in (low, high):
        config_with(**{name: value})
    for wrong in (low - 1, high + 1, str(low), float(high), True, 10**30):
        (mistake,) = mistakes_with(**{name: wrong})
        assert mistake == f"{name}: got {_shown(wrong)}, expected a whole number from {low} to {high}"


def test_the_start_address_is_page_aligned() -> None:
    assert config_with(EnclaveStartAddress=0x20000).enclave_start_address == 0x20000
    assert mistakes_with(EnclaveStartAddress=0x20001)[0].startswith(
        "EnclaveStartAddress: got 131073, expected a multiple of 4096"
    )


@pytest.mark.parametrize(
    "name", ["ApplicationParameters", "EnvironmentVariables", "HostEnvironmentVariables"]
)
def test_one_string_stands_for_a_list_of_one(name: str) -> None:
    text = "A=1" if name == "EnvironmentVariables" else "A"

    assert config_with(**{name: text}).record() == config_with(**{name: [text]}).record()


def test_what_the_application_sees_is_utf_8() -> None:
    config = config_with(
        ApplicationPath="/bin/größe", ApplicationParameters="😀", CurrentWorkingDirectory="/é"
    )

    assert config.application_path == "/bin/größe".encode()
    assert config.application_parameters == ("😀".encode(),)
    assert config.current_working_directory == "/é".encode()


@pytest.mark.parametrize("path", ["bin/hello", "", "/", "/bin/", "/bin/..", "/bin/.", "/bin/\0x", 7, None])
def test_an_application_path_is_an_absolute_path_of_a_file(path: object) -> None:
    (mistake,) = mistakes_with(ApplicationPath=path)

    assert mistake.startswith("ApplicationPath: got ")
    assert "an absolute path of a file" in mistake


@pytest.mark.parametrize(
    ("name", "value", "subject"),
    [
        ("ApplicationParameters", ["ok", "a\0b"], "ApplicationParameters[1]"),
        ("ApplicationParameters", "a\0b", "ApplicationParameters"),
        ("EnvironmentVariables", ["A=\0"], "EnvironmentVariables[0]"),
        ("EnvironmentVariables", ["A"], "EnvironmentVariables[0]"),
        ("EnvironmentVariables", ["=x"], "EnvironmentVariables[0]"),
        ("EnvironmentVariables", [["A=1"]], "EnvironmentVariables[0]"),
        ("EnvironmentVariables", {"A": "1"}, "EnvironmentVariables"),
        ("HostEnvironmentVariables", ["A=1"], "HostEnvironmentVariables[0]"),
        ("HostEnvironmentVariables", [""], "HostEnvironmentVariables[0]"),
        ("HostEnvironmentVariables", 7, "HostEnvironmentVariables"),
        ("CurrentWorkingDirectory", "data", "CurrentWorkingDirectory"),
        ("CurrentWorkingDirectory", "/a\0", "CurrentWorkingDirectory"),
        ("Hostname", "", "Hostname"),
        ("Hostname", "a b", "Hostname"),
        ("Hostname", "x" * 65, "Hostname"),
        ("Hostname", "x\n", "Hostname"),
        ("ForkMode", "Pseudo", "ForkMode"),
        ("SyslogLevel", "loud", "SyslogLevel"),
        ("version", "0.2", "version"),
        ("version", 0.1, "version"),
        ("Mount", 7, "Mount"),
        ("Mount", ["/data"], "Mount[0]"),
        ("Mount", [{"Target": "/d", "Type": "ext3"}], "Mount[0].Type"),
        ("Mount", [{"Target": "d", "Type": "ext2"}], "Mount[0].Target"),
        ("Mount", [{"Target": "/", "Type": "ext2"}], "Mount[0].Target"),
        ("Mount", [{"Target": "/a/../b", "Type": "ext2"}], "Mount[0].Target"),
        ("Mount", [{"Target": "/a//b", "Type": "ext2"}], "Mount[0].Target"),
        ("Mount", [{"Target": "/a/", "Type": "ext2"}], "Mount[0].Target"),
        ("Mount", [{"Target": "/a", "Type": "ext2", "Flags": ["rx"]}], "Mount[0].Flags[0]"),
        ("Mount", [{"Target": "/a", "Type": "ext2", "Flags": ["ro", "rw"]}], "Mount[0].Flags"),
        ("Mount", [{"Target": "/a", "Type": "ext2", "RootHash": ""}], "Mount[0].RootHash"),
        ("Mount", [{"Target": "/a", "Type": "hostfs", "RootHash": "ab"}], "Mount[0].RootHash"),
        ("Mount", [{"Type": "ext2"}], "Mount[0].Target"),
        ("Mount", [{"Target": "/a", "Type": "ext2"}] * 2, "Mount[1].Target"),
        (
            "Secret",
            [{"ID": "a", "SrsAddress": "b", "LocalPath": "c", "ClientLib": "/d"}],
            "Secret[0].LocalPath",
        ),
        ("EnvironmentVariables", ["A=1", "B=1", "A=2"], "EnvironmentVariables[2]"),
        ("HostEnvironmentVariables", ["A", "A"], "HostEnvironmentVariables[1]"),
        ("MainStackSize", "64m", "MainStackSize"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: object, subject: str) -> None:
    (mistake,) = mistakes_with(**{name: value})

    assert mistake.startswith(f"{subject}: ")


def test_an_argument_longer_than_execve_takes_is_refused() -> None:
    assert config_with(ApplicationParameters="x" * 131071)
    assert mistakes_with(ApplicationParameters="x" * 131072) == [
        "ApplicationParameters: 131072 bytes, expected at most 131071"
    ]


def test_the_length_of_a_path_counts_in_bytes() -> None:
    assert mistakes_with(CurrentWorkingDirectory="/" + "é" * 2048) == [
        "CurrentWorkingDirectory: 4097 bytes, expected at most 4095"
    ]


def test_mounts_and_secrets_are_read_with_their_defaults() -> None:
    config = config_with(
        Mount={"Target": "/data", "Type": "ext2", "Flags": "ro", "RootHash": "ab", "PublicKey": None},
        Secret=[
            {
                "ID": "key",
                "SrsAddress": "https://srs",
                "LocalPath": "/k",
                "ClientLib": "/lib/c.so",
                "Verbose": 1,
            }
        ],
    )

    assert config.mount == (Mount(target=b"/data", type="ext2", flags=("ro",), root_hash="ab"),)
    assert config.secret == (
        Secret(
            id="key",
            srs_address="https://srs",
            srs_api_version="",
            local_path="/k",
            client_lib="/lib/c.so",
            verbose=True,
        ),
    )


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('{"ApplicationPath": "/a", "Debgu": 1}', '1:27: unknown key "Debgu", did you mean "Debug"?'),
        ('{"ApplicationPath": "/a", "debug": 1}', '1:27: unknown key "debug", did you mean "Debug"?'),
        (
            '{"ApplicationPath": "/a", "HostEnvironmentVariable": []}',
            '1:27: unknown key "HostEnvironmentVariable", did you mean "HostEnvironmentVariables"?',
        ),
        ('{"ApplicationPath": "/a", "Zebra": 1}', '1:27: unknown key "Zebra"'),
        (
            '{"ApplicationPath": "/a", "Mount": [{"Target": "/b", "Type": "ramfs", "Roothash": null}]}',
            '1:71: Mount[0]: unknown key "Roothash", did you mean "RootHash"?',
        ),
        (
            '{"ApplicationPath": "/a", "ApplicationPath": "/a"}',
            '1:27: duplicate key "ApplicationPath", first at 1:2',
        ),
        (
            '{"ApplicationPath": "/a", "MemorySize": 2097152, "UserMemSize": 2097152}',
            "1:50: UserMemSize: the same setting as MemorySize, given already",
        ),
        (
            "{}",
            "1:1: ApplicationPath: missing, expected an absolute path of a file in the application directory",
        ),
        ("[]", '1:1: got a list, expected an object, "{ … }"'),
        ("7", '1:1: got 7, expected an object, "{ … }"'),
    ],
)
def test_keys_that_do_not_belong_are_told_with_the_nearest_known_one(text: str, mistake: str) -> None:
    assert mistakes(text) == [f"config.json:{mistake}"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """{
    "version": "0.1",
    "Debgu": 1, // a slip
    "ProductID": 70000,
    "ApplicationPath": "bin/hello",
    "NoBrk": True,
    "MemorySize": "40q",
    "EnvironmentVariables": ["A=1", "A=2"],
    "Mount": [{"Target": "/x", "Type": "hostfs"}, {"Target": "/x", "Type": "nfs"}],
}"""
    assert mistakes(text) == [
        'config.json:3:5: unknown key "Debgu", did you mean "Debug"?',
        "config.json:4:18: ProductID: got 70000, expected a whole number from 0 to 65535",
        'config.json:5:24: ApplicationPath: got "bin/hello", '
        "expected an absolute path of a file in the application directory",
        "config.json:6:14: True is not JSON, write true",
        'config.json:7:19: MemorySize: got "40q", '
        "expected bytes or a number with suffix k, m or g, 64k to 1024g",
        "config.json:8:37: EnvironmentVariables[1]: A is given already by EnvironmentVariables[0]",
        'config.json:9:76: Mount[1].Type: got "nfs", expected "hostfs", "ext2" or "ramfs"',
        'config.json:9:83: comma before "}"',
    ]


def test_a_stack_that_does_not_fit_is_told_where_the_size_stands() -> None:
    assert mistakes('{"ApplicationPath": "/a", "MemorySize": "1m"}') == [
        "config.json:1:41: MemorySize: 1536k does not fit in MemorySize, expected less than 1m"
    ]


def test_a_wrong_value_is_repeated_in_part_and_on_one_line_only() -> None:
    (mistake,) = mistakes_with(ForkMode="x\n\x1b[31m" + "y" * 500)

    assert len(mistake) < 200
    assert mistake.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "{" + ", ".join(f'"{n:x}key": 1' for n in range(50_000)) + "}",
        '{"Mount": [' + ", ".join(['{"x": 1}'] * 50_000) + "]}",
        '{"ApplicationParameters": [' + ", ".join(["7"] * 200_000) + "]}",
        "[" + ", ".join(["007"] * 100_000) + "]",
        '{"' + "x" * 1_000_000 + '": 1}',
        '{"ForkMode": "' + "x" * 1_000_000 + '"}',
    ],
    ids=["unknown keys", "unknown keys inside", "wrong items", "no JSON", "a long key", "a long value"],
)
def test_a_file_full_of_mistakes_is_told_in_part_and_in_time(text: str) -> None:
    start = time.process_time()

    told = mistakes(text)

    assert time.process_time() - start < 5
    assert len(told) <= 101
    assert sum(map(len, told)) < 50_000
    assert len(told) < 101 or told[-1] == "config.json: there are more mistakes than these"


def test_a_file_that_is_no_config_is_refused_whole() -> None:
    assert mistakes(b"\x7fELF\xff") == ["config.json:1:5: byte 0xff is not UTF-8"]
    assert mistakes(b" " * (1 << 20) + b"{}") == ["config.json: larger than 1 MiB, expected a config file"]


def test_a_config_remembers_its_source_and_where_its_keys_stand(tmp_path: Path) -> None:
    file = tmp_path / "my.json"
    file.write_bytes(SAMPLE)

    config = load(file)

    assert config.source == SAMPLE
    assert config.name == str(file)
    assert str(config.places["ApplicationParameters[4]"]) == "13:9"


def test_a_config_made_by_hand_keeps_the_rules_too() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(application_path=b"hello", memory_size=-1)

    assert [problem.subject for problem in caught.value.problems] == ["ApplicationPath", "MemorySize"]


def _shown(value: object) -> str:
    return "a list" if isinstance(value, list) else json.dumps(value)
