"""Findings and verdicts for machines of many kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest
from tests.support import machines
from tests.support.machines import SERVER, with_device, with_kernel, with_processor, with_sgx

from mystikos.doctor import Finding, State, Target, diagnose
from mystikos.machine import Device, EpcSection, Kernel, Machine, SgxFacts, User


def found(machine: Machine, name: str) -> Finding:
    (finding,) = [one for one in diagnose(machine).findings if one.name == name]
    return finding


def possible(machine: Machine) -> set[str]:
    return {verdict.target.value for verdict in diagnose(machine).verdicts if verdict.possible}


def missing(machine: Machine, target: Target = Target.SGX) -> tuple[str, ...]:
    return diagnose(machine).verdict(target).missing


def remedies(machine: Machine) -> list[str]:
    findings = diagnose(machine).findings
    return [one.remedy for one in findings if one.remedy and one.state is State.MISSING]


def test_a_server_as_it_should_be_runs_everything() -> None:
    assert possible(SERVER) == {"sgx", "sim", "linux"}
    assert remedies(SERVER) == []
    assert (
        found(SERVER, "EPC").found
        == "4080 MiB of protected memory in 2 sections, not protected against replay"
    )
    assert found(SERVER, "enclave size").found == "up to 65536 TiB"


@pytest.mark.parametrize("name", machines.ALL)
def test_every_target_that_is_not_possible_has_a_cause_and_a_remedy(name: str) -> None:
    diagnosis = diagnose(machines.ALL[name])
    by_name = {finding.name: finding for finding in diagnosis.findings}
    assert len(by_name) == len(diagnosis.findings)
    for verdict in diagnosis.verdicts:
        assert verdict.possible == (verdict.missing == ())
        assert verdict.possible or any(by_name[cause].remedy for cause in verdict.missing)


@pytest.mark.parametrize("name", machines.ALL)
def test_a_remedy_is_one_line(name: str) -> None:
    findings = diagnose(machines.ALL[name]).findings
    texts = [text for finding in findings for text in (finding.found, finding.remedy) if text is not None]
    assert all(text and "\n" not in text for text in texts)


def test_sgx1_is_not_enough_and_a_processor_with_sgx2_is_named() -> None:
    machine = machines.SGX1_ONLY
    assert possible(machine) == {"sim", "linux"}
    assert missing(machine) == ("EXINFO",)
    assert found(machine, "SGX2").found == "not there: of it, packages need EXINFO"
    (remedy,) = remedies(machine)
    assert "a processor with SGX2" in remedy


def test_exinfo_that_a_processor_with_sgx2_lacks_comes_with_firmware_or_hypervisor() -> None:
    lacking = with_sgx(miscselect=0)
    assert remedies(lacking) == ["update firmware and microcode"]
    (remedy,) = remedies(with_processor(lacking, hypervisor="KVM"))
    assert "let the hypervisor pass on EXINFO" in remedy


def test_little_memory_is_told() -> None:
    epc = (EpcSection(0x70200000, 93 << 20, True),)
    assert possible(with_sgx(epc=epc)) == {"sgx", "sim", "linux"}
    assert found(with_sgx(epc=epc), "EPC").found.startswith("93 MiB of protected memory; what needs more")


def test_no_memory_for_sgx_is_reserved_in_the_firmware() -> None:
    assert "reserve memory for SGX in the firmware" in remedies(with_sgx(epc=()))[0]


def test_sgx_that_the_firmware_disabled_is_enabled_in_its_setup() -> None:
    machine = machines.DISABLED_IN_FIRMWARE
    assert missing(machine) == ("SGX1", "/dev/sgx_enclave")
    assert "the firmware switched it off" in found(machine, "SGX1").found
    assert len(remedies(machine)) == 1
    assert "firmware's setup" in remedies(machine)[0]
    assert possible(machine) == {"sim", "linux"}


def test_sgx_without_its_leaf_is_disabled_too() -> None:
    assert "SGX1" in missing(with_processor(machines.DISABLED_IN_FIRMWARE, leaf_12=None))


def test_a_processor_without_flexible_launch_control_does_not_do() -> None:
    assert missing(machines.NO_LAUNCH_CONTROL) == ("FLC", "EXINFO", "/dev/sgx_enclave")
    (remedy,) = remedies(machines.NO_LAUNCH_CONTROL)
    assert "a processor with SGX2 and launch control" in remedy


def test_launch_control_that_the_firmware_locked_is_unlocked_there() -> None:
    machine = machines.LAUNCH_CONTROL_LOCKED
    assert missing(machine) == ("SGX driver", "/dev/sgx_enclave")
    assert "unlock launch control" in remedies(machine)[0]


def test_a_kernel_that_only_passes_sgx_to_guests_does_not_do() -> None:
    machine = with_processor(flags=machines.FLAGS - {"sgx_lc"})
    assert missing(machine) == ("SGX driver",)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"miscselect": 0}, "EXINFO"),
        ({"attributes": 0x04}, "attributes"),
        ({"xfrm": 0x1}, "attributes"),
        ({"epc": ()}, "EPC"),
    ],
)
def test_what_packages_ask_of_the_processor_is_looked_at(facts: dict[str, object], name: str) -> None:
    assert missing(with_sgx(**facts)) == (name,)
    assert found(with_sgx(**facts), name).remedy


def test_other_vendors_have_no_sgx() -> None:
    assert missing(machines.AMD) == ("SGX", "/dev/sgx_enclave")
    assert "AuthenticAMD" in found(machines.AMD, "SGX").found
    assert "MYST_TARGET=sim" in remedies(machines.AMD)[0]
    assert possible(machines.AMD) == {"sim", "linux"}


def test_a_virtual_machine_is_given_sgx_by_its_hypervisor() -> None:
    machine = machines.VIRTUAL_MACHINE
    assert found(machine, "virtual machine").found == "the hypervisor is KVM"
    assert missing(machine) == ("SGX", "/dev/sgx_enclave")
    assert "virtual machine that has SGX" in remedies(machine)[0]


def test_a_virtual_machine_with_sgx_is_as_good_as_a_real_one() -> None:
    assert possible(with_processor(hypervisor="KVM")) == {"sgx", "sim", "linux"}


def test_a_hypervisor_may_show_sgx_and_give_none() -> None:
    machine = with_processor(machines.DISABLED_IN_FIRMWARE, hypervisor="unknown")
    assert "hypervisor gives none" in found(machine, "SGX1").found
    assert found(machine, "virtual machine").found == "the hypervisor is of an unknown kind"
    assert "memory-backend-epc" in remedies(machine)[0]
    assert "memory-backend-epc" in (
        found(with_sgx(with_processor(hypervisor="KVM"), epc=()), "EPC").remedy or ""
    )


def test_an_old_kernel_is_updated_for_every_target() -> None:
    machine = machines.OLD_KERNEL
    assert possible(machine) == set()
    assert missing(machine) == ("kernel", "vDSO", "FSGSBASE", "/dev/sgx_enclave")
    assert (
        missing(machine, Target.LINUX)
        == missing(machine, Target.SIM)
        == ("FSGSBASE", "Syscall User Dispatch")
    )
    assert {remedy.split(":")[0] for remedy in remedies(machine)} == {"update the kernel"}


def test_a_kernel_built_without_sgx_is_replaced() -> None:
    machine = with_kernel(machines.without_driver(SERVER), config_x86_sgx=False, vdso_enters_enclaves=False)
    assert missing(machine) == ("CONFIG_X86_SGX", "vDSO", "/dev/sgx_enclave")
    assert len(remedies(machine)) == 1


def test_a_vdso_without_enclave_entry_tells_of_a_kernel_whose_configuration_is_unknown() -> None:
    machine = with_kernel(config_x86_sgx=None, vdso_enters_enclaves=False)
    assert missing(machine) == ("vDSO",)
    assert "CONFIG_X86_SGX=y" in remedies(machine)[0]


def test_a_kernel_without_sgx_whose_configuration_is_unknown_is_not_the_firmwares_fault() -> None:
    machine = machines.UNKNOWN_CONFIGURATION
    assert missing(machine) == ("vDSO", "/dev/sgx_enclave")
    (remedy,) = remedies(machine)
    assert "CONFIG_X86_SGX=y" in remedy


def test_what_is_not_known_is_in_nobodys_way() -> None:
    machine = with_kernel(config_x86_sgx=None, vdso_enters_enclaves=None)
    assert possible(machine) == {"sgx", "sim", "linux"}
    assert found(machine, "vDSO").state is State.NOTE


@pytest.mark.parametrize(
    ("parameter", "name", "targets"),
    [("nosgx", "nosgx", {"sim", "linux"}), ("nofsgsbase", "FSGSBASE", set())],
)
def test_a_kernel_parameter_that_forbids_is_removed(parameter: str, name: str, targets: set[str]) -> None:
    machine = with_kernel(command_line=("quiet", parameter), hwcap2=0 if name == "FSGSBASE" else 2)
    assert missing(machine) == (name,)
    assert f"remove {parameter} from" in remedies(machine)[0]
    assert possible(machine) == targets


def test_without_fsgsbase_nothing_runs() -> None:
    lacking = with_kernel(hwcap2=0)
    assert possible(lacking) == set()
    assert "newer processor" in (found(lacking, "FSGSBASE").remedy or "")
    guest = with_processor(lacking, hypervisor="Xen")
    assert "hypervisor" in (found(guest, "FSGSBASE").remedy or "")


def test_a_sandbox_without_user_dispatch_still_runs_enclaves() -> None:
    machine = with_kernel(syscall_user_dispatch=False)
    assert possible(machine) == {"sgx"}
    assert "sandbox" in remedies(machine)[0]


def test_faulting_is_only_noted() -> None:
    machine = with_kernel(cpuid_faulting=False, tsc_faulting=False)
    assert possible(machine) == {"sgx", "sim", "linux"}
    assert found(machine, "CPUID faulting").found.startswith("not there")
    assert found(machine, "RDTSC faulting").found.startswith("not there")


def test_a_container_is_started_with_the_devices() -> None:
    assert missing(machines.CONTAINER) == ("/dev/sgx_enclave",)
    assert remedies(machines.CONTAINER) == [
        "start the container with --device /dev/sgx_enclave --device /dev/sgx_provision"
    ]


def test_a_node_that_udev_did_not_make_is_made() -> None:
    machine = replace(SERVER, **machines.NO_DEVICES)
    assert "udevadm trigger" in remedies(machine)[0]


def test_a_driver_without_device_tells_in_its_log() -> None:
    machine = with_kernel(replace(SERVER, **machines.NO_DEVICES), misc_devices=frozenset())
    assert "dmesg" in remedies(machine)[0]


BOB = User("bob", groups=frozenset({"bob"}))
STALE_BOB = replace(BOB, member_of=frozenset({"sgx"}))


@pytest.mark.parametrize(
    ("device", "facts", "told"),
    [
        ({"error": "EACCES"}, {"user": BOB}, "`sudo usermod -aG sgx bob`, then log in again"),
        ({"error": "EACCES"}, {"user": STALE_BOB}, "log in again: bob has become a member of sgx since"),
        ({"error": "EACCES"}, {}, "its group may open it and this user is in it"),
        ({"error": "EACCES", "group": "root"}, {"user": BOB}, "`sudo groupadd -rf sgx`"),
        ({"error": "EACCES", "mode": 0o600}, {"user": BOB}, "/etc/udev/rules.d/60-sgx_enclave.rules"),
        ({"error": "EACCES", "group": "107"}, {"user": BOB, "container": "Podman"}, "--group-add 107"),
        ({"error": "EACCES"}, {"user": User("root", root=True)}, "root is refused"),
        ({"error": "EPERM"}, {"container": "Docker"}, "--device /dev/sgx_enclave"),
        ({"error": "EPERM"}, {}, "root is refused"),
        ({"error": "ENODEV"}, {}, "the kernel refuses it (ENODEV)"),
        ({"kind": "other"}, {}, "remove /dev/sgx_enclave"),
    ],
)
def test_a_device_that_cannot_be_used_is_told_with_its_remedy(
    device: dict[str, object], facts: dict[str, object], told: str
) -> None:
    machine = replace(with_device(**device), **facts)  # type: ignore[arg-type]
    assert missing(machine) == ("/dev/sgx_enclave",)
    assert told in remedies(machine)[0]
    assert possible(machine) == {"sim", "linux"}


def test_a_refused_device_shows_its_rights() -> None:
    machine = replace(with_device(error="EACCES"), user=BOB)
    assert found(machine, "/dev/sgx_enclave").found == "bob cannot open it (EACCES; mode 0660, group sgx)"


@pytest.mark.parametrize(
    ("container", "told"), [(None, "mount -o remount,exec /dev"), ("Docker", "container")]
)
def test_a_noexec_mount_of_the_device_is_told(container: str | None, told: str) -> None:
    machine = replace(with_device(noexec=True), container=container)
    assert missing(machine) == ("noexec",)
    assert told in remedies(machine)[0]


def test_the_provisioning_device_is_only_noted() -> None:
    assert found(SERVER, "/dev/sgx_provision").remedy == "`sudo usermod -aG sgx_prv alice`, then log in again"
    absent = replace(SERVER, provision=Device("/dev/sgx_provision"))
    usable = replace(SERVER, provision=replace(SERVER.provision, error=None))
    assert found(absent, "/dev/sgx_provision").found.startswith("not there")
    assert found(usable, "/dev/sgx_provision").found == "can be opened"
    assert possible(absent) == possible(usable) == {"sgx", "sim", "linux"}


def test_the_service_for_attestation_is_only_noted() -> None:
    absent = replace(SERVER, aesm=Device("/var/run/aesmd/aesm.socket"))
    assert "systemctl enable --now aesmd" in (found(absent, "AESM").remedy or "")
    assert "--volume" in (found(replace(absent, container="Docker"), "AESM").remedy or "")
    refused = replace(SERVER, aesm=replace(SERVER.aesm, error="EACCES"))
    assert "cannot be used (EACCES)" in found(refused, "AESM").found
    left_over = replace(SERVER, aesm=replace(SERVER.aesm, kind="other"))
    assert "no socket" in found(left_over, "AESM").found


@pytest.mark.parametrize("path", ["/dev/isgx", "/dev/sgx/enclave"])
def test_an_old_driver_is_to_be_uninstalled(path: str) -> None:
    machine = replace(machines.OLD_KERNEL, old_drivers=(Device(path, "character device"),))
    assert "uninstall that driver" in (found(machine, path).remedy or "")


def test_an_incomplete_installation_runs_nothing() -> None:
    machine = replace(SERVER, runtime_problem="libmystkernel: No such file or directory")
    assert possible(machine) == set()
    assert "make build" in remedies(machine)[0]


def test_another_architecture_runs_nothing() -> None:
    machine = Machine(kernel=Kernel(system="Linux", architecture="aarch64", release="6.1.0"))
    assert possible(machine) == set()
    assert missing(machine)[0] == missing(machine, Target.SIM)[0] == "machine"


def test_when_cpuid_cannot_be_read_the_kernels_flags_tell() -> None:
    unread = {"sgx": None, "flc": None, "leaf_12": None, "cpuid_problem": "it faults in this process"}
    assert possible(with_processor(**unread)) == {"sgx", "sim", "linux"}
    machine = with_processor(machines.without_driver(SERVER), **unread)
    assert missing(machine) == ("SGX", "/dev/sgx_enclave")
    assert "it faults in this process" in found(machine, "SGX").found
    assert "modprobe cpuid" in remedies(machine)[0]


def test_a_firmware_that_hides_sgx_is_thought_of() -> None:
    machine = machines.without_driver(with_processor(sgx=False, flc=False, leaf_12=None))
    assert found(machine, "SGX").found == "the processor has none, or the firmware hides it"
    assert "firmware's setup" in remedies(machine)[0]


def test_nothing_of_leaf_12_is_nothing() -> None:
    assert SgxFacts().epc_size == 0


def _no_flag(machine: Machine) -> Machine:
    unseen = with_processor(machine, sgx=False, flc=False, leaf_12=None)
    return machines.without_driver(unseen)


def _firmware_off(machine: Machine) -> Machine:
    return machines.without_driver(with_processor(machine, leaf_12=SgxFacts()))


def _no_launch_control(machine: Machine) -> Machine:
    return machines.without_driver(with_processor(machine, flc=False))


def _sgx1_only(machine: Machine) -> Machine:
    return with_sgx(machine, sgx2=False, miscselect=0)


def _no_epc(machine: Machine) -> Machine:
    return with_sgx(machine, epc=())


def _no_driver(machine: Machine) -> Machine:
    return machines.without_driver(with_kernel(machine, config_x86_sgx=False, vdso_enters_enclaves=False))


def _driver_off(machine: Machine) -> Machine:
    return machines.without_driver(with_kernel(machine, command_line=(*machine.kernel.command_line, "nosgx")))


def _no_fsgsbase(machine: Machine) -> Machine:
    command_line = (*machine.kernel.command_line, "nofsgsbase")
    return with_kernel(machine, hwcap2=0, command_line=command_line)


def _unreadable(machine: Machine) -> Machine:
    return replace(with_device(machine, error="EACCES") if machine.enclave.present else machine, user=BOB)


def _container(machine: Machine) -> Machine:
    return replace(machine, container="Docker", **machines.NO_DEVICES)


def _no_service(machine: Machine) -> Machine:
    return replace(machine, aesm=Device("/var/run/aesmd/aesm.socket"))


# What may be wrong, from the processor to the services, and the finding that says what to do about it.
DEFECTS = {
    "no CPU flag": (_no_flag, "SGX"),
    "firmware off": (_firmware_off, "SGX1"),
    "no launch control": (_no_launch_control, "FLC"),
    "SGX1 only": (_sgx1_only, "EXINFO"),
    "no EPC": (_no_epc, "EPC"),
    "no driver": (_no_driver, "CONFIG_X86_SGX"),
    "driver off": (_driver_off, "nosgx"),
    "FSGSBASE off": (_no_fsgsbase, "FSGSBASE"),
    "node unreadable": (_unreadable, "/dev/sgx_enclave"),
    "container": (_container, "/dev/sgx_enclave"),
    "no AESM": (_no_service, None),
}
# What nobody can see, or mend, while this is wrong: what to do about it is not told yet.
HIDDEN = {
    "no CPU flag": {
        "firmware off",
        "no launch control",
        "SGX1 only",
        "no EPC",
        "node unreadable",
        "container",
    },
    "firmware off": {"no launch control", "SGX1 only", "no EPC", "node unreadable", "container"},
    "no launch control": {"SGX1 only", "node unreadable", "container"},
    "no driver": {"node unreadable", "container"},
    "driver off": {"node unreadable", "container"},
    "container": {"node unreadable"},
}


def _combinations() -> Iterator[tuple[str, ...]]:
    for size in range(1, len(DEFECTS) + 1):
        yield from combinations(DEFECTS, size)


def _with(names: tuple[str, ...]) -> Machine:
    """A server with these defects. What the processor does not show has no parts to be wrong."""
    machine = SERVER
    for name in reversed(names):
        if machine.processor.leaf_12 is not None or name not in ("SGX1 only", "no EPC"):
            machine = DEFECTS[name][0](machine)
    return machine


def test_every_combination_of_defects_gives_one_remedy_for_each_cause_and_none_for_what_follows() -> None:
    for names in _combinations():
        machine = _with(names)
        told = [
            one.name
            for one in diagnose(machine).findings
            if one.state is State.MISSING and one.remedy is not None
        ]
        hidden = set[str]().union(*(HIDDEN.get(name, set()) for name in names))
        causes = [DEFECTS[name][1] for name in names if name not in hidden]
        assert told == [cause for cause in causes if cause is not None], names
        assert possible(machine) == (
            set() if "FSGSBASE off" in names else {"sim", "linux"} if told else {"sgx", "sim", "linux"}
        ), names
