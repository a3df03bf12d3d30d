"""What the exec verbs share: their options, and a package of an application directory run from memory.

``exec-linux`` and ``exec-sgx`` differ in nothing but the target.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from mystikos import config as configs
from mystikos import launcher
from mystikos.cli.progress import progress_bar
from mystikos.cli.verb import FileName
from mystikos.config import Config
from mystikos.errors import ConfigError
from mystikos.launcher import Target

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PATH = FileName()

# After the root file system, everything belongs to the program.
SETTINGS = {"allow_interspersed_args": False}


@dataclass(frozen=True)
class _Option:
    """An option that becomes an argument of the launcher, or a setting of the config."""

    name: str
    help: str
    key: str = ""  # of the config; empty: the launcher's
    flag: bool = False
    metavar: str | None = None

    @property
    def parameter(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")


_OPTIONS = (
    _Option("--strace", "Trace system calls.", flag=True),
    _Option("--strace-failing", "Trace system calls that fail.", flag=True),
    _Option("--strace-filter", "Trace only these system calls.", metavar="NAME[:NAME…]"),
    _Option("--strace-exclude-filter", "Trace all but these system calls.", metavar="NAME[:NAME…]"),
    _Option("--strace-filter-tid", "Trace only this thread.", metavar="TID"),
    _Option("--strace-filter-pid", "Trace only this process.", metavar="PID"),
    _Option(
        "--trace-errors", "Tell which calls fail, where they are made, and the kernel's limits.", flag=True
    ),
    _Option("--perf", "Print counts and times of system calls at the end.", flag=True),
    _Option("--max-affinity-cpus", "How many processors the program sees.", metavar="N"),
    _Option("--host-to-enc-uid-map", "Pairs of host and program user IDs.", metavar="HOST:ENC[,…]"),
    _Option("--host-to-enc-gid-map", "Pairs of host and program group IDs.", metavar="HOST:ENC[,…]"),
    _Option("--memory-size", "Memory for the program, with k, m or g.", "MemorySize", metavar="SIZE"),
    _Option("--main-stack-size", "Stack of the first thread.", "MainStackSize", metavar="SIZE"),
    _Option("--thread-stack-size", "Stack of every further thread.", "ThreadStackSize", metavar="SIZE"),
    _Option("--nobrk", "Let brk(2) fail.", "NoBrk", flag=True),
    _Option("--exec-stack", "Make stacks executable.", "ExecStack", flag=True),
    _Option("--host-uds", "Let the program connect to host sockets.", "HostUDS", flag=True),
    _Option("--fork-mode", "none, pseudo or pseudo_wait_for_exit_exec.", "ForkMode", metavar="MODE"),
    _Option(
        "--unhandled-syscall-enosys",
        "Answer unknown system calls with ENOSYS.",
        "UnhandledSyscallEnosys",
        flag=True,
    ),
)


_ARGUMENTS = (
    click.argument("rootfs", type=_PATH),
    click.argument("program", required=False),
    click.argument("args", nargs=-1, type=click.UNPROCESSED),
    click.option(
        "--app-config-path",
        type=_PATH,
        help="Take the settings from this config; its ApplicationPath and ApplicationParameters win over "
        "PROGRAM and ARGS.",
    ),
    click.option("--mount", multiple=True, metavar="SOURCE=TARGET", help="Mount a host directory or image."),
)


@dataclass(frozen=True)
class Execution:
    """What is to be run, and how: the arguments and options of an exec verb."""

    rootfs: Path
    program: str | None
    args: tuple[str, ...]
    app_config_path: Path | None
    mount: tuple[str, ...]
    given: dict[_Option, Any]

    def __post_init__(self) -> None:
        if self.mount:
            raise click.UsageError("--mount is not built yet: put the files into the root file system")
        if self.program is None and self.app_config_path is None:
            raise click.UsageError("got no program, expected its path in the root file system")

    def start(self, target: Target) -> NoReturn:
        """Become the program, in a package that exists nowhere but in memory."""
        settings = {option.key: value for option, value in self.given.items() if option.key}
        config = _config(self.program, self.app_config_path, settings)
        arguments = [*_launcher_arguments(self.given), "--", *self.args]

        package = _package(self.rootfs, config)
        sys.stdout.flush()
        launcher.execute(package, [config.application_path, *arguments], target=target)


def execution_options(function: _Function) -> _Function:
    """Give a verb all of the options; it receives them as one ``execution``."""

    @functools.wraps(function)
    def wrapper(**given: Any) -> Any:
        values = {option: given.pop(option.parameter) for option in _OPTIONS}
        own = {name: given.pop(name) for name in ("rootfs", "program", "args", "app_config_path", "mount")}
        wanted = {option: value for option, value in values.items() if value not in (None, False)}
        return function(execution=Execution(**own, given=wanted), **given)

    command: Any = wrapper
    for decorate in reversed([*_ARGUMENTS, *map(_click_option, _OPTIONS)]):
        command = decorate(command)
    return command  # type: ignore[no-any-return]


def _click_option(option: _Option) -> Callable[[_Function], _Function]:
    return click.option(
        option.name,
        option.parameter,
        is_flag=option.flag,
        default=False if option.flag else None,
        metavar=option.metavar,
        help=option.help,
    )


def _config(program: str | None, path: Path | None, settings: dict[str, Any]) -> Config:
    """The settings of one run; options that are given win over a config file."""
    if path is None:
        settings = {
            "ApplicationPath": "/" + (program or "").lstrip("/"),
            "HostApplicationParameters": True,
            **settings,
        }
        return _parsed(settings)
    config = configs.load(path)
    sizes = {"MemorySize": config.memory_size, "MainStackSize": config.main_stack_size}
    options = _parsed({"ApplicationPath": "/any", **sizes, **settings})
    changes = {row.attribute: getattr(options, row.attribute) for row in configs.KEYS if row.name in settings}
    return replace(config, debug=True, **changes)


def _parsed(settings: dict[str, Any]) -> Config:
    """A config of these settings; what is wrong with them is told by option."""
    names = {option.key: option.name for option in _OPTIONS}
    try:
        config = configs.parse(json.dumps({"Debug": True, **settings}).encode(), "command line")
    except ConfigError as exc:
        problem = exc.problems[0]
        expected = f", expected {problem.expected}" if problem.expected else ""
        name = names.get(problem.subject, "the program")
        raise click.UsageError(f"{name}: {problem.found}{expected}") from exc
    return replace(config, places={})  # lines and columns of that text would tell nobody anything


def _launcher_arguments(given: dict[_Option, Any]) -> Iterator[str]:
    for option, value in given.items():
        if not option.key:
            yield option.name if option.flag else f"{option.name}={value}"


def _package(rootfs: Path, config: Config) -> int:
    """A descriptor of the package, which exists nowhere but in memory."""
    from mystikos import pipeline

    with progress_bar("measuring") as progress:
        return pipeline.build_in_memory(rootfs, config, progress=progress)
