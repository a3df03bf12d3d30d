"""What holds for every package: no bit of it can change unnoticed, and equal inputs give equal bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from mystikos import pipeline
from mystikos.errors import MystError
from mystikos.formats import descriptor, parameters, sigstruct
from mystikos.formats.descriptor import Descriptor, DescriptorError, Section
from mystikos.formats.parameters import ParametersError
from mystikos.formats.sigstruct import SigstructError
from mystikos.package import unpack
from mystikos.verification import verify
from tests.support import packages
from tests.support.packages import PackageForge
from tests.support.rounds import rounds

QUICK = rounds(120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.make(tmp_path_factory.mktemp("package"))


def accepted(path: Path) -> bool:
    try:
        return verify(unpack(path)).passed
    except MystError:
        return False


def loaded_bytes(forge: PackageForge) -> list[int]:
    """File offsets of every byte that the launcher takes from the package."""
    offsets: list[int] = []
    for region in forge.package.enclave.regions:
        if isinstance(region.source, descriptor.Slice):
            start = forge.offset(region.source.section, region.source.offset)
            offsets += range(start, start + region.source.size)
    place = forge.package.sections[Section.ENCLAVE]
    return [*offsets, *range(place.offset, place.end)]


@QUICK
@given(data=st.data())
def test_any_flipped_bit_of_what_is_loaded_fails_verification(
    package: Path, tmp_path: Path, data: st.DataObject
) -> None:
    forge = PackageForge.of(package)
    at = data.draw(st.sampled_from(loaded_bytes(forge)))
    forge.data[at] ^= 1 << data.draw(st.integers(0, 7))
    assert not accepted(forge.write(tmp_path))


@QUICK
@given(data=st.data())
def test_any_flipped_bit_of_the_descriptor_fails_even_with_its_digest_made_right(
    package: Path, tmp_path: Path, data: st.DataObject
) -> None:
    forge = PackageForge.of(package)
    size = forge.package.sections[Section.ENCLAVE].size
    at = data.draw(st.integers(0, size - 1).filter(lambda n: not 96 <= n < 128))
    forge.flip(Section.ENCLAVE, at, data.draw(st.integers(0, 7))).fix_descriptor()
    assert not accepted(forge.write(tmp_path))


@QUICK
@given(size=st.integers(0, 200_000))
def test_a_package_cut_anywhere_is_refused(package: Path, tmp_path: Path, size: int) -> None:
    forge = PackageForge.of(package)
    if size >= len(forge.data):
        size %= len(forge.data)
    assert not accepted(forge.truncate(size).write(tmp_path))


@QUICK
@given(junk=st.binary(max_size=4), data=st.data())
def test_arbitrary_bytes_in_the_headers_never_crash_the_reader(
    package: Path, tmp_path: Path, junk: bytes, data: st.DataObject
) -> None:
    forge = PackageForge.of(package)
    headers = [*range(120), *range(forge.section_header(Section.KERNEL), len(forge.data) - 4)]
    forge.put_at(data.draw(st.sampled_from(headers)), junk)
    accepted(forge.write(tmp_path))


@given(content=st.binary(max_size=5000))
def test_arbitrary_bytes_are_no_descriptor_sigstruct_or_parameter_page(content: bytes) -> None:
    with pytest.raises(DescriptorError):
        descriptor.decode(content)
    with pytest.raises(SigstructError):
        sigstruct.unpack(content)
    with pytest.raises(ParametersError):
        parameters.decode(content)


def test_descriptor_and_parameters_round_trip(package: Path) -> None:
    found = unpack(package)
    stored = bytes(found.section(Section.ENCLAVE))
    assert descriptor.encode(Descriptor(found.enclave, found.trace, found.sigstruct.pack())) == stored
    assert found.parameters.page() == bytes(found.section(Section.CONFIG)[:4096])


def test_a_copied_tree_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    source = package.parent / "appdir"
    copy = tmp_path / "elsewhere"
    (copy / "etc").mkdir(parents=True)
    for name in ("etc/data", "bin/app"):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(source / name, copy / name)
    pipeline.build(copy, packages.signer(), packages.config(), tmp_path / "again", runtime=packages.runtime())
    assert (tmp_path / "again").read_bytes() == package.read_bytes()


BUILD = """
import os, sys, time
from pathlib import Path
from mystikos import config, pipeline
from mystikos.signers import PemSigner
from tests.support import packages

os.umask(int(sys.argv[1], 8))
here = Path(sys.argv[2])
signer = PemSigner.load(here / "private.pem", None)
pipeline.build(here / "appdir", signer, packages.config(), Path(sys.argv[3]), runtime=packages.runtime())
"""


def test_umask_time_zone_locale_and_hash_seed_do_not_change_the_bytes(tmp_path: Path) -> None:
    from mystikos.signers import keygen

    keygen(tmp_path / "private.pem")
    packages.appdir(tmp_path / "appdir", {"etc/data": b"x" * 9999})
    made = []
    surroundings = (
        ("022", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
        ("077", {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}),
    )
    for number, (umask, variables) in enumerate(surroundings):
        output = tmp_path / f"out{number}"
        subprocess.run(
            [sys.executable, "-c", BUILD, umask, str(tmp_path), str(output)],
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        )
        made.append(output.read_bytes())
    assert made[0] == made[1]
