"""Real PKCS#11 tokens for tests: SoftHSM2 in a directory of its own, and a module that refuses to sign."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

PIN = "648219"


def module() -> str:
    """SoftHSM2's PKCS#11 module, wherever the distribution keeps it."""
    found = [path for root in ("/usr/lib", "/usr/lib64", "/usr/local/lib") for path in _modules(Path(root))]
    assert found, "no libsofthsm2.so: tools/setup test installs it"
    return str(found[0])


def _modules(root: Path) -> list[Path]:
    return sorted([*root.glob("softhsm/libsofthsm2.so"), *root.glob("*/softhsm/libsofthsm2.so")])


def configure(home: Path) -> None:
    """Keep tokens in ``home`` from now on; before the module is used for the first time."""
    (home / "tokens").mkdir()
    (home / "softhsm.conf").write_text(f"directories.tokendir = {home / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(home / "softhsm.conf")


def make_token(label: str) -> None:
    _util("--init-token", "--free", "--label", label, "--so-pin", PIN, "--pin", PIN)


def make_key(path: Path, *, bits: int = 3072, exponent: int = 3) -> Path:
    """A private key as a PKCS#8 file."""
    options = ["-pkeyopt", f"rsa_keygen_bits:{bits}", "-pkeyopt", f"rsa_keygen_pubexp:{exponent}"]
    _run("openssl", "genpkey", "-algorithm", "RSA", *options, "-out", str(path))
    path.chmod(0o600)
    return path


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def sign_request(key: Path) -> None:
    """What happens where the key is, without myst: request.json in the working directory gives raw.sig."""
    request = json.loads(Path("request.json").read_text())
    Path("message").write_bytes(bytes.fromhex(request["signed_bytes"]))
    openssl("dgst", "-sha256", "-sign", str(key), "-out", "raw.sig", "message")


def import_key(path: Path, token: str, label: str, key_id: str) -> None:
    _util("--import", str(path), "--token", token, "--label", label, "--id", key_id, "--pin", PIN)


# Index 42 of CK_FUNCTION_LIST is C_SignInit (PKCS#11 2.40); it refuses as a FIPS module does.
_REFUSING = """
#include <dlfcn.h>
#include <string.h>
struct list { unsigned long version; void *functions[68]; };
static struct list copy;
static unsigned long refuse(unsigned long session, void *mechanism, unsigned long key) {
    (void)session; (void)mechanism; (void)key;
    return 0x62; /* CKR_KEY_SIZE_RANGE */
}
unsigned long C_GetFunctionList(struct list **out) {
    void *module = dlopen(MODULE, RTLD_NOW);
    unsigned long (*get)(struct list **) = dlsym(module, "C_GetFunctionList");
    struct list *real;
    unsigned long result = get(&real);
    memcpy(&copy, real, sizeof copy);
    copy.functions[42] = (void *)refuse;
    *out = &copy;
    return result;
}
"""


def refusing_module(home: Path) -> str:
    """A module in front of SoftHSM2 that holds keys with exponent 3 and refuses to sign with them."""
    (home / "refusing.c").write_text(_REFUSING)
    made = home / "librefusing.so"
    define = f'-DMODULE="{module()}"'
    _run("cc", "-shared", "-fPIC", "-w", define, str(home / "refusing.c"), "-o", str(made), "-ldl")
    return str(made)


def _util(*arguments: str) -> None:
    _run("softhsm2-util", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
