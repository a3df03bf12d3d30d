"""Stage 1: the settings of a package, one frozen ``Config``; its fields are the table of keys.

The table drives the parser, the canonical record, the JSON Schema, the starter of ``myst init`` and
docs/reference/config.md.

>>> Config(application_path=b"/bin/hello").memory_size
67108864
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2

from mystikos.config.kinds import (
    INVALID,
    PAGE_SIZE,
    Choice,
    Flag,
    Integer,
    Key,
    Many,
    Records,
    Size,
    Text,
    key,
    keys_of,
)
from mystikos.errors import ConfigError, Problem
from mystikos.formats.jsonc import Place

_MIB = 1 << 20
_GIB = 1 << 30
_LARGEST_RECORD = 2 << 20  # of a config file of at most 1 MiB, with its defaults
_LONGEST_ARGUMENT = 128 * 1024 - 1  # execve(2): MAX_ARG_STRLEN, less the terminating NUL

_PATH = Text("an absolute path", pattern=r"/[^\x00]*", maximum=4095)
_ARGUMENT = Text("text without NUL characters", maximum=_LONGEST_ARGUMENT)
_LABEL = Text("text that is not empty", pattern=r"[^\x00]+", binary=False)


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A file system that the host supplies at start; its source is given then and never trusted."""

    target: bytes = key(
        "Target",
        Text(
            "a normalised absolute path other than /",
            pattern=r"(/(?!\.{1,2}(/|$))[^/\x00]+)+",
            maximum=4095,
            hint='no ".", "..", empty or trailing component',
        ),
        "Directory of the application at which the file system appears.",
    )
    type: str = key(
        "Type",
        Choice(("hostfs", "ext2", "ramfs")),
        "`hostfs`: a host directory, unprotected. `ext2`: a host disk image, verified when RootHash or "
        "PublicKey is given. `ramfs`: a CPIO archive inside the root file system.",
    )
    flags: tuple[str, ...] = key(
        "Flags", Many(Choice(("ro", "rw"))), "`ro` or `rw`.", default=(), default_text="none"
    )
    public_key: str | None = key(
        "PublicKey",
        Text("a public key or null", pattern=r"[^\x00]+", maximum=65536, binary=False, nullable=True),
        "Key that must have signed the ext2 image.",
        default=None,
    )
    root_hash: str | None = key(
        "RootHash",
        Text("a root hash or null", pattern=r"[^\x00]+", maximum=65536, binary=False, nullable=True),
        "dm-verity root hash that the ext2 image must have.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret that a provisioning service releases to the attested application."""

    id: str = key("ID", _LABEL, "Name of the secret at the service.")
    srs_address: str = key("SrsAddress", _LABEL, "Address of the secret release service.")
    srs_api_version: str = key(
        "SrsApiVersion", Text("text", binary=False), "Version of the service's interface.", default=""
    )
    local_path: str = key(
        "LocalPath",
        Text("an absolute path", pattern=r"/[^\x00]*", maximum=4095, binary=False),
        "File of the application that receives the secret.",
    )
    client_lib: str = key(
        "ClientLib",
        Text("an absolute path", pattern=r"/[^\x00]*", maximum=4095, binary=False),
        "Client library of the service, a file of the application.",
    )
    verbose: bool = key("Verbose", Flag(), "Let the client library report what it does.", default=False)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting of a package, defaults applied; sizes are bytes, what the application sees is bytes.

    ``source`` is the JSON as given, ``name`` the file it came from, ``places`` where its keys stand in it
    ("Debug", "Mount[0].Target"). Raises ConfigError when a value is none that its key allows.
    """

    version: str = key(
        "version", Choice(("0.1",)), "Version of this configuration format.", default="0.1", starter="0.1"
    )

    # the application
    application_path: bytes = key(
        "ApplicationPath",
        Text(
            "an absolute path of a file in the application directory",
            pattern=r"/([^\x00]*/)?(?!\.{1,2}$)[^/\x00]+",
            maximum=4095,
        ),
        "The program to run, a path from the root of the application directory; its base name names the "
        "package.",
        starter="/bin/hello",
    )
    application_parameters: tuple[bytes, ...] = key(
        "ApplicationParameters",
        Many(_ARGUMENT),
        "The program's arguments after argv[0], when HostApplicationParameters is false.",
        default=(),
        starter=[],
    )
    environment_variables: tuple[bytes, ...] = key(
        "EnvironmentVariables",
        Many(
            Text(
                "KEY=VALUE",
                pattern=r"[^=\x00]+=[^\x00]*",
                maximum=_LONGEST_ARGUMENT,
            )
        ),
        "The program's environment, entries KEY=VALUE. The host can never override them.",
        default=(),
        starter=[],
    )
    current_working_directory: bytes = key(
        "CurrentWorkingDirectory", _PATH, "Directory in which the program starts.", default=b"/"
    )
    hostname: str = key(
        "Hostname",
        Text(
            "1 to 64 letters, digits, dots, hyphens or underscores",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}",
            maximum=64,
            binary=False,
        ),
        "The host name that the program sees.",
        default="mystikos",
    )

    # what the host may say
    host_application_parameters: bool = key(
        "HostApplicationParameters",
        Flag(),
        "Take the program's arguments from the command line of the package instead of ApplicationParameters.",
        default=False,
        starter=False,
    )
    host_environment_variables: tuple[bytes, ...] = key(
        "HostEnvironmentVariables",
        Many(Text("the name of a variable", pattern=r"[^=\x00]+", maximum=_LONGEST_ARGUMENT)),
        "Names of the environment variables that the program may receive from the host. No other is seen.",
        default=(),
        starter=[],
    )
    host_uds: bool = key(
        "HostUDS", Flag(), "Let the program connect to Unix domain sockets of the host.", default=False
    )

    # memory and threads
    memory_size: int = key(
        "MemorySize",
        Size(64 * 1024, 1024 * _GIB),
        "Memory for the program: everything it allocates, maps and keeps on stacks.",
        default=64 * _MIB,
        alias="UserMemSize",
        starter="64m",
    )
    main_stack_size: int = key(
        "MainStackSize", Size(16 * 1024, _GIB), "Stack of the program's first thread.", default=1536 * 1024
    )
    thread_stack_size: int = key(
        "ThreadStackSize",
        Size(16 * 1024, _GIB, zero="the kernel's default"),
        "Stack of every further thread that does not ask for a size itself.",
        default=0,
        default_text="the kernel's default",
    )
    max_threads: int = key(
        "MaxThreads",
        Integer(1, 4096),
        "How many threads the enclave can run at once; each takes 60 KiB of measured or added pages.",
        default=128,
    )
    max_affinity_cpus: int = key(
        "MaxAffinityCPUs",
        Integer(0, 8192),
        "Limit of the processors that sched_getaffinity(2) reports; 0 is no limit.",
        default=0,
        default_text="no limit",
    )
    exec_stack: bool = key(
        "ExecStack",
        Flag(),
        "Give the program an executable stack, if it asks for one (PT_GNU_STACK).",
        default=False,
    )

    # system calls
    no_brk: bool = key(
        "NoBrk", Flag(), "Let brk(2) fail with ENOTSUP, so that allocators use mmap(2) only.", default=False
    )
    fork_mode: str = key(
        "ForkMode",
        Choice(("none", "pseudo", "pseudo_wait_for_exit_exec")),
        "`none`: fork(2) fails with ENOTSUP. `pseudo`: the child shares the address space and runs on a "
        "copy of its parent's stack. `pseudo_wait_for_exit_exec`: as `pseudo`, and the parent waits until "
        "the child calls exec or exits.",
        default="none",
    )
    unhandled_syscall_enosys: bool = key(
        "UnhandledSyscallEnosys",
        Flag(),
        "Answer a system call that the kernel does not handle with ENOSYS instead of ending the program.",
        default=False,
    )
    syslog_level: str = key(
        "SyslogLevel",
        Choice(("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")),
        "The least severe kernel messages that are written.",
        default="err",
    )

    # file systems and secrets
    mount: tuple[Mount, ...] = key(
        "Mount",
        Records(Mount),
        "File systems that the host supplies at start.",
        default=(),
        default_text="none",
    )
    secret: tuple[Secret, ...] = key(
        "Secret",
        Records(Secret),
        "Secrets that are fetched before the program starts.",
        default=(),
        default_text="none",
    )

    # the enclave and its identity
    create_zero_base_enclave: bool = key(
        "CreateZeroBaseEnclave",
        Flag(),
        "Put the enclave at address 0, as programs linked to a fixed address need (for those it is chosen "
        "without this key, too).",
        default=False,
    )
    enclave_start_address: int = key(
        "EnclaveStartAddress",
        Integer(PAGE_SIZE, 1 << 46, step=PAGE_SIZE),
        "The lowest address that a zero-based enclave uses.",
        default=0x10000,
    )
    debug: bool = key(
        "Debug",
        Flag(),
        "Make a debug enclave: the host can read its memory, and a machine without SGX runs the package "
        "unprotected. Off in what you release.",
        default=False,
        starter=True,
    )
    product_id: int = key(
        "ProductID", Integer(0, 65535), "ISVPRODID: tells your products apart.", default=0, starter=1
    )
    security_version: int = key(
        "SecurityVersion",
        Integer(0, 65535),
        "ISVSVN: raise it with every security fix, so that others can demand it.",
        default=0,
        starter=1,
    )

    source: bytes = field(default=b"", repr=False)
    name: str = field(default="config.json", compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        bad = [
            Problem(self.name, 0, 0, row.name, f"got {getattr(self, row.attribute)!r}", row.kind.expected())
            for row in KEYS
            if not row.kind.admits(getattr(self, row.attribute))
        ]
        if bad:
            raise ConfigError(self.name, bad)

    @property
    def program_name(self) -> str:
        """The base name of ApplicationPath, which is what packages are called."""
        return os.fsdecode(self.application_path.rsplit(b"/", 1)[-1])

    def record(self) -> bytes:
        """The canonical record, which is measured and which the kernel reads (package-format.md)."""
        facts = {row.name: row.kind.plain(getattr(self, row.attribute)) for row in KEYS}
        return cbor2.dumps(facts, canonical=True)


KEYS: tuple[Key, ...] = keys_of(Config)
"""The table of keys, in the order of the fields of Config."""


def from_record(record: bytes, source: bytes = b"", name: str = "config record") -> Config:
    """The Config that ``record`` came from; ConfigError when it is not what ``Config.record`` makes."""
    if len(record) > _LARGEST_RECORD:
        raise ConfigError(name, [Problem(name, 0, 0, "", f"{len(record)} bytes, no config has so many")])
    try:
        facts = cbor2.loads(record)
    except (cbor2.CBORDecodeError, RecursionError, UnicodeError, MemoryError, ValueError) as exc:
        raise ConfigError(name, [Problem(name, 0, 0, "", f"not CBOR: {exc}")]) from exc
    if not isinstance(facts, dict) or set(facts) != {row.name for row in KEYS}:
        raise ConfigError(name, [Problem(name, 0, 0, "", "the keys are not those of a config record")])

    values: dict[str, Any] = {row.attribute: row.kind.restore(facts[row.name]) for row in KEYS}
    bad = [
        Problem(name, 0, 0, row.name, "got another value", row.kind.expected())
        for row in KEYS
        if values[row.attribute] is INVALID
    ]
    if bad:
        raise ConfigError(name, bad)
    config = Config(**values, source=source, name=name)
    if config.record() != record:
        raise ConfigError(name, [Problem(name, 0, 0, "", "the encoding is not canonical (RFC 8949 §4.2.1)")])
    return config
