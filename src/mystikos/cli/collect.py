"""``myst collect``: a program of this machine into an application directory."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli import terminal
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import Choice, FileName, complete_files, verb
from mystikos.collect import Choice as Library
from mystikos.collect import Collected, collect
from mystikos.rootfs import printable


@verb(
    "collect",
    examples=[
        "myst collect ./hello -o appdir",
        "myst collect python3 app.py=/app/app.py -o appdir --include /app/templates",
    ],
)
@click.argument("programs", metavar="PROGRAM...", nargs=-1, required=True, shell_complete=complete_files)
@click.option(
    "-o",
    "--output",
    type=FileName(),
    required=True,
    help="The new or empty directory.",
)
@click.option(
    "--include",
    metavar="PATH",
    shell_complete=complete_files,
    multiple=True,
    help="Also bring this file or directory; PATH=PLACE puts it elsewhere. May be repeated.",
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Leave out of directories what has this name or path, such as '*.txt'. May be repeated.",
)
@click.option(
    "--python",
    type=Choice([choice.value for choice in Library]),
    default=Library.STANDARD.value,
    show_default=True,
    metavar="HOW_MUCH",
    help="How much of a Python's standard library to bring: all but test suites, Tk and developing tools; "
    "what small scripts import; what `python3 -c pass` imports, to start fastest; everything; nothing.",
)
@json_option
def command(
    programs: tuple[str, ...],
    output: Path,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    python: str,
    as_json: bool,
) -> None:
    """Copy PROGRAM, its loader, its shared libraries and what else it is known to need into a directory.

    PROGRAM is a name in PATH, or a path. What is installed keeps its path; a file such as ./hello becomes
    /bin/hello; PROGRAM=PLACE puts it elsewhere. The interpreters of scripts come along, and with a Python
    its standard library. Nothing is executed. Plugins, locales, certificates and data files cannot be seen
    from outside: name them with --include.
    """
    with progress_bar("copying") as progress:
        done = collect(
            programs, output, include=include, exclude=exclude, python=Library(python), progress=progress
        )
    for warning in done.warnings:
        terminal.warn(display(warning))
    if as_json:
        click.echo(to_json({"directory": output, **{name: getattr(done, name) for name in _FACTS}}))
    else:
        terminal.tell(_summary(output, done))


_FACTS = ("programs", "libraries", "pythons", "files", "size", "warnings")


def _summary(output: Path, done: Collected) -> str:
    files = "file" if done.files == 1 else "files"
    lines = [f"{output}: {done.files} {files}, {done.size / 2**20:.1f} MiB"]
    lines += [f"  program    {printable(path)}" for path in done.programs]
    lines += [f"  python     3.{python.minor}, {printable(python.library)}" for python in done.pythons]
    lines += [f"  library    {printable(path)}" for path in sorted(set(done.libraries.values()))]
    lines.append(f'Next: set "ApplicationPath": "{printable(done.programs[0])}" in the config.')
    return "\n".join(lines)
