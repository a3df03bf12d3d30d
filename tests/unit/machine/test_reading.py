"""The facts of a machine, read from files as kernels write them."""

from __future__ import annotations

import gzip
import os
import platform
import socket
import stat
from pathlib import Path

import pytest
from tests.support.machine_code import elf

from mystikos import machine
from mystikos.errors import RuntimeMissingError
from mystikos.launcher import Runtime
from mystikos.machine import cpuid, process, reading

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU
microcode\t: 0xd0003d1
flags\t\t: fpu sgx sgx_lc

processor\t: 1
flags\t\t: other
"""
MISC = " 58 sgx_provision\n 59 sgx_enclave\n\n183 hw_random\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree as the root directory is; processes are those of this machine."""
    files = {
        "proc/cpuinfo": CPUINFO,
        "proc/misc": MISC,
        "proc/cmdline": "quiet nosgx\n",
        "proc/sys/kernel/osrelease": "5.10.0-28-amd64\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for name in ("boot", "dev", "run", "var/run"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def node(path: Path, mode: int = 0o666) -> None:
    """A device that everybody may open: /dev/null's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(1, 3))
        path.chmod(mode)
        os.close(os.open(path, os.O_RDWR))
    except PermissionError:
        pytest.skip("device nodes need root and a file system that allows them")


def test_files_of_the_kernel_are_read(root: Path) -> None:
    facts = machine.read(root)
    assert facts.processor.microcode == "0xd0003d1"
    assert facts.processor.flags == {"fpu", "sgx", "sgx_lc"}
    assert facts.kernel.version == (5, 10)
    assert facts.kernel.command_line == ("quiet", "nosgx")
    assert facts.kernel.misc_devices == {"sgx_enclave", "sgx_provision", "hw_random"}


def test_where_nothing_is_to_be_read_nothing_is_known(tmp_path: Path) -> None:
    facts = machine.read(tmp_path)
    assert facts.kernel.release == platform.release()
    assert facts.kernel.config_x86_sgx is None
    assert facts.kernel.vdso_enters_enclaves is None
    assert (facts.kernel.hwcap2, facts.processor.microcode, facts.container) == (0, None, None)
    assert (facts.enclave.present, facts.aesm.present, facts.old_drivers) == (False, False, ())


def test_a_release_that_is_no_version_is_older_than_all() -> None:
    assert machine.Kernel(release="custom").version == (0, 0)


@pytest.mark.parametrize(
    "name", ["proc/config.gz", "boot/config-5.10.0-28-amd64", "lib/modules/5.10.0-28-amd64/config"]
)
@pytest.mark.parametrize(
    ("line", "value"), [("CONFIG_X86_SGX=y", True), ("# CONFIG_X86_SGX is not set", False)]
)
def test_the_kernels_configuration_is_found(root: Path, name: str, line: str, value: bool) -> None:
    text = f"CONFIG_X86=y\n{line}\nCONFIG_X86_SGX_KVM=y\n".encode()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert machine.read(root).kernel.config_x86_sgx is value


def test_a_damaged_configuration_is_not_known(root: Path) -> None:
    (root / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_X86_SGX=y\n" * 99)[:-12])
    assert machine.read(root).kernel.config_x86_sgx is None


def test_a_device_that_can_be_opened(root: Path) -> None:
    node(root / "dev/sgx_enclave")
    device = machine.read(root).enclave
    assert (device.path, device.kind, device.mode) == ("/dev/sgx_enclave", "character device", 0o666)
    assert device.usable


def test_a_device_without_a_driver_is_refused(root: Path) -> None:
    node(root / "dev/null")  # skips where there are no nodes
    os.mknod(root / "dev/sgx_enclave", stat.S_IFCHR | 0o600, os.makedev(10, 250))
    device = machine.read(root).enclave
    assert (device.present, device.usable) == (True, False)
    assert device.error in ("ENODEV", "ENXIO")


def test_a_file_in_place_of_a_device_is_told_from_it(root: Path) -> None:
    (root / "dev/sgx_enclave").write_text("")
    assert machine.read(root).enclave.kind == "other"


def test_old_drivers_are_told_from_links_to_the_new_one(root: Path) -> None:
    node(root / "dev/sgx_enclave")
    node(root / "dev/isgx")
    (root / "dev/sgx").mkdir()
    (root / "dev/sgx/enclave").symlink_to("../sgx_enclave")
    assert [device.path for device in machine.read(root).old_drivers] == ["/dev/isgx"]
    (root / "dev/sgx/enclave").unlink()
    node(root / "dev/sgx/enclave")
    assert [device.path for device in machine.read(root).old_drivers] == ["/dev/isgx", "/dev/sgx/enclave"]


def test_the_service_for_attestation_is_a_socket(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "var/run/aesmd").mkdir()
    monkeypatch.chdir(root / "var/run/aesmd")  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("aesm.socket")
        found = machine.read(root).aesm
    assert (found.path, found.kind, found.usable) == ("/var/run/aesmd/aesm.socket", "socket", True)


@pytest.mark.parametrize(
    ("name", "content", "container"),
    [
        (".dockerenv", "", "Docker"),
        ("run/.containerenv", "", "Podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
    ],
)
def test_a_container_is_noticed(root: Path, name: str, content: str, container: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(content)
    assert machine.read(root).container == container


def test_a_runtime_that_is_not_there_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Runtime:
        raise RuntimeMissingError("libmystkernel", "no such file")

    monkeypatch.setattr(Runtime, "load", load)
    assert machine.read(root).runtime_problem == "libmystkernel: no such file"


def test_where_code_may_not_be_made_the_kernels_file_is_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cpuid, "by_instruction", forbidden)
    facts = machine.read(root).processor
    assert facts.sgx is None
    assert facts.cpuid_problem == (
        "this process may not execute code of its own making (EACCES), "
        "and /dev/cpu/0/cpuid is not to be read (ENOENT)"
    )
    assert (facts.vendor, facts.model) == ("GenuineIntel", "Some CPU")
    (root / "dev/cpu/0").mkdir(parents=True)
    (root / "dev/cpu/0/cpuid").touch()
    os.truncate(root / "dev/cpu/0/cpuid", 1 << 32)  # zeros in every leaf
    facts = machine.read(root).processor
    assert (facts.sgx, facts.cpuid_problem) == (False, None)


def test_where_cpuid_faults_it_is_not_executed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def executed() -> None:
        raise AssertionError

    monkeypatch.setattr(cpuid, "by_instruction", executed)
    monkeypatch.setattr(process, "cpuid_faults", lambda: True)
    assert "it faults in this process" in (machine.read(root).processor.cpuid_problem or "")


def test_on_another_architecture_no_x86_code_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def executed(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(cpuid, "by_instruction", executed)
    monkeypatch.setattr(process, "_prctl", executed)
    monkeypatch.setattr(process, "_arch_prctl", executed)
    facts = machine.read(root)
    assert facts.kernel.architecture == "aarch64"
    assert facts.processor.cpuid_problem == "this is no x86-64 Linux"


def test_this_machine_is_read() -> None:
    facts = machine.read()
    assert facts.kernel.release == platform.release()
    assert facts.processor.cpuid_problem is None
    assert facts.kernel.vdso_enters_enclaves is not None
    assert facts.kernel.fsgsbase == ("fsgsbase" in facts.processor.flags)
    assert facts.user.root == (os.geteuid() == 0)


def test_asking_changes_nothing_in_this_process() -> None:
    def answers() -> list[bool]:
        questions = (process.has_syscall_user_dispatch, process.can_fault_on_cpuid, process.cpuid_faults)
        return [question() for question in questions]

    before = answers()
    machine.read()
    assert answers() == before
    assert not process.cpuid_faults()


@pytest.mark.parametrize("image", [b"", b"\x7fELF", elf(b"\xc3"), elf(b"\xc3")[:100], bytes(4096)])
def test_what_is_no_vdso_tells_nothing(image: bytes) -> None:
    assert not process.enters_enclaves(image)


def test_the_user_is_known_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    monkeypatch.setattr(os, "getgroups", lambda: [4_000_001])
    user = reading._user()
    assert (user.name, user.root, user.member_of) == ("4000000", False, frozenset())
    assert "4000001" in user.groups
