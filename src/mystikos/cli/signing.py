"""Options that name who signs: a key file, a token, a command or a plugin; exactly one of them.

Secrets never come from the command line itself, which everyone on the machine can read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from mystikos.cli.keys import DESCRIPTOR, ask_secret, given_secret, load_signer, passphrase_options
from mystikos.cli.verb import Choice, complete_files
from mystikos.signers import Signer

_Function = TypeVar("_Function", bound=Callable[..., Any])

_FILE: Any = {"metavar": "FILE", "shell_complete": complete_files}
_OPTIONS = (
    click.option(
        "--pkcs11-module",
        metavar="FILE",
        shell_complete=complete_files,
        help="Sign with a token, through this PKCS#11 module.",
    ),
    click.option("--pkcs11-token", metavar="LABEL", help="The token.  [default: the only one there is]"),
    click.option("--pkcs11-key", metavar="LABEL|URI", help="The key: its label, or a pkcs11: URI."),
    click.option("--pkcs11-key-id", metavar="HEX", help="The key's id."),
    click.option("--pin-env", metavar="NAME", help="Take the token's PIN from this environment variable."),
    click.option(
        "--pin-fd",
        metavar="N",
        type=DESCRIPTOR,
        help="Read the token's PIN from this file descriptor, up to the end of its first line.",
    ),
    click.option(
        "--signing-command",
        metavar="CMD",
        help="Sign with a command: it reads what is to be signed and writes the signature.",
    ),
    click.option(
        "--signing-input",
        type=Choice(["message", "digest"]),
        help="What the command reads: the 256 bytes, or their SHA-256 (32 bytes).  [default: message]",
    ),
    click.option(
        "--signing-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True, max=1e6),
        help="How long the command may take.  [default: 300]",
    ),
    click.option(
        "--pubkey-file",
        metavar="FILE",
        shell_complete=complete_files,
        help="The public key of the command's key, in PEM form.",
    ),
    click.option("--signer", metavar="NAME", help="Sign with a plugin (entry point mystikos.signers)."),
    click.option(
        "--signer-option", metavar="NAME=VALUE", multiple=True, help="An option of the plugin's own."
    ),
    click.option("--signing-engine-name", metavar="NAME", help="As in the original: pkcs11 is the only one."),
    click.option("--signing-engine-path", **_FILE, help="As --pkcs11-module."),
    click.option("--signing-engine-key", metavar="LABEL|URI", help="As --pkcs11-key."),
)


@dataclass(frozen=True)
class Signing:
    """The values of the options."""

    passphrase_env: str | None = None
    passphrase_fd: int | None = None
    pkcs11_module: str | None = None
    pkcs11_token: str | None = None
    pkcs11_key: str | None = None
    pkcs11_key_id: str | None = None
    pin_env: str | None = None
    pin_fd: int | None = None
    signing_command: str | None = None
    signing_input: str | None = None
    signing_timeout: float | None = None
    pubkey_file: str | None = None
    signer: str | None = None
    signer_option: tuple[str, ...] = ()
    signing_engine_name: str | None = None
    signing_engine_path: str | None = None
    signing_engine_key: str | None = None

    @property
    def by_key_file(self) -> bool:
        """Whether no option names another signer, so that a KEY argument has to."""
        return self._source() is None

    def load(self, key: Path | None) -> Signer:
        """The signer: the one the options name, else the private key in the file ``key``."""
        source = self._source()
        self._refuse_strays(source)
        if source == "pkcs11":
            return self._token()
        if source == "command":
            return self._command()
        if source == "plugin":
            return self._plugin()
        if key is None:
            raise click.UsageError("no signer: give a KEY file or one of the options that name a signer")
        return load_signer(key, self.passphrase_env, self.passphrase_fd)

    def _source(self) -> str | None:
        named = [source for source, names in _NAMES.items() if any(self._given(name) for name in names)]
        if len(named) > 1:
            raise click.UsageError(
                f"the options name {len(named)} signers ({', '.join(named)}), expected one"
            )
        return named[0] if named else None

    def _given(self, name: str) -> bool:
        return getattr(self, name) not in (None, ())

    def _refuse_strays(self, source: str | None) -> None:
        """An option that would have no effect is a mistake somewhere."""
        for owner, names in _DETAILS.items():
            strays = [name for name in names if self._given(name)]
            if strays and owner != source:
                option = f"--{strays[0].replace('_', '-')}"
                raise click.UsageError(f"{option} has no effect: {_WITHOUT[owner]}")

    def _token(self) -> Signer:
        from mystikos.signers.pkcs11 import Pkcs11Signer

        key = self._token_key()
        given = given_secret("pin", self.pin_env, self.pin_fd)
        return Pkcs11Signer.open(
            key, lambda: given if given is not None else ask_secret(f"PIN of {key.token or 'the token'}")
        )

    def _token_key(self) -> Any:
        from mystikos.signers.pkcs11 import TokenKey

        engine = [self.signing_engine_name, self.signing_engine_path, self.signing_engine_key]
        module, name = self.pkcs11_module, self.pkcs11_key
        if any(value is not None for value in engine):
            if module is not None or name is not None:
                raise click.UsageError(
                    "--signing-engine-… and --pkcs11-module or --pkcs11-key exclude each other"
                )
            if self.signing_engine_name != "pkcs11":
                raise click.UsageError(
                    f'--signing-engine-name: got "{self.signing_engine_name or ""}", expected pkcs11: '
                    "engines of OpenSSL are not supported; name the token's PKCS#11 module with "
                    "--signing-engine-path, or sign with --signing-command"
                )
            module, name = self.signing_engine_path, self.signing_engine_key
        return TokenKey.parse(name, module).narrowed(self.pkcs11_token, self._key_id())

    def _key_id(self) -> bytes | None:
        try:
            return None if self.pkcs11_key_id is None else bytes.fromhex(self.pkcs11_key_id)
        except ValueError as error:
            raise click.UsageError(f'--pkcs11-key-id: got "{self.pkcs11_key_id}", expected hex') from error

    def _command(self) -> Signer:
        from mystikos.signers import load_public_modulus
        from mystikos.signers.command import DEFAULT_TIMEOUT, CommandSigner, Input

        if self.signing_command is None or self.pubkey_file is None:
            raise click.UsageError("--signing-command and --pubkey-file belong together")
        return CommandSigner(
            self.signing_command,
            load_public_modulus(self.pubkey_file),
            Input(self.signing_input or "message"),
            DEFAULT_TIMEOUT if self.signing_timeout is None else self.signing_timeout,
        )

    def _plugin(self) -> Signer:
        from mystikos.signers import plugins

        assert self.signer is not None
        options: dict[str, str] = {}
        for option in self.signer_option:
            name, equals, value = option.partition("=")
            if not name or not equals or name in options:
                raise click.UsageError(
                    f'--signer-option: got "{option}", expected NAME=VALUE, each name once'
                )
            options[name] = value
        return plugins.load(self.signer, options)


# what names a signer, and what only tells more about it
_NAMES = {
    "pkcs11": (
        "pkcs11_module",
        "pkcs11_key",
        "signing_engine_name",
        "signing_engine_path",
        "signing_engine_key",
    ),
    "command": ("signing_command",),
    "plugin": ("signer",),
}
_DETAILS: dict[str | None, tuple[str, ...]] = {
    None: ("passphrase_env", "passphrase_fd"),
    "pkcs11": ("pkcs11_token", "pkcs11_key_id", "pin_env", "pin_fd"),
    "command": ("signing_input", "signing_timeout", "pubkey_file"),
    "plugin": ("signer_option",),
}
_WITHOUT = {
    None: "it is for a KEY file",
    "pkcs11": "it is for a token, which --pkcs11-module names",
    "command": "it is for --signing-command",
    "plugin": "it is for a plugin, which --signer names",
}


def signing_options(command: _Function) -> _Function:
    """Add the options; the command gets them as one ``signing: Signing``."""

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        own = {field.name: values.pop(field.name) for field in fields(Signing)}
        return command(signing=Signing(**own), **values)

    decorated: Any = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return passphrase_options(decorated)  # type: ignore[no-any-return]
