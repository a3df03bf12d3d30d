"""Settings that weaken what a package protects: each lint has a name, a place and a remedy.

A lint is no mistake: the setting may be what you want. `myst check --strict` fails on one.

>>> [finding.lint for finding in lint(Config(application_path=b"/bin/hello", debug=True, product_id=1))]
['debug', 'security-version']
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mystikos.config.mistakes import place_of
from mystikos.config.settings import Config
from mystikos.errors import Problem, clip
from mystikos.formats.jsonc import Place

# (subject, what it does)
Finding = tuple[str, str]


@dataclass(frozen=True)
class Lint:
    """One row of the table of lints."""

    name: str
    summary: str
    remedy: str
    find: Callable[[Config], Iterator[Finding]]


def lint(config: Config) -> tuple[Problem, ...]:
    """Every finding, in the order of the file; settings that stand nowhere come first."""
    nowhere = Place(0, 0)
    findings = [
        (place_of(config.places, subject, nowhere), row, subject, found)
        for row in LINTS
        for subject, found in row.find(config)
    ]
    return tuple(
        Problem(config.name, place.line, place.column, subject, found, hint=row.remedy, lint=row.name)
        for place, row, subject, found in sorted(findings, key=lambda finding: finding[0])
    )


# Variables through which whoever sets them chooses code that a loader, an interpreter or a library runs.
_CODE = re.compile(
    rb"""LD_.*|GCONV_PATH|GLIBC_TUNABLES|NLSPATH|LOCPATH|
    PYTHON(PATH|HOME|STARTUP|INSPECT|USERBASE|BREAKPOINT|WARNINGS|PLATLIBDIR|EXECUTABLE|PYCACHEPREFIX)|
    NODE_OPTIONS|NODE_PATH|PERL5LIB|PERL5OPT|PERL5DB|PERLLIB|RUBYOPT|RUBYLIB|GEM_PATH|GEM_HOME|
    JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|LUA_PATH.*|LUA_CPATH.*|LUA_INIT.*|
    PHPRC|PHP_INI_SCAN_DIR|R_PROFILE.*|R_LIBS.*|DOTNET_STARTUP_HOOKS|DOTNET_ADDITIONAL_DEPS|
    CORECLR_.*|COR_PROFILER.*|BASH_ENV|BASH_FUNC_.*|ENV|SHELLOPTS|BASHOPTS|IFS|PATH|
    OPENSSL_CONF|OPENSSL_MODULES|OPENSSL_ENGINES|GST_PLUGIN_.*|QT_PLUGIN_PATH|GTK_MODULES|EDITOR|VISUAL|PAGER""",
    re.VERBOSE,
)

# Variables through which whoever sets them decides whom the program trusts, or reads its traffic.
_TRUST = re.compile(
    rb"""SSL_CERT_FILE|SSL_CERT_DIR|SSLKEYLOGFILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|
    NODE_TLS_REJECT_UNAUTHORIZED|PYTHONHTTPSVERIFY|GIT_SSL_NO_VERIFY|GIT_SSL_CAINFO|AWS_CA_BUNDLE|
    GODEBUG|HOSTALIASES|RES_OPTIONS|LOCALDOMAIN""",
    re.VERBOSE,
)

_SECRET_NAME = re.compile(
    rb".*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL).*", re.I
)

_CODE_DIRECTORIES = re.compile(rb"/(bin|sbin|lib|lib32|lib64|libx32|usr|etc|opt)(/.*)?", re.DOTALL)


def _debug(config: Config) -> Iterator[Finding]:
    if config.debug:
        yield "Debug", "the host can read and change the memory of a debug enclave"


def _host_arguments(config: Config) -> Iterator[Finding]:
    if config.host_application_parameters:
        yield "HostApplicationParameters", "the untrusted host chooses the program's arguments"


def _host_variables(pattern: re.Pattern[bytes], what: str) -> Callable[[Config], Iterator[Finding]]:
    def find(config: Config) -> Iterator[Finding]:
        for i, name in enumerate(config.host_environment_variables):
            if pattern.fullmatch(name):
                yield f"HostEnvironmentVariables[{i}]", f"{_shown(name)} lets the untrusted host {what}"

    return find


def _shadowed(config: Config) -> Iterator[Finding]:
    signed = {entry.split(b"=", 1)[0] for entry in config.environment_variables} | {b"MYST_TARGET"}
    for i, name in enumerate(config.host_environment_variables):
        if name in signed:
            yield (
                f"HostEnvironmentVariables[{i}]",
                f"the host's {_shown(name)} is never used: it has a value already",
            )


def _secrets_in_variables(config: Config) -> Iterator[Finding]:
    for i, entry in enumerate(config.environment_variables):
        name, value = entry.split(b"=", 1)
        if value and _SECRET_NAME.fullmatch(name):
            yield f"EnvironmentVariables[{i}]", f"everyone who has the package can read {_shown(name)}"


def _unused_arguments(config: Config) -> Iterator[Finding]:
    if config.host_application_parameters and config.application_parameters:
        yield "ApplicationParameters", "never used: HostApplicationParameters is set"


def _host_uds(config: Config) -> Iterator[Finding]:
    if config.host_uds:
        yield "HostUDS", "the program talks to unprotected sockets of the host"


def _exec_stack(config: Config) -> Iterator[Finding]:
    if config.exec_stack:
        yield "ExecStack", "a buffer overflow on a stack can run code"


def _hostfs(config: Config) -> Iterator[Finding]:
    for i, mount in enumerate(config.mount):
        if mount.type == "hostfs":
            code = ", in a directory where programs expect code and settings"
            where = code if _CODE_DIRECTORIES.fullmatch(mount.target) else ""
            yield (
                f"Mount[{i}]",
                f"the host can read and change everything under {_shown(mount.target)}{where}",
            )


def _unverified_ext2(config: Config) -> Iterator[Finding]:
    for i, mount in enumerate(config.mount):
        if mount.type == "ext2" and not mount.root_hash and not mount.public_key:
            yield f"Mount[{i}]", f"the image at {_shown(mount.target)} may be any the host chooses"


def _clear_text_secret(config: Config) -> Iterator[Finding]:
    for i, secret in enumerate(config.secret):
        if secret.srs_address.lower().startswith("http://"):
            yield f"Secret[{i}].SrsAddress", "the address of the secret release service is not https"


def _security_version(config: Config) -> Iterator[Finding]:
    if config.security_version == 0:
        yield "SecurityVersion", "0: nobody can tell this package from one without any security fix"


def _product_id(config: Config) -> Iterator[Finding]:
    if config.product_id == 0:
        yield "ProductID", "0: every product of your key that does not set it shares its sealed data"


def _low_start(config: Config) -> Iterator[Finding]:
    if config.enclave_start_address < 0x10000:
        yield "EnclaveStartAddress", "below 65536 it needs a host with a lowered vm.mmap_min_addr"


def _syslog_debug(config: Config) -> Iterator[Finding]:
    if config.syslog_level == "debug" and not config.debug:
        yield "SyslogLevel", "debug messages tell the host what the program does"


def _no_effect(config: Config) -> Iterator[Finding]:
    if config.fork_mode != "none":
        yield "ForkMode", "has no effect yet: fork(2) fails with ENOTSUP"
    if config.host_uds:
        yield "HostUDS", "has no effect yet: sockets of the host cannot be reached"


def _deprecated(config: Config) -> Iterator[Finding]:
    if "UserMemSize" in config.places:
        yield "UserMemSize", "a deprecated name of MemorySize"


def _shown(name: bytes) -> str:
    return clip(name.decode("utf-8", "backslashreplace"))


LINTS = (
    Lint("debug", "Debug is on.", 'set "Debug": false in what you release', _debug),
    Lint(
        "host-arguments",
        "The command line comes from the host.",
        "sign the arguments in ApplicationParameters, or make the program distrust its arguments",
        _host_arguments,
    ),
    Lint(
        "host-code",
        "A variable from the host can make the program run other code (LD_PRELOAD, PYTHONPATH, …).",
        "remove it, or sign a value in EnvironmentVariables",
        _host_variables(_CODE, "choose code that the program runs"),
    ),
    Lint(
        "host-trust",
        "A variable from the host can change whom the program trusts (SSL_CERT_FILE, …).",
        "remove it, or sign a value in EnvironmentVariables",
        _host_variables(_TRUST, "change whom the program trusts"),
    ),
    Lint(
        "shadowed-variable",
        "A variable is taken from the host that has a signed value.",
        "remove it from one of the two lists",
        _shadowed,
    ),
    Lint(
        "secret-in-variable",
        "EnvironmentVariables seems to hold a secret; a package is signed, not encrypted.",
        "fetch the secret after attestation (Secret), or rename the variable",
        _secrets_in_variables,
    ),
    Lint(
        "unused-arguments",
        "ApplicationParameters together with HostApplicationParameters.",
        "remove ApplicationParameters or HostApplicationParameters",
        _unused_arguments,
    ),
    Lint("host-uds", "HostUDS is on.", "use a network connection that TLS protects", _host_uds),
    Lint(
        "exec-stack",
        "ExecStack is on.",
        "mark the program with `execstack -c` and remove the key",
        _exec_stack,
    ),
    Lint(
        "hostfs-mount",
        "A directory of the host is mounted.",
        "keep in it only what may be read and changed by others, or use ext2 with a RootHash",
        _hostfs,
    ),
    Lint(
        "unverified-image",
        "An ext2 image is mounted without RootHash and PublicKey.",
        "give its RootHash, or the PublicKey that signed it",
        _unverified_ext2,
    ),
    Lint("clear-text-secret", "A secret is fetched over http.", "use https", _clear_text_secret),
    Lint(
        "security-version",
        "SecurityVersion is 0.",
        'begin with "SecurityVersion": 1 and raise it with each security fix',
        _security_version,
    ),
    Lint("product-id", "ProductID is 0.", "give each of your products its own ProductID", _product_id),
    Lint(
        "low-start-address",
        "EnclaveStartAddress is below the lowest address that Linux gives.",
        "remove EnclaveStartAddress",
        _low_start,
    ),
    Lint("syslog-debug", "SyslogLevel is debug in a release.", 'set "SyslogLevel": "err"', _syslog_debug),
    Lint("no-effect", "A setting that this version cannot keep yet.", "remove it, or wait", _no_effect),
    Lint("deprecated-key", "A deprecated key.", "rename it MemorySize", _deprecated),
)
"""Every setting that weakens what a package protects: name, what it finds, remedy."""
