"""Stage 2b, decoding: the instructions of one function, and which of them may move.

>>> mover = Mover()
>>> mover.may_precede(bytes.fromhex("b801000000"), 0x1000)  # mov eax, 1
True
>>> mover.may_follow(bytes.fromhex("4889c8"), 0x1000)  # mov rax, rcx
False
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final

from iced_x86 import (
    Code as Opcode,
)
from iced_x86 import (
    Decoder,
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
    RegisterExt,
)

from mystikos.binding.elf import Image
from mystikos.binding.functions import Block, Functions

# What may run from another address: plain moves, arithmetic and tests, whose every effect is on their
# operands and the flags. Anything not listed stays where it is.
_MOVABLE_NAMES: Final = """
    MOV MOVSX MOVSXD MOVZX LEA XCHG PUSH POP NOP
    ADD ADC SUB SBB INC DEC NEG NOT AND OR XOR CMP TEST SHL SHR SAR ROL ROR BT BTS BTR BSWAP IMUL
    CDQ CDQE CQO CWDE
    CMOVA CMOVAE CMOVB CMOVBE CMOVE CMOVNE CMOVG CMOVGE CMOVL CMOVLE CMOVNO CMOVNP CMOVNS CMOVO CMOVP CMOVS
    SETA SETAE SETB SETBE SETE SETNE SETG SETGE SETL SETLE SETNO SETNP SETNS SETO SETP SETS
    MOVAPS MOVUPS MOVAPD MOVUPD MOVDQA MOVDQU MOVQ MOVD PXOR XORPS XORPD PUNPCKLQDQ MOVHPS MOVLPS
"""
_MOVABLE: Final = frozenset(getattr(Mnemonic, name) for name in _MOVABLE_NAMES.split())
_RETURN_REGISTERS: Final = frozenset({Register.RCX, Register.R11})
_READS: Final = frozenset(
    {OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE, OpAccess.NO_MEM_ACCESS}
)
_DIRECT: Final = frozenset({OpKind.NEAR_BRANCH16, OpKind.NEAR_BRANCH32, OpKind.NEAR_BRANCH64})
_DIRECT_FLOW: Final = frozenset(
    {
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.CONDITIONAL_BRANCH,
        FlowControl.CALL,
        FlowControl.XBEGIN_XABORT_XEND,
    }
)


@dataclass(frozen=True)
class Code:
    """A decoded block. When it is not ``clean`` it may hold data, and nothing in it is to be relied on."""

    block: Block
    clean: bool
    starts: list[int]  # of every instruction, ascending
    targets: frozenset[int]  # of its direct branches and calls
    calls: tuple[int, ...]  # the targets of its direct calls inside the block, ascending
    indirect_jumps: tuple[int, ...]  # every `jmp` through a register, which may have come from a jump table

    def is_boundary(self, address: int) -> bool:
        return self.index(address) is not None

    def index(self, address: int) -> int | None:
        """The position of the instruction that starts at an address."""
        position = bisect_left(self.starts, address)
        return position if position < len(self.starts) and self.starts[position] == address else None

    def function_around(self, address: int) -> tuple[int, int]:
        """The bounds of the function that holds an address: in a gap, as far as calls within it tell."""
        if self.block.named:
            return self.block.start, self.block.end
        position = bisect_right(self.calls, address)
        low = self.calls[position - 1] if position else self.block.start
        return low, self.calls[position] if position < len(self.calls) else self.block.end

    def end_of(self, index: int) -> int:
        return self.starts[index + 1] if index + 1 < len(self.starts) else self.block.end


def decode(image: Image, functions: Functions, block: Block) -> Code:
    """Decode a block from start to end; it is clean when every byte belongs to a valid instruction."""
    content = image.read(block.start, block.end - block.start)
    starts: list[int] = []
    targets: set[int] = set()
    calls: set[int] = set()
    indirect_jumps: list[int] = []
    clean = len(content) == block.end - block.start

    for instruction in Decoder(64, content, ip=block.start):
        if instruction.code == Opcode.INVALID:
            clean = False
            break
        starts.append(instruction.ip)
        flow = instruction.flow_control
        if flow in _DIRECT_FLOW and instruction.op0_kind in _DIRECT:
            targets.add(instruction.near_branch_target)
            if flow == FlowControl.CALL:
                calls.add(instruction.near_branch_target)
        elif flow == FlowControl.INDIRECT_BRANCH and not _through_known_address(instruction):
            indirect_jumps.append(instruction.ip)

    inside = sorted(target for target in calls if block.start <= target < block.end)
    code = Code(block, clean, starts, frozenset(targets), tuple(inside), tuple(indirect_jumps))
    inner = functions.starts_within(block.start, block.end)
    return code if clean and all(code.is_boundary(int(a)) for a in inner) else _unclean(code)


def _through_known_address(instruction: Instruction) -> bool:
    """`jmp [rip + x]` or `jmp [x + 8 * index]`: their targets are found as 64-bit pointers."""
    return instruction.op0_kind == OpKind.MEMORY and (
        instruction.is_ip_rel_memory_operand or instruction.memory_base == Register.NONE
    )


def _unclean(code: Code) -> Code:
    return Code(code.block, False, [], frozenset(), (), ())


class Mover:
    """Tells which single instructions may be displaced."""

    def __init__(self) -> None:
        self._information = InstructionInfoFactory()

    def may_precede(self, content: bytes, address: int) -> bool:
        """Whether an instruction before the system call may run from the stub instead."""
        return self._movable(content, address) is not None

    def may_follow(self, content: bytes, address: int) -> bool:
        """The same for one after it, which must not look at RCX and R11: the stub's, not the site's."""
        instruction = self._movable(content, address)
        if instruction is None:
            return False
        used = self._information.info(instruction).used_registers()
        return not any(
            RegisterExt.full_register(u.register) in _RETURN_REGISTERS and u.access in _READS for u in used
        )

    def _movable(self, content: bytes, address: int) -> Instruction | None:
        instruction = Decoder(64, content, ip=address).decode()
        if instruction.code == Opcode.INVALID or instruction.len != len(content):
            return None
        if instruction.mnemonic not in _MOVABLE or instruction.flow_control != FlowControl.NEXT:
            return None
        if instruction.is_ip_rel_memory_operand or instruction.has_lock_prefix:
            return None
        if instruction.has_rep_prefix or instruction.has_repne_prefix:
            return None
        if any(_immovable(instruction, operand) for operand in range(instruction.op_count)):
            return None
        return instruction


def _immovable(instruction: Instruction, operand: int) -> bool:
    """Segment registers, and memory that might fault: a handler would find a RIP outside of the program."""
    kind = instruction.op_kind(operand)
    if kind == OpKind.REGISTER:
        return RegisterExt.is_segment_register(instruction.op_register(operand))
    if kind != OpKind.MEMORY or instruction.mnemonic in (Mnemonic.LEA, Mnemonic.NOP):
        return False
    if instruction.memory_index != Register.NONE:
        return True
    place = (instruction.memory_segment, instruction.memory_base)
    return place not in ((Register.SS, Register.RSP), (Register.FS, Register.NONE))
