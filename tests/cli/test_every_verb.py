"""What holds for every verb: help with examples, options that mean one thing, one JSON document, no crash."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shlex
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.support import packages, tokens
from tests.support.rounds import rounds

from mystikos import launcher
from mystikos.cli import ALIASES, VERBS, _myst, main
from mystikos.cli.verb import Verb
from mystikos.formats import atomic


def command_of(verb: str) -> Verb:
    command = importlib.import_module(f"mystikos.cli.{VERBS[verb].module}").command
    assert isinstance(command, Verb)
    return command


def options_of(verb: str) -> list[click.Option]:
    return [one for one in command_of(verb).params if isinstance(one, click.Option)]


WITH_JSON = [verb for verb in VERBS if any("--json" in option.opts for option in options_of(verb))]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_is_short_and_ends_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0

    before, _, examples = capsys.readouterr().out.partition("\nExamples:\n")
    assert examples.splitlines() == [f"  {line}" for line in command_of(verb).examples]
    assert all(f"myst {verb}" in line for line in examples.splitlines())
    description = before.partition("Options:")[0].splitlines()
    assert len(description) <= 25, "a guide is the place for more"
    assert [line for line in (before + examples).splitlines() if len(line) > 80] == []


def myst_lines(verb: str) -> Iterator[list[str]]:
    """The arguments of every `myst` in the examples."""
    for example in command_of(verb).examples:
        for line in re.findall(rf"myst {verb}[^|&)]*", example):
            words = shlex.split(line, comments=True)
            yield words[1 : words.index(">")] if ">" in words else words[1:]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_are_right_usage(verb: str) -> None:
    lines = list(myst_lines(verb))

    assert lines
    for _, *arguments in lines:
        command_of(verb).make_context(f"myst {verb}", arguments, parent=click.Context(_myst))


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_spelt_alike_and_say_what_they_do(verb: str) -> None:
    for option in options_of(verb):
        names = [*option.opts, *option.secondary_opts]
        assert all(re.fullmatch(r"-[a-z]|--[a-z0-9]+(-[a-z0-9]+)*", name) for name in names), names
        assert any(name.startswith("--") for name in names), f"{names} has no long name"
        assert option.help, names
        assert option.help.partition("  [default")[0].endswith("."), option.help


def test_an_option_means_the_same_in_every_verb() -> None:
    short: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, set[tuple[bool, bool]]] = defaultdict(set)
    for verb in VERBS:
        for option in options_of(verb):
            long = next(name for name in option.opts if name.startswith("--"))
            kinds[long].add((option.is_flag, option.multiple))
            for name in option.opts:
                if not name.startswith("--"):
                    short[name].add(long)

    assert short.pop("-o") == {"--output", "--outfile"}  # a directory, a file
    assert {name: longs for name, longs in short.items() if len(longs) > 1} == {}
    several = {name: kind for name, kind in kinds.items() if len(kind) > 1}
    assert several == {
        "--policy": {(True, False), (False, False)},  # the schema of it; the file
        "--pubkey": {(False, False), (False, True)},  # who signed; of disks, several may be trusted
        "--signer": {(False, False), (False, True)},  # who signs; who may have signed
    }


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_takes_a_file_completes_files(verb: str) -> None:
    for option in options_of(verb):
        if option.metavar in ("FILE", "DIR", "PATH") and "--application-path" not in option.opts:
            context = click.Context(command_of(verb))
            completions = option.shell_complete(context, "")
            assert [item.type for item in completions] in (["file"], ["dir"]), option.opts


@pytest.mark.parametrize("verb", [*VERBS, *ALIASES])
def test_bad_usage_is_told_with_a_hint(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--no-such-option"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith('myst: no such option "--no-such-option"')
    assert f"`myst {verb} --help` shows the usage" in err


@pytest.fixture
def home(workplace: Path, signing_key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace, with one of everything that a verb takes."""
    (workplace / "private.pem").write_bytes(signing_key.read_bytes())
    (workplace / "private.pem").chmod(0o600)
    tokens.openssl("rsa", "-in", str(signing_key), "-pubout", "-out", "public.pem")
    assert main(["package-sgx", "-q", "appdir", "private.pem", "config.json", "-o", "app"]) == 0
    assert main(["digest", "-q", "appdir", "config.json", "--pubkey", "public.pem"]) == 0
    assert main(["mkcpio", "appdir", "rootfs.cpio"]) == 0
    tokens.sign_request(signing_key)
    return workplace


# for every verb with --json, a command line that succeeds (or answers no)
JSON_LINES = {
    "init": "init new",
    "collect": "collect /bin/true -o collected",
    "keygen": "keygen new.pem",
    "check": "check config.json appdir",
    "package-sgx": "package-sgx appdir private.pem config.json -o again",
    "sign-sgx": "sign-sgx appdir private.pem config.json",
    "measure": "measure appdir config.json",
    "digest": "digest appdir config.json -o again.json",
    "attach": "attach appdir config.json request.json --signature raw.sig --pubkey public.pem -o again",
    "verify": "verify app",
    "inspect": "inspect app",
    "dump-sgx": "dump-sgx app",
    "diff": "diff app app",
    "extract": "extract app -o parts",
    "doctor": "doctor",
    "mkcpio": "mkcpio appdir again.cpio",
    "excpio": "excpio rootfs.cpio unpacked",
    "fsgsbase": "fsgsbase",
}


@pytest.mark.parametrize("verb", WITH_JSON)
def test_json_is_exactly_one_document_on_standard_output(
    verb: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (["--json"], ["--json", "--quiet"], ["--json", "-vv"], ["--json", "--color", "always"]):
        target = home / str(len(options)) / options[-1]
        target.mkdir(parents=True)
        line = JSON_LINES[verb].split()
        if "-o" in line:
            line[line.index("-o") + 1] = str(target / "output")
        elif verb in ("init", "keygen", "mkcpio", "excpio"):
            line[-1] = str(target if verb == "init" else target / "output")
        capsys.readouterr()

        assert main([*line, *options]) in (0, 1)

        out = capsys.readouterr().out
        document, end = json.JSONDecoder().raw_decode(out)
        assert out[end:] == "\n"
        assert isinstance(document, dict | list)


def test_every_verb_that_tells_or_makes_something_does_so_for_programs_too() -> None:
    assert set(VERBS) - set(WITH_JSON) == {
        *("exec-linux", "exec-sgx"),  # the program's output
        *("schema", "completion", "man"),  # of one form
    }


def errors_of(out: str) -> list[dict[str, str | None]]:
    """What a failure says to programs: one document, the keys that the documentation promises."""
    document = json.loads(out)
    assert list(document) == ["errors"]
    assert document["errors"]
    for error in document["errors"]:
        assert list(error) == ["message", "where", "found", "expected", "hint"]
    return document["errors"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("verb", WITH_JSON)
def test_with_json_wrong_usage_is_one_document_as_well(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([verb, "--json", "--no-such-option"], [verb, "--no-such-option", "--json"]):
        assert main(arguments) == 2

        out, err = capsys.readouterr()
        (error,) = errors_of(out)
        assert str(error["message"]).startswith('no such option "--no-such-option"')
        assert error["hint"] == f"`myst {verb} --help` shows the usage"
        assert err.startswith(f"myst: {error['message']}\n")


@pytest.mark.parametrize("verb", sorted(set(WITH_JSON) - {"doctor", "fsgsbase", "check"}))
def test_with_json_bad_input_is_one_document_as_well(
    verb: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "nowhere").write_bytes(b"no package, config, key, archive or program")
    line = [arg for arg in JSON_LINES[verb].split() if not arg.startswith("--date")]
    places = [i for i in range(1, len(line)) if (home / line[i].partition("=")[0]).exists()]
    spoiled = [line[:1], *([*line[:i], "nowhere", *line[i + 1 :]] for i in places)]
    failed = 0
    for arguments in spoiled:
        capsys.readouterr()
        status = main([*arguments, "--json"])
        out, err = capsys.readouterr()
        if status == 2:
            failed += 1
            for error in errors_of(out):
                assert str(error["message"]).splitlines()[0] in err
        else:
            assert json.loads(out)
    assert failed


def test_with_json_an_unknown_verb_is_one_document_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verfy", "app", "--json"]) == 2

    assert errors_of(capsys.readouterr().out)[0]["message"] == 'no verb "verfy", did you mean "verify"?'


def test_with_json_every_mistake_of_a_config_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.json").write_text('{"ApplicationPath": "/bin/app",\n "MemorySize": "40q",\n "Debgu": 1}')
    capsys.readouterr()

    assert main(["measure", "appdir", "config.json", "--json"]) == 2

    errors = errors_of(capsys.readouterr().out)
    assert [error["where"] for error in errors] == ["config.json:2:16: MemorySize", "config.json:3:2"]


def test_what_is_meant_for_a_program_in_the_package_asks_nothing_of_myst(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for line in ("exec-linux nowhere /bin/app --json", "measure nowhere -- --json", "schema --json"):
        assert main(line.split()) == 2
        assert capsys.readouterr().out == ""


def path_parameters() -> list[tuple[str, str]]:
    """Every argument and option that is a path, by verb."""
    return [
        (verb, parameter.name or "")
        for verb in VERBS
        for parameter in command_of(verb).params
        if isinstance(parameter.type, click.Path)
    ]


@pytest.mark.parametrize(("verb", "name"), path_parameters())
def test_an_empty_path_is_a_mistake_and_not_the_working_directory(verb: str, name: str) -> None:
    """It is what a shell makes of a variable that is not set."""
    command = command_of(verb)
    parameter = next(one for one in command.params if one.name == name)
    context = click.Context(command)

    value = ("",) if parameter.nargs == -1 or parameter.multiple else ""
    with pytest.raises(click.BadParameter, match="is empty, expected a path"):
        parameter.type_cast_value(context, value)


@pytest.mark.parametrize(
    "line",
    [
        "package-sgx {} private.pem config.json -o out",
        "measure {} config.json",
        "inspect {}",
        "diff {} app",
        "diff app {}",
        "verify {}",
        "excpio {} out",
        "extract {} -o out",
        "exec-linux {} /bin/app",
    ],
)
def test_a_pipe_in_the_place_of_a_directory_or_an_archive_is_told(
    line: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not waited for: nobody writes to it."""
    os.mkfifo(home / "pipe")
    capsys.readouterr()

    assert main(line.format("pipe").split()) == 2
    assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["package-sgx", "sign-sgx", "digest", "mkcpio"])
def test_an_output_inside_the_application_directory_is_refused(
    verb: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be part of the next one."""
    line = {
        "package-sgx": "package-sgx appdir private.pem config.json -o appdir/out",
        "sign-sgx": "sign-sgx appdir private.pem config.json --outdir appdir/out",
        "digest": "digest appdir config.json -o appdir/out",
        "mkcpio": "mkcpio appdir appdir/out",
    }[verb]
    capsys.readouterr()

    assert main(line.split()) == 2
    assert "appdir/out: lies inside the application directory appdir" in capsys.readouterr().err
    assert not (home / "appdir/out").exists()


@pytest.mark.parametrize("option", ["--passphrase-fd", "--pin-fd"])
def test_a_descriptor_is_an_int(option: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert main(f"package-sgx appdir private.pem config.json {option} {2**31}".split()) == 2
    assert f"{2**31} is not in the range" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named_also_where_only_reading_fails(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (
        "check /proc/self/mem",
        "verify app --policy /proc/self/mem",
        "attach appdir config.json /proc/self/mem --signature raw.sig --pubkey public.pem",
    ):
        capsys.readouterr()
        assert main(line.split()) == 2
        assert capsys.readouterr().err == "myst: /proc/self/mem: input/output error\n"


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("sign-sgx appdir private.pem config.json --outdir out", "out/bin/app"),
        ("collect /bin/true -o out", "out/"),
    ],
)
def test_what_cannot_be_written_has_the_name_that_was_asked_for(
    line: str, file: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    capsys.readouterr()
    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(atomic._OutputFile, "write", lambda self, _: full_output(self._shown))
    assert main(line.split()) == 2

    assert capsys.readouterr().err.startswith(f"myst: {file}")


def full_output(shown: Path) -> NoReturn:
    raise atomic.output_error(shown, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


@pytest.mark.parametrize("line", ["verify app", "check config.json appdir", "diff app app"])
def test_quiet_answers_with_the_exit_code_alone(
    line: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for arguments in ([*line.split(), "-q"], ["-q", *line.split()]):
        assert main(arguments) == 0

    assert capsys.readouterr() == ("", "")


def test_quiet_still_tells_errors(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert main(["verify", "-q", "config.json"]) == 2
    assert capsys.readouterr().err.startswith("myst: config.json: ")


def test_verbose_tells_the_steps_on_standard_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["package-sgx", "-v", "appdir", "private.pem", "config.json"]) == 0
    steps = capsys.readouterr().err
    assert [word for word in ("root file system:", "layout:", "measured:", "signed:") if word in steps] != []
    assert "bin/app" not in steps

    assert main(["-vv", "package-sgx", "appdir", "private.pem", "config.json"]) == 0
    assert "bin/app: " in capsys.readouterr().err

    assert main(["package-sgx", "appdir", "private.pem", "config.json"]) == 0
    assert capsys.readouterr().err == ""


class _Executed(BaseException):
    """The program would be running now."""


OPTIONS = sorted({name for verb in VERBS for option in options_of(verb) for name in option.opts})
WORDS = [
    *VERBS, *ALIASES, *OPTIONS,
    *("appdir", "config.json", "private.pem", "public.pem", "app", "request.json", "raw.sig"),
    *("rootfs.cpio", "out", "nowhere", "none/there", "./app=place", "/bin/true", "/bin/app"),
    *("", "-", "--", "-1", "0", "7", "70000", "1e9", "40q", "64m", "x=y", "=", "a:b", "json", "\x1b[31m"),
    *("rootfs", "config", "always", "message", "2026-01-01", "yes\nno", "é", "\udcff", "sgx", "bash"),
]  # fmt: skip
_ARGUMENT = st.characters(exclude_characters="\0", exclude_categories=["Cs"])  # what execve(2) passes
LINES = st.lists(st.one_of(st.sampled_from(WORDS), st.text(_ARGUMENT, max_size=5)), max_size=9)


@rounds(200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*VERBS, *ALIASES, "--quiet"]), LINES)
def test_random_command_lines_never_end_in_a_traceback(
    home: Path, capfd: pytest.CaptureFixture[str], verb: str, arguments: list[str]
) -> None:
    def executed(*_: object, **__: object) -> NoReturn:
        raise _Executed

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=home) as place:
        for file in home.iterdir():
            if file.is_file():
                shutil.copy(file, place)
        packages.appdir(Path(place) / "appdir")
        patch.chdir(place)
        patch.setattr(launcher, "execute", executed)
        patch.setenv("SHELL", "/bin/sh")
        try:
            status = main([verb, *arguments])
        except _Executed:
            return

    out, err = capfd.readouterr()
    assert status in (0, 1, 2), err
    assert "Traceback" not in err
    assert "internal error" not in err
    assert (
        status != 2 or err != "" or ("--json" in arguments and out != "")
    )  # `check` tells it in its document
