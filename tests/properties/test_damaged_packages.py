"""Random damage to a package: the reader and the verifier answer, and answer no, whatever it is."""

from __future__ import annotations

import random
from pathlib import Path

from mystikos.errors import MystError
from mystikos.formats.descriptor import Section, Slice
from mystikos.inspection import inspect_package
from mystikos.package import unpack
from mystikos.report import report
from mystikos.verification import verify
from tests.support import packages
from tests.support.packages import PackageForge
from tests.support.rounds import FACTOR

ROUNDS = 60 * FACTOR
INTERESTING = [
    *(0, 2, 0x80, 0xFF, 0x1000, 0xFFFF),
    *((1 << bits) - less for bits in (31, 32, 40, 47, 63, 64) for less in (0, 1)),
]


def damage(forge: PackageForge, source: random.Random) -> None:
    """A few changes, mostly in the tables that the reader follows."""
    tables = [
        range(64),
        range(forge.section_header(Section.KERNEL), len(forge.data)),
        range(forge.offset(Section.ENCLAVE), forge.offset(Section.ENCLAVE, 128 + 128 * 20)),
        range(forge.offset(Section.CONFIG), forge.offset(Section.CONFIG, 300)),
        range(len(forge.data)),
    ]
    for _ in range(source.randint(1, 4)):
        at = source.choice(source.choice(tables))
        size = source.choice([1, 2, 4, 8])
        value = source.choice(INTERESTING) if source.random() < 0.5 else source.getrandbits(64)
        at -= at % size
        forge.put_at(at, (value % (1 << 8 * size)).to_bytes(size, "little"))
    del forge.data[source.choice([len(forge.data)] * 9 + [source.randrange(len(forge.data))]) :]


def loaded(forge: PackageForge) -> list[bytes]:
    """The bytes that count: sections as far as they are loaded, and the descriptor."""
    parts = [bytes(forge.data[at.offset : at.end]) for at in [forge.package.sections[Section.ENCLAVE]]]
    for region in forge.package.enclave.regions:
        if isinstance(region.source, Slice):
            start = forge.offset(region.source.section, region.source.offset)
            parts.append(bytes(forge.data[start : start + region.source.size]))
    return parts


def test_random_damage_never_crashes_the_verifier_and_never_passes_it(tmp_path: Path) -> None:
    package = packages.make(tmp_path)
    original = loaded(PackageForge.of(package))
    first = random.SystemRandom().getrandbits(32)
    for seed in range(first, first + ROUNDS):
        forge = PackageForge.of(package)
        source = random.Random(seed)
        damage(forge, source)
        whole = len(forge.data) > forge.package.sections[Section.ENCLAVE].end
        if whole and source.random() < 0.5:
            forge.fix_descriptor()
        try:
            passed = verify(unpack(forge.write(tmp_path))).passed
        except MystError:
            passed = False
        assert not passed or loaded(forge) == original, f"seed {seed}"


def test_random_damage_never_crashes_inspection_and_its_report(tmp_path: Path) -> None:
    package = packages.make(tmp_path)
    first = random.SystemRandom().getrandbits(32)
    told = 0
    for seed in range(first, first + ROUNDS):
        forge = PackageForge.of(package)
        damage(forge, random.Random(seed))
        try:
            page = report(inspect_package(unpack(forge.write(tmp_path))))
        except MystError:
            continue
        assert page.endswith(b"</html>\n"), f"seed {seed}"
        told += 1
    assert told or ROUNDS < 60
