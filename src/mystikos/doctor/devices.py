"""Findings about device nodes, the services beside them, and this installation.

>>> [finding.found for finding in findings(Machine())][:1]
['not there']
"""

from __future__ import annotations

from collections.abc import Iterator

from mystikos.doctor.finding import Finding, Target, missing, note, ok
from mystikos.machine import Device, Machine, User

_GROUP, _PROVISION_GROUP = "sgx", "sgx_prv"
_OWNER_AND_GROUP = 0o060


def findings(machine: Machine) -> Iterator[Finding]:
    if machine.container:
        yield note("container", machine.container)
    yield _enclave(machine)
    if machine.enclave.present and machine.enclave.noexec:
        yield _noexec(machine)
    yield _provision(machine)
    yield from map(_old_driver, machine.old_drivers)
    yield _aesm(machine)
    yield _runtime(machine)


def _enclave(machine: Machine) -> Finding:
    device = machine.enclave
    if not device.present:
        return missing(device.path, "not there", remedy=_absent(machine))
    if device.kind != "character device":
        return missing(
            device.path, "is no device", remedy=f"remove {device.path}, and start udev or the container anew"
        )
    if device.usable:
        return ok(device.path, "can be opened")
    return missing(device.path, _refusal(device, machine.user), remedy=_access(device, machine, _GROUP))


def _absent(machine: Machine) -> str | None:
    """What to do when only the node is missing; else the cause has been told already."""
    if "sgx_enclave" not in machine.kernel.misc_devices:
        driver = {"sgx", "sgx_lc"} <= machine.processor.flags
        return "`sudo dmesg | grep -i sgx` tells why the kernel made none" if driver else None
    if machine.container:
        return _pass_devices(machine)
    return "the kernel has it: `sudo udevadm trigger --subsystem-match=misc` makes the node"


def _pass_devices(machine: Machine) -> str:
    both = " ".join(f"--device {device.path}" for device in (machine.enclave, machine.provision))
    return f"start the container with {both}"


def _refusal(device: Device, user: User) -> str:
    rights = f"mode {device.mode:04o}, group {device.group}"
    return f"{user.name} cannot open it ({device.error}; {rights})"


def _access(device: Device, machine: Machine, usual: str) -> str:
    """How this user gets to open a device that is there."""
    user = machine.user
    if device.error == "EPERM" and machine.container:
        return _pass_devices(machine)
    if device.error not in ("EACCES", "EPERM"):
        return f"the kernel refuses it ({device.error}): `sudo dmesg | grep -i sgx` tells more"
    if user.root or device.error == "EPERM":
        return "root is refused: look at SELinux, AppArmor and the rules of the container or the service"
    group = device.group or "root"
    if device.mode & _OWNER_AND_GROUP != _OWNER_AND_GROUP or group == "root":
        name = device.path.removeprefix("/dev/")
        return (
            f'`sudo groupadd -rf {usual}`, put SUBSYSTEM=="misc", KERNEL=="{name}", GROUP="{usual}", '
            f'MODE="0660" into /etc/udev/rules.d/60-{name}.rules, `sudo udevadm trigger`, '
            f"`sudo usermod -aG {usual} {user.name}`, log in again"
        )
    if group in user.groups:
        return "its group may open it and this user is in it: look at SELinux and AppArmor"
    if machine.container:
        return f"start the container with --group-add {group}"
    if group in user.member_of:
        return f"log in again: {user.name} has become a member of {group} since"
    return f"`sudo usermod -aG {group} {user.name}`, then log in again"


def _noexec(machine: Machine) -> Finding:
    """mmap(2) of the device with PROT_EXEC gives EACCES there."""
    remedy = (
        "start the container with a /dev that is not mounted noexec"
        if machine.container
        else "`sudo mount -o remount,exec /dev`, and the same in what mounts it at each start"
    )
    return missing("noexec", "/dev is mounted noexec, so no enclave can hold code", remedy=remedy)


def _provision(machine: Machine) -> Finding:
    """Only an enclave with the provisioning key needs it: quoting inside the process."""
    device = machine.provision
    purpose = "only attestation within the process needs it"
    if not device.present:
        return note(device.path, f"not there: {purpose}")
    if device.usable:
        return note(device.path, "can be opened")
    return note(
        device.path,
        f"{_refusal(device, machine.user)}: {purpose}",
        remedy=_access(device, machine, _PROVISION_GROUP),
    )


def _old_driver(device: Device) -> Finding:
    return note(
        device.path,
        "of a driver from before Linux 5.11, which packages do not use",
        remedy="uninstall that driver; Linux 5.11 and newer have their own, and it makes /dev/sgx_enclave",
    )


def _aesm(machine: Machine) -> Finding:
    """Intel's service, which asks the quoting enclave."""
    device, purpose = machine.aesm, "only remote attestation needs it"
    if not device.present:
        return note("AESM", f"{device.path} is not there: {purpose}", remedy=_aesm_remedy(machine))
    if device.usable and device.kind == "socket":
        return note("AESM", f"{device.path} can be used")
    return note("AESM", f"{device.path} cannot be used ({device.error or 'no socket'}): {purpose}")


def _aesm_remedy(machine: Machine) -> str | None:
    if not machine.enclave.present:
        return None
    if machine.container:
        return "start the container with --volume /var/run/aesmd:/var/run/aesmd"
    return "install Intel's sgx-aesm-service, and `sudo systemctl enable --now aesmd`"


def _runtime(machine: Machine) -> Finding:
    if machine.runtime_problem is None:
        return ok("runtime", "launcher, kernel and CRT image are installed", needed_by=Target)
    return missing(
        "runtime",
        machine.runtime_problem,
        needed_by=Target,
        remedy="install mystikos from a wheel, or build it (make build)",
    )
