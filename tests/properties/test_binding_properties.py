"""Random programs, of which everything is known from making them: no bound site may contradict it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mystikos.binding import bind_file
from tests.support.machine_code import DATA, TEXT, TEXT_OFFSET, elf
from tests.support.rounds import rounds

SYSCALL = b"\x0f\x05"

MOVABLE = [
    b"\xb8\x01\0\0\0",  # mov eax, 1
    b"\x48\x89\xdf",  # mov rdi, rbx
    b"\x31\xff",  # xor edi, edi
    b"\x90",  # nop
    b"\x48\x3d\x00\xf0\xff\xff",  # cmp rax, -4096
    b"\x48\x8b\x7c\x24\x08",  # mov rdi, [rsp + 8]
    b"\x57",  # push rdi
    b"\xb8\x0f\x05\x0f\x05",  # mov eax, 0x050f050f: looks like two system calls
]
FIXED = [
    b"\x48\x8b\x43\x08",  # mov rax, [rbx + 8]
    b"\xff\xd0",  # call rax
    b"\xc3",  # ret
    b"\x8b\x05\xeb\xfe\xeb\xfc",  # mov eax, [rip - …]: looks like short jumps
]
BRANCHES = ["jmp8", "jmp32", "jne8", "jne32", "call32", "lea"]

instruction = st.one_of(
    st.sampled_from(MOVABLE),
    st.sampled_from(MOVABLE),
    st.just(SYSCALL),
    st.just(SYSCALL),
    st.sampled_from(FIXED),
    st.tuples(st.sampled_from(BRANCHES), st.integers(0, 10_000)),
    st.just("jump rax"),
)


@dataclass
class Program:
    text: bytes
    starts: list[int]
    entries: set[int]  # offsets that something jumps to or names
    functions: list[tuple[int, int]]
    kinds: dict[int, bytes] = field(default_factory=dict)  # of instructions that are not branches


def size_of(item: object) -> int:
    if isinstance(item, bytes):
        return len(item)
    if isinstance(item, tuple):
        return {"jmp8": 2, "jne8": 2, "jmp32": 5, "jne32": 6, "call32": 5, "lea": 7}[item[0]]
    return 2


def assemble(functions: list[list[object]]) -> Program:
    starts, bounds, at = [], [], 0
    for items in functions:
        first = at
        for item in items:
            starts.append(at)
            at += size_of(item)
        bounds.append((first, at - first))

    program = Program(b"", starts, set(), bounds)
    flat = [item for items in functions for item in items]
    for item, start in zip(flat, starts, strict=True):
        if isinstance(item, bytes):
            code = program.kinds[start] = item
        elif isinstance(item, tuple):
            code = branch(program, *item, start)
        else:
            code = b"\xff\xe0"
        program.text += code
    return program


def branch(program: Program, kind: str, choice: int, start: int) -> bytes:
    size = size_of((kind, 0))
    targets = program.starts
    if kind.endswith("8"):
        targets = [t for t in targets if -128 <= t - (start + size) <= 127]
    target = targets[choice % len(targets)]
    program.entries.add(target)
    opcode = {
        "jmp8": b"\xeb",
        "jne8": b"\x75",
        "jmp32": b"\xe9",
        "jne32": b"\x0f\x85",
        "call32": b"\xe8",
        "lea": b"\x48\x8d\x05",
    }[kind]
    return opcode + struct.pack("<b" if size == 2 else "<i", target - (start + size))


@rounds(300)
@given(
    functions=st.lists(st.lists(instruction, min_size=1, max_size=25), min_size=1, max_size=5),
    pointers=st.lists(st.integers(0, 10_000), max_size=3),
    table=st.lists(st.integers(0, 10_000), max_size=4),
    listed=st.booleans(),
)
def test_no_bound_site_can_be_entered_in_the_middle(
    functions: list[list[object]], pointers: list[int], table: list[int], listed: bool
) -> None:
    if table:  # some code that names the table and jumps through it
        functions = [*functions, [b"\x48\x8d\x05" + struct.pack("<i", 0), "jump rax"]]
    program = assemble(functions)
    places = [program.starts[p % len(program.starts)] for p in pointers]
    rows = [program.starts[t % len(program.starts)] for t in table]
    data = b"".join(struct.pack("<Q", TEXT + p) for p in places)
    base = DATA + len(data)
    data += b"".join(struct.pack("<i", TEXT + row - base) for row in rows)
    if table:
        lea = program.functions[-1][0]
        end = lea + 7
        program.text = program.text[: lea + 3] + struct.pack("<i", base - TEXT - end) + program.text[end:]
    entries = program.entries | set(places) | set(rows)

    file = elf(program.text, program.functions if listed else [program.functions[0]], data=data)
    sites, traps = bind_file(file)

    calls = {start for start, kind in program.kinds.items() if kind == SYSCALL}
    found = [s.syscall_offset for s in sites] + [t.offset for t in traps]
    assert sorted(found) == sorted(TEXT_OFFSET + start for start in calls)

    last_end = 0
    for site in sites:
        start = site.offset - TEXT_OFFSET
        end = start + site.delta
        inside = [s for s in program.starts if start <= s < end]
        assert inside[0] == start
        assert b"".join(program.kinds[s] for s in inside) == site.before + SYSCALL + site.after
        assert all(program.kinds[s] in [*MOVABLE, SYSCALL] for s in inside)
        assert [program.kinds[s] for s in inside].count(SYSCALL) == 1
        assert not entries & set(range(start + 1, start + 5))
        assert start >= last_end
        last_end = end
