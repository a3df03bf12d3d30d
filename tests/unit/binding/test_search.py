"""Which system calls are bound, and which are left to trap, in code written by hand for each rule."""

from __future__ import annotations

import struct

import pytest
from tests.support.elves import make_elf
from tests.support.machine_code import DATA, ET_EXEC, TEXT, TEXT_OFFSET, elf

from mystikos.binding import Reason, Site, Trap, bind_file

SYSCALL = b"\x0f\x05"
RET = b"\xc3"
NOP = b"\x90"
MOV_EAX = b"\xb8\x01\0\0\0"  # mov eax, 1
MOV_EAX_R8 = b"\x44\x89\xc0"  # mov eax, r8d
MOV_RDI_RBX = b"\x48\x89\xdf"  # mov rdi, rbx
XOR_EDI = b"\x31\xff"  # xor edi, edi
CMP_RAX = b"\x48\x3d\x00\xf0\xff\xff"  # cmp rax, -4096
CALL_RAX = b"\xff\xd0"  # cannot be displaced
LEA_RIP = b"\x48\x8d\x3d\x00\x01\0\0"  # lea rdi, [rip + 0x100]
TABLE_JUMP = b"\xff\xe0"  # jmp rax


def call(target: int, at: int) -> bytes:
    return b"\xe8" + struct.pack("<i", target - (at + 5))


def jump(target: int, at: int) -> bytes:
    return b"\xe9" + struct.pack("<i", target - (at + 5))


def short_jump(target: int, at: int) -> bytes:
    return b"\xeb" + struct.pack("<b", target - (at + 2))


def lea_rax(target: int, at: int) -> bytes:
    """lea rax, [rip + …]: the address of a place, by offset from the start of the text."""
    return b"\x48\x8d\x05" + struct.pack("<i", target - (at + 7))


def only_site(data: bytes) -> Site:
    sites, traps = bind_file(data)
    assert traps == ()
    (site,) = sites
    return site


def only_trap(data: bytes) -> Reason:
    sites, traps = bind_file(data)
    assert sites == ()
    (trap,) = traps
    return trap.reason


def bound_at(offset: int, before: bytes = b"", after: bytes = b"") -> Site:
    return Site(TEXT_OFFSET + offset, before, after)


class TestShapes:
    def test_a_long_instruction_before_the_call_is_displaced_alone(self) -> None:
        assert only_site(elf(MOV_EAX + SYSCALL + CMP_RAX + RET)) == bound_at(0, MOV_EAX)

    def test_short_instructions_before_the_call_are_displaced_together(self) -> None:
        site = only_site(elf(MOV_RDI_RBX + MOV_EAX_R8 + SYSCALL + RET))
        assert site == bound_at(0, MOV_RDI_RBX + MOV_EAX_R8)

    def test_no_more_instructions_are_displaced_than_the_jump_covers(self) -> None:
        site = only_site(elf(NOP * 3 + MOV_RDI_RBX + MOV_EAX_R8 + SYSCALL + RET))
        assert site == bound_at(3, MOV_RDI_RBX + MOV_EAX_R8)

    def test_one_short_instruction_goes_together_with_the_call(self) -> None:
        assert only_site(elf(CALL_RAX + MOV_EAX_R8 + SYSCALL + RET)) == bound_at(2, MOV_EAX_R8)

    def test_instructions_after_the_call_are_displaced_when_nothing_before_can_be(self) -> None:
        assert only_site(elf(CALL_RAX + SYSCALL + CMP_RAX + RET)) == bound_at(2, after=CMP_RAX)

    def test_instructions_on_both_sides_are_displaced_when_neither_side_is_enough(self) -> None:
        site = only_site(elf(CALL_RAX + XOR_EDI + SYSCALL + XOR_EDI + RET))
        assert site == bound_at(2, XOR_EDI, XOR_EDI)

    def test_execution_continues_behind_what_was_displaced(self) -> None:
        assert only_site(elf(CALL_RAX + SYSCALL + CMP_RAX + RET)).delta == 2 + len(CMP_RAX)
        assert only_site(elf(MOV_EAX + SYSCALL + RET)).delta == 5 + 2

    def test_too_little_room_is_told(self) -> None:
        assert only_trap(elf(CALL_RAX + SYSCALL + RET)) == Reason.NO_ROOM


class TestWhatIsNotDisplaced:
    @pytest.mark.parametrize(
        "instruction",
        [
            pytest.param(LEA_RIP, id="RIP-relative lea"),
            pytest.param(b"\x8b\x05\0\x10\0\0", id="RIP-relative load"),
            pytest.param(b"\x48\x8b\x47\x10\x90", id="load that may fault"),
            pytest.param(b"\x65\x48\x8b\x04\x25\0\0\0\0", id="GS-relative load"),
            pytest.param(b"\xf0\x0f\xb1\x14\x24", id="locked"),
            pytest.param(b"\x0f\xa2\x0f\xa2\x0f\xa2", id="cpuid"),
            pytest.param(b"\xf3\x0f\x1e\xfa", id="endbr64"),
            pytest.param(b"\xe8\0\x01\0\0", id="call"),
        ],
    )
    def test_before_the_call(self, instruction: bytes) -> None:
        assert only_trap(elf(instruction + SYSCALL + RET)) == Reason.NO_ROOM

    @pytest.mark.parametrize(
        "instruction",
        [
            pytest.param(b"\x48\x89\xc8", id="mov rax, rcx"),
            pytest.param(b"\x4c\x89\xd8", id="mov rax, r11"),
            pytest.param(b"\x83\xe1\x01", id="and ecx, 1"),
            pytest.param(b"\x89\x4c\x24\x08", id="mov [rsp + 8], ecx"),
            pytest.param(b"\x0f\x85\0\x01\0\0", id="conditional branch"),
        ],
    )
    def test_after_the_call(self, instruction: bytes) -> None:
        assert only_trap(elf(CALL_RAX + SYSCALL + instruction + RET)) == Reason.NO_ROOM

    def test_stack_and_thread_pointer_operands_are(self) -> None:
        load = b"\x48\x8b\x7c\x24\x08"  # mov rdi, [rsp + 8]
        thread = b"\x64\x48\x8b\x04\x25\0\0\0\0"  # mov rax, fs:[0]
        assert only_site(elf(load + SYSCALL + RET)) == bound_at(0, load)
        assert only_site(elf(thread + SYSCALL + RET)) == bound_at(0, thread)

    def test_reading_rcx_before_the_call_is_fine(self) -> None:
        both = b"\x48\x89\xce" + MOV_RDI_RBX  # mov rsi, rcx
        assert only_site(elf(both + SYSCALL + RET)) == bound_at(0, both)


class TestEntriesFromElsewhere:
    """Offset 3 of SHORT is an instruction that the jump would cover."""

    SHORT = MOV_RDI_RBX + MOV_EAX_R8 + SYSCALL + RET
    IN_THE_MIDDLE = 3

    def test_a_branch_in_the_same_function(self) -> None:
        text = self.SHORT + short_jump(self.IN_THE_MIDDLE, len(self.SHORT))
        assert only_site(elf(text)) == bound_at(3, MOV_EAX_R8)

    def test_a_branch_to_the_call_itself_is_fine_when_the_call_stays(self) -> None:
        text = MOV_EAX + SYSCALL + short_jump(5, 7)
        assert only_site(elf(text)) == bound_at(0, MOV_EAX)

    def test_branches_to_every_instruction_leave_the_site_unbound(self) -> None:
        size = len(self.SHORT)
        text = self.SHORT + short_jump(3, size) + short_jump(6, size + 2)
        assert only_trap(elf(text)) == Reason.REACHED

    def test_a_branch_from_another_function_far_away(self) -> None:
        padding = NOP * 1000
        at = len(self.SHORT + padding)
        text = self.SHORT + padding + jump(self.IN_THE_MIDDLE, at)
        assert only_site(elf(text, [(0, 9), (at, 5)])) == bound_at(3, MOV_EAX_R8)

    def test_a_conditional_branch_from_another_function(self) -> None:
        at = 1000
        text = self.SHORT.ljust(at, NOP) + b"\x0f\x84" + struct.pack("<i", 3 - (at + 6)) + RET
        assert only_site(elf(text, [(0, 9), (at, 7)])) == bound_at(3, MOV_EAX_R8)

    def test_a_branch_at_the_very_end_of_the_text(self) -> None:
        at = 1000
        text = self.SHORT.ljust(at, NOP) + jump(3, at)
        assert only_site(elf(text, [(0, 9)])) == bound_at(3, MOV_EAX_R8)

    def test_a_short_branch_in_code_that_cannot_be_decoded(self) -> None:
        hidden = b"\x06" + short_jump(self.IN_THE_MIDDLE, len(self.SHORT) + 1)  # 06 is no instruction
        assert only_site(elf(self.SHORT + hidden, [(0, 9)])) == bound_at(3, MOV_EAX_R8)

    def test_bytes_that_look_like_a_branch_inside_an_instruction_do_not_count(self) -> None:
        at = 1000
        mov = b"\x48\xb8" + jump(3, at + 2) + bytes(3) + RET  # mov rax, imm64
        text = self.SHORT.ljust(at, NOP) + mov
        site = only_site(elf(text, [(0, 9), (at, len(mov))]))
        assert site == bound_at(0, MOV_RDI_RBX + MOV_EAX_R8)

    def test_a_pointer_in_data(self) -> None:
        data = bytes(12) + struct.pack("<Q", TEXT + self.IN_THE_MIDDLE)
        assert only_site(elf(self.SHORT, data=data)) == bound_at(3, MOV_EAX_R8)

    def test_an_address_computed_by_lea(self) -> None:
        text = self.SHORT + lea_rax(self.IN_THE_MIDDLE, len(self.SHORT)) + RET
        assert only_site(elf(text)) == bound_at(3, MOV_EAX_R8)

    def test_an_immediate_in_a_fixed_address_executable(self) -> None:
        text = self.SHORT + b"\xbf" + struct.pack("<I", TEXT + 3) + RET  # mov edi, address
        assert only_site(elf(text, kind=ET_EXEC)) == bound_at(3, MOV_EAX_R8)

    def test_a_pointer_into_the_one_displaced_instruction_means_nothing(self) -> None:
        data = struct.pack("<Q", TEXT + 2)
        assert only_site(elf(MOV_EAX + SYSCALL + RET, data=data)) == bound_at(0, MOV_EAX)

    def test_a_jump_table_of_offsets(self) -> None:
        text = lea_rax(DATA - TEXT, 0) + TABLE_JUMP + self.SHORT
        data = struct.pack("<ii", TEXT + 9 - DATA, TEXT + 9 + self.IN_THE_MIDDLE - DATA)
        assert only_site(elf(text, data=data)) == bound_at(9 + 3, MOV_EAX_R8)

    def test_a_jump_table_that_leads_elsewhere_does_no_harm(self) -> None:
        text = lea_rax(DATA - TEXT, 0) + TABLE_JUMP + self.SHORT
        data = struct.pack("<ii", TEXT + 9 - DATA, TEXT + 17 - DATA)
        assert only_site(elf(text, data=data)) == bound_at(9, MOV_RDI_RBX + MOV_EAX_R8)

    def test_an_indirect_jump_whose_table_is_unknown(self) -> None:
        assert only_trap(elf(self.SHORT + TABLE_JUMP)) == Reason.INDIRECT

    def test_an_indirect_jump_does_not_matter_for_a_single_instruction(self) -> None:
        assert only_site(elf(MOV_EAX + SYSCALL + TABLE_JUMP)) == bound_at(0, MOV_EAX)

    def test_a_jump_through_a_pointer_in_memory_is_a_tail_call(self) -> None:
        tail = b"\xff\x25\0\x10\0\0"  # jmp [rip + 0x1000]
        assert only_site(elf(self.SHORT + tail)) == bound_at(0, MOV_RDI_RBX + MOV_EAX_R8)


class TestWhatIsNotASystemCall:
    def test_the_bytes_inside_another_instruction(self) -> None:
        assert bind_file(elf(b"\xb8\x0f\x05\0\0" + RET)) == ((), ())

    def test_data_in_an_executable_segment_outside_of_code_sections(self) -> None:
        assert bind_file(elf(RET, [], data=MOV_EAX + SYSCALL)) == ((), ())

    def test_a_file_that_is_not_elf(self) -> None:
        assert bind_file(b"#!/bin/sh\n" + SYSCALL * 40) == ((), ())

    def test_another_machine(self) -> None:
        data = bytearray(elf(MOV_EAX + SYSCALL + RET))
        data[18] = 183  # AArch64
        assert bind_file(bytes(data)) == ((), ())


class TestWhatTraps:
    @pytest.mark.parametrize("mov", [b"\xb8\x0f\0\0\0", b"\x48\xc7\xc0\x0f\0\0\0"])
    def test_signal_return_trampolines(self, mov: bytes) -> None:
        assert only_trap(elf(mov + SYSCALL + RET)) == Reason.SIGNAL_RETURN

    def test_code_that_cannot_be_decoded(self) -> None:
        assert only_trap(elf(MOV_EAX + SYSCALL + b"\x06" + RET)) == Reason.UNKNOWN_CODE

    def test_a_function_whose_last_instruction_is_cut_off(self) -> None:
        assert only_trap(elf(MOV_EAX + SYSCALL + b"\xe8\0\0")) == Reason.UNKNOWN_CODE

    def test_a_function_listed_to_start_inside_an_instruction(self) -> None:
        text = MOV_EAX + SYSCALL + RET
        functions = [(0, len(text)), (1, 1)]
        assert only_trap(elf(text, functions)) == Reason.UNKNOWN_CODE

    def test_code_of_which_nothing_is_known(self) -> None:
        assert only_trap(elf(MOV_EAX + SYSCALL + RET, [], sections=False)) == Reason.UNKNOWN_CODE

    def test_a_call_at_address_zero(self) -> None:
        assert only_trap(make_elf(3, [(5, 0, SYSCALL + RET, 3)])) == Reason.UNKNOWN_CODE

    def test_a_jump_that_would_cross_a_page(self) -> None:
        text = NOP * (4096 - 2) + MOV_EAX + SYSCALL + RET
        assert only_trap(elf(text, [(4094, 8)])) == Reason.PAGE

    def test_code_that_is_relocated(self) -> None:
        data = elf(MOV_EAX + SYSCALL + RET, text_relocations=True)
        assert only_trap(data) == Reason.TEXT_RELOCATIONS

    def test_one_of_two_that_need_the_same_instruction(self) -> None:
        text = CALL_RAX + SYSCALL + MOV_RDI_RBX + SYSCALL + RET
        sites, traps = bind_file(elf(text))
        assert sites == (bound_at(2, after=MOV_RDI_RBX),)
        assert traps == (Trap(TEXT_OFFSET + 7, Reason.OVERLAP),)


class TestCodeBetweenFunctions:
    def test_a_gap_between_listed_functions_is_code_when_it_decodes(self) -> None:
        text = RET + MOV_EAX + SYSCALL + RET + RET
        assert only_site(elf(text, [(0, 1), (9, 1)])) == bound_at(1, MOV_EAX)

    def test_a_gap_that_runs_into_the_next_function_is_not(self) -> None:
        text = RET + MOV_EAX + SYSCALL + b"\xb8" + RET
        assert only_trap(elf(text, [(0, 1), (9, 1)])) == Reason.UNKNOWN_CODE

    def test_in_a_gap_an_indirect_jump_counts_for_the_function_that_calls_delimit(self) -> None:
        first = MOV_EAX_R8 + TABLE_JUMP  # 0…4
        second = MOV_RDI_RBX + MOV_EAX_R8 + SYSCALL + RET  # 5…13
        third = call(5, 14) + RET
        assert only_site(elf(first + second + third, [])) == bound_at(5, MOV_RDI_RBX + MOV_EAX_R8)
        assert only_trap(elf(first + second + NOP * 5 + RET, [])) == Reason.INDIRECT
