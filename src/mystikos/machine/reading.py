"""Learn the facts of this machine. Nothing is changed, nothing needs root; what cannot be learned is None.

>>> read().user.name  # doctest: +SKIP
'alice'
"""

from __future__ import annotations

import dataclasses
import errno
import grp
import gzip
import os
import platform
import pwd
import stat
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from mystikos.errors import RuntimeMissingError
from mystikos.launcher import Runtime
from mystikos.machine import cpuid, process
from mystikos.machine.facts import Device, Kernel, Machine, Processor, User

_MAX_TEXT = 4 << 20  # bytes of a file that are looked at
_CONTAINERS = {".dockerenv": "Docker", "run/.containerenv": "Podman"}


def read(root: Path = Path("/")) -> Machine:
    """The facts; ``root`` is where files are looked for (/proc, /dev, /boot, /run, /var)."""
    return Machine(
        processor=_processor(root),
        kernel=_kernel(root),
        enclave=_device(root, "dev/sgx_enclave"),
        provision=_device(root, "dev/sgx_provision"),
        old_drivers=tuple(_old_drivers(root)),
        aesm=_device(root, "var/run/aesmd/aesm.socket"),
        container=_container(root),
        user=_user(),
        runtime_problem=_runtime_problem(),
    )


def _is_x86_linux() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _processor(root: Path) -> Processor:
    lines = _cpuinfo(root)
    found = _ask_processor(root) if _is_x86_linux() else Processor(cpuid_problem="this is no x86-64 Linux")
    return dataclasses.replace(
        found,
        vendor=found.vendor or lines.get("vendor_id"),
        model=found.model or lines.get("model name"),
        microcode=lines.get("microcode"),
        flags=frozenset(lines.get("flags", "").split()),
    )


def _ask_processor(root: Path) -> Processor:
    """CPUID by the instruction, else by the kernel's file, else not at all."""
    problem = "it faults in this process"
    if not process.cpuid_faults():
        try:
            with cpuid.by_instruction() as ask:
                return cpuid.describe(ask)
        except OSError as exc:
            problem = f"this process may not execute code of its own making ({_name(exc)})"
    try:
        with cpuid.by_device(root / "dev/cpu/0/cpuid") as ask:
            return cpuid.describe(ask)
    except OSError as exc:
        return Processor(cpuid_problem=f"{problem}, and /dev/cpu/0/cpuid is not to be read ({_name(exc)})")


def _cpuinfo(root: Path) -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor."""
    first = _text(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _kernel(root: Path) -> Kernel:
    release = _text(root / "proc/sys/kernel/osrelease").strip() or platform.release()
    image = process.vdso(root / "proc")
    x86_linux = _is_x86_linux()
    return Kernel(
        system=platform.system(),
        architecture=platform.machine(),
        release=release,
        command_line=tuple(_text(root / "proc/cmdline").split()),
        config_x86_sgx=_config_x86_sgx(root, release),
        misc_devices=_misc_devices(root),
        vdso_enters_enclaves=None if image is None else process.enters_enclaves(image),
        hwcap2=process.auxiliary(root / "proc").get(process.AT_HWCAP2, 0),
        syscall_user_dispatch=x86_linux and process.has_syscall_user_dispatch(),
        cpuid_faulting=x86_linux and process.can_fault_on_cpuid(),
        tsc_faulting=x86_linux and process.can_fault_on_rdtsc(),
    )


def _misc_devices(root: Path) -> frozenset[str]:
    """Names in /proc/misc, which lists devices whether there are nodes for them or not."""
    words = (line.split() for line in _text(root / "proc/misc").splitlines())
    return frozenset(line[-1] for line in words if line)


def _config_x86_sgx(root: Path, release: str) -> bool | None:
    """CONFIG_X86_SGX where the kernel or the distribution tells its configuration."""
    for name in ("proc/config.gz", f"boot/config-{release}", f"lib/modules/{release}/config"):
        if settings := _text(root / name):
            return "CONFIG_X86_SGX=y" in settings.splitlines()
    return None


def _device(root: Path, name: str) -> Device:
    path, shown = root / name, f"/{name}"
    try:
        status = path.stat()
    except OSError as exc:
        missing = exc.errno in (errno.ENOENT, errno.ENOTDIR)
        return Device(shown) if missing else Device(shown, kind="other", error=_name(exc))
    return Device(
        shown,
        kind=_kind(status.st_mode),
        mode=stat.S_IMODE(status.st_mode),
        group=_group(status.st_gid),
        noexec=bool(os.statvfs(path).f_flag & os.ST_NOEXEC),
        error=_attempt(path, status.st_mode),
    )


def _kind(mode: int) -> str:
    if stat.S_ISCHR(mode):
        return "character device"
    return "socket" if stat.S_ISSOCK(mode) else "other"


def _attempt(path: Path, mode: int) -> str | None:
    """Why this process cannot use it, found by opening it: a container's rules are not in the mode bits."""
    if not stat.S_ISCHR(mode):
        return None if os.access(path, os.R_OK | os.W_OK) else "EACCES"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as exc:
        return _name(exc)
    return None


def _old_drivers(root: Path) -> Iterator[Device]:
    """Devices of drivers that were before Linux 5.11; udev rules make links of such names for its own."""
    for name in ("dev/isgx", "dev/sgx/enclave", "dev/sgx"):
        device = _device(root, name)
        if device.kind == "character device" and not (root / name).is_symlink():
            yield device


def _container(root: Path) -> str | None:
    if manager := _text(root / "run/systemd/container").strip():
        return manager
    return next((kind for name, kind in _CONTAINERS.items() if (root / name).exists()), None)


def _user() -> User:
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
        member_of = frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem)
    except KeyError:
        name, member_of = str(number), frozenset()
    groups = frozenset(_group(group) for group in {os.getegid(), *os.getgroups()})
    return User(name, number == 0, groups, member_of)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _runtime_problem() -> str | None:
    try:
        Runtime.load()
    except RuntimeMissingError as error:
        return str(error)
    return None


def _text(path: Path) -> str:
    """A file's text, unpacked if it is compressed; empty when it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(_MAX_TEXT).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
