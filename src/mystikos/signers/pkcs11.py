"""Stage 5a: signing with a key in a token (HSM, smart card) through its PKCS#11 module.

Everything that can be wrong with token and key shows when the signer is opened, before any work is done:
the key must be RSA-3072 with exponent 3, and the token must sign a test message with it, for there are
tokens that hold such a key and refuse to use it. Each signature is made in a session of its own, so that
none times out while an enclave is being measured.

>>> key = TokenKey("/usr/lib/softhsm/libsofthsm2.so", label="release")
>>> signer = Pkcs11Signer.open(key, lambda: b"1234")  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from mystikos.errors import SignerError
from mystikos.signers.base import A_KEY, EXPONENT, KEY_BYTES, describe_key

if TYPE_CHECKING:
    import pkcs11

__all__ = ["Pkcs11Signer", "TokenKey"]

_INSTALL = "install it with `pip install 'mystikos[pkcs11]'`"
_TEST_MESSAGE = b"mystikos: can this token sign with this key?"  # no SIGSTRUCT: those have 256 bytes
# DigestInfo of SHA-256 (RFC 8017, 9.2, note 1), for tokens that only do the RSA part.
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True)
class TokenKey:
    """Which key of which token; what is None may be anything, but only one key may fit.

    >>> TokenKey.parse("pkcs11:token=hsm;object=release%20key", "/m.so")
    TokenKey(module='/m.so', token='hsm', label='release key', key_id=None)
    >>> TokenKey.parse("release", "/m.so").label
    'release'
    """

    module: str
    token: str | None = None
    label: str | None = None
    key_id: bytes | None = None

    @classmethod
    def parse(cls, key: str | None, module: str | None) -> TokenKey:
        """A label, or a URI of RFC 7512 with token, object, id and module-path."""
        if key is None or not key.startswith("pkcs11:"):
            return cls(_module(module), label=key)
        found = _uri_attributes(key)
        return cls(
            _module(module or _text(found, "module-path")),
            token=_text(found, "token"),
            label=_text(found, "object"),
            key_id=found.get("id"),
        )

    def narrowed(self, token: str | None, key_id: bytes | None) -> TokenKey:
        """With a token label and a key id where this one leaves them open; SignerError where it does not."""
        for name, mine, other in (("token", self.token, token), ("id", self.key_id, key_id)):
            if mine is not None and other is not None and mine != other:
                raise SignerError("PKCS#11", f"the URI and the options name another {name}", expected="one")
        return replace(self, token=self.token or token, key_id=self.key_id or key_id)

    def __str__(self) -> str:
        key_id = None if self.key_id is None else self.key_id.hex()
        parts = {"token": self.token, "key": self.label, "id": key_id}
        return " ".join([self.module, *(f"{name} {value}" for name, value in parts.items() if value)])


class Pkcs11Signer:
    """A key in a token; the PIN is kept for the second session."""

    def __init__(self, key: TokenKey, pin: str | None, modulus: int) -> None:
        self._key = key
        self._pin = pin
        self._modulus = modulus

    @classmethod
    def open(cls, key: TokenKey, pin: Callable[[], bytes | None]) -> Pkcs11Signer:
        """Log in, find the key, and try it; ``pin`` is asked only if the token wants one.

        Raises SignerError when module, token or key are not there, the PIN is wrong, or the token cannot
        sign as SGX needs it.
        """
        token = _find_token(key)
        given = _pin_of(token, key, pin)
        with _session(key, given) as session:
            private = _find_key(session, key)
            modulus = _checked_modulus(session, private, key)
        signer = cls(key, given, modulus)
        signer._try()
        return signer

    def public_modulus(self) -> int:
        return self._modulus

    def sign(self, message: bytes) -> bytes:
        with _session(self._key, self._pin) as session:
            private = _find_key(session, self._key)
            return _sign(session, private, message, self._pin)

    def _try(self) -> None:
        try:
            signature = self.sign(_TEST_MESSAGE)
        except SignerError as error:
            raise SignerError(
                error.where,
                f"the token does not sign with this key ({error.found})",
                expected="PKCS#1 v1.5 signatures with SHA-256 by a key with exponent 3",
                hint="some tokens refuse exponent 3 (FIPS 186-4 forbids it), others need CKA_SIGN on the key",
            ) from error
        if not _is_signature(signature, self._modulus):
            raise SignerError(str(self._key), "a test signature does not verify with the key's public half")


def _module(path: str | None) -> str:
    if path:
        return path
    raise SignerError("PKCS#11", "no module is named", expected="--pkcs11-module, or module-path in the URI")


def _uri_attributes(uri: str) -> dict[str, bytes]:
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    found: dict[str, bytes] = {}
    for part in [*path.split(";"), *query.split("&")]:
        name, equals, value = part.partition("=")
        if not part:
            continue
        if name in ("pin-value", "pin-source"):
            raise SignerError(
                "PKCS#11 URI", f"has {name}", expected="none", hint="use --pin-env, --pin-fd or the prompt"
            )
        if name == "type" and value == "private":
            continue
        if not equals or name in found or name not in ("token", "object", "id", "module-path"):
            raise SignerError(
                "PKCS#11 URI",
                f'has "{part}"',
                expected="token, object, id and module-path, each at most once",
            )
        found[name] = unquote_to_bytes(value)
    return found


def _text(found: dict[str, bytes], name: str) -> str | None:
    if name not in found:
        return None
    try:
        return found[name].decode()
    except UnicodeDecodeError as error:
        raise SignerError("PKCS#11 URI", f"{name} is not UTF-8", expected="text") from error


def _library() -> Any:
    try:
        import pkcs11
    except ImportError as error:
        raise SignerError("PKCS#11", "python-pkcs11 is not installed", hint=_INSTALL) from error
    return pkcs11


@contextmanager
def _told(key: TokenKey) -> Iterator[None]:
    """Errors of the token as SignerError, with the name PKCS#11 gives them."""
    library = _library()
    try:
        yield
    except library.PKCS11Error as error:
        told = _REASONS.get(type(error).__name__) or f"{type(error).__name__} {error}".strip()
        raise SignerError(str(key), told) from error


_REASONS = {
    "PinIncorrect": "the PIN is wrong",
    "PinLenRange": "the PIN has not the length the token wants",
    "PinLocked": "the PIN is locked after too many wrong ones",
    "DeviceRemoved": "the token was pulled out",
    "TokenNotPresent": "there is no token in the slot",
    "GeneralError": "GeneralError: the token does not work, or is no longer there",
    "UserNotLoggedIn": "the token wants a PIN",
    "NoSuchToken": "no such token",
    "MultipleTokensReturned": "several tokens fit: name one with --pkcs11-token",
    "NoSuchKey": "no such RSA private key in the token",
    "MultipleObjectsReturned": "several keys fit: name one with --pkcs11-key or --pkcs11-key-id",
    "KeySizeRange": "KeySizeRange: the token refuses a key of this size or exponent",
}


def _find_token(key: TokenKey) -> pkcs11.Token:
    library = _library()
    with _told(key):
        try:
            module = library.lib(key.module)
        except (RuntimeError, OSError) as error:
            if isinstance(error, library.PKCS11Error) and str(error) == "":
                raise
            raise SignerError(
                key.module, f"cannot be loaded ({error})", expected="a PKCS#11 module"
            ) from error
        wanted = {} if key.token is None else {"token_label": key.token}
        tokens = [
            token
            for token in module.get_tokens(**wanted)
            if token.flags & library.TokenFlag.TOKEN_INITIALIZED
        ]
        if not tokens:
            raise library.NoSuchToken
        if len(tokens) > 1:
            raise library.MultipleTokensReturned
        found: pkcs11.Token = tokens[0]
        return found


def _pin_of(token: pkcs11.Token, key: TokenKey, pin: Callable[[], bytes | None]) -> str | None:
    if not token.flags & _library().TokenFlag.LOGIN_REQUIRED:
        return None
    given = pin()
    if not given:
        raise SignerError(
            str(key), "the token wants a PIN", hint="give it at the prompt, with --pin-env or with --pin-fd"
        )
    try:
        return given.decode()
    except UnicodeDecodeError as error:
        raise SignerError(str(key), "the PIN is not UTF-8", expected="text, as PKCS#11 has it") from error


@contextmanager
def _session(key: TokenKey, pin: str | None) -> Iterator[pkcs11.Session]:
    with _told(key), _find_token(key).open(user_pin=pin) as session:
        yield session


def _find_key(session: pkcs11.Session, key: TokenKey) -> Any:
    library = _library()
    wanted = {
        library.Attribute.CLASS: library.ObjectClass.PRIVATE_KEY,
        library.Attribute.KEY_TYPE: library.KeyType.RSA,
        library.Attribute.LABEL: key.label,
        library.Attribute.ID: key.key_id,
    }
    return _only(session, wanted)


def _only(session: pkcs11.Session, wanted: dict[Any, Any]) -> Any:
    """The one object that fits; the search is run to its end, which get_key() does not do."""
    library = _library()
    given = {name: value for name, value in wanted.items() if value is not None}
    found = list(session.get_objects(given))
    if not found:
        raise library.NoSuchKey
    if len(found) > 1:
        raise library.MultipleObjectsReturned
    return found[0]


def _checked_modulus(session: pkcs11.Session, private: Any, key: TokenKey) -> int:
    """The key's modulus, if SGX takes such keys."""
    library = _library()
    modulus = int.from_bytes(private[library.Attribute.MODULUS], "big")
    exponent = int.from_bytes(_exponent(session, private), "big")
    wrong = describe_key(modulus.bit_length(), exponent)
    if wrong:
        raise SignerError(str(key), wrong, expected=A_KEY, hint="make such a key in the token, or import one")
    return modulus


def _exponent(session: pkcs11.Session, private: Any) -> bytes:
    """PKCS#11 lets a private key not tell its public exponent; then the public key of the same id does."""
    library = _library()
    try:
        value: bytes = private[library.Attribute.PUBLIC_EXPONENT]
        if value:
            return value
    except library.AttributeTypeInvalid:
        pass
    wanted = {
        library.Attribute.CLASS: library.ObjectClass.PUBLIC_KEY,
        library.Attribute.KEY_TYPE: library.KeyType.RSA,
        library.Attribute.ID: private[library.Attribute.ID],
    }
    public = _only(session, wanted)
    found: bytes = public[library.Attribute.PUBLIC_EXPONENT]
    return found


def _sign(session: pkcs11.Session, private: Any, message: bytes, pin: str | None) -> bytes:
    library = _library()
    mechanism, data = library.Mechanism.SHA256_RSA_PKCS, message
    if mechanism not in _mechanisms(session):
        mechanism = library.Mechanism.RSA_PKCS
        data = _DIGEST_INFO + hashlib.sha256(message).digest()
    each_time = {"pin": pin} if _wants_pin_each_time(private) else {}
    signature: bytes = private.sign(data, mechanism=mechanism, **each_time)
    return signature


def _mechanisms(session: pkcs11.Session) -> set[Any]:
    return set(session.token.slot.get_mechanisms())


def _wants_pin_each_time(private: Any) -> bool:
    library = _library()
    try:
        return bool(private[library.Attribute.ALWAYS_AUTHENTICATE])
    except library.AttributeTypeInvalid:
        return False


def _is_signature(signature: bytes, modulus: int) -> bool:
    digest = hashlib.sha256(_TEST_MESSAGE).digest()
    tail = b"\0" + _DIGEST_INFO + digest
    expected = b"\0\1" + tail.rjust(KEY_BYTES - 2, b"\xff")
    return pow(int.from_bytes(signature, "big"), EXPONENT, modulus) == int.from_bytes(expected, "big")
