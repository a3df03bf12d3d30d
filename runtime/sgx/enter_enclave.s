# int __vdso_sgx_enter_enclave(unsigned long rdi, unsigned long rsi, unsigned long rdx, unsigned int function,
#                              unsigned long r8, unsigned long r9, struct sgx_enclave_run *run)
#
# The calling convention that Linux documents in <asm/sgx.h>, for machines whose vDSO has no such function, and no kinder
# than Linux's own: who relies on more would fail on hardware. Position independent, so that it may be copied; Intel
# syntax. Included with global_asm!.
#
#   sgx_enter_enclave          first instruction
#   sgx_enter_enclave_enclu    the ENCLU, which is its own asynchronous exit pointer: an interrupt resumes at once
#   sgx_enter_enclave_fixup    where an exception at the ENCLU continues: EDI trap number, ESI error code, RDX address,
#                              EAX the leaf (2: the entry itself failed, 3: the enclave was left)
#   sgx_enter_enclave_end      one past the last byte
#
# RAX, RBX and RCX are consumed; every other register reaches the enclave as the caller set it. RBP finds `run` again, so
# the enclave must preserve it; and RSP, unless a handler puts it right: the caller's RBX is popped from there. Nor is
# RFLAGS.DF cleared for a caller without a handler.

    .globl sgx_enter_enclave
    .globl sgx_enter_enclave_enclu
    .globl sgx_enter_enclave_fixup
    .globl sgx_enter_enclave_end

    .p2align 4
sgx_enter_enclave:
    push rbp
    mov rbp, rsp
    push rbx
    mov eax, ecx

    # EAX is the function: EENTER 2 or ERESUME 3; run.reserved, to the end of its 256 bytes, is zero.
1:  lea ecx, [rax - 2]
    cmp ecx, 1
    ja 5f
    mov rcx, [rbp + 16]             # run: the seventh argument
    mov ebx, 40
2:  cmp qword ptr [rcx + rbx], 0
    jne 5f
    add ebx, 8
    cmp ebx, 256
    jb 2b

    mov rbx, [rcx]                  # run.tcs
    lea rcx, [rip + sgx_enter_enclave_enclu]
sgx_enter_enclave_enclu:
    .byte 0x0f, 0x01, 0xd7          # enclu

    # EEXIT comes back here: EENTER left this address in RCX.
    mov rbx, [rbp + 16]
    mov dword ptr [rbx + 8], 4      # run.function: EEXIT

3:  mov rax, [rbx + 24]             # run.user_handler
    test rax, rax
    jz 4f

    # handler(rdi, rsi, rdx, rsp, r8, r9, run), on an aligned stack; RBX keeps RSP as the enclave left it.
    mov rcx, rsp
    and rsp, -16
    sub rsp, 16
    mov [rsp], rbx
    mov rbx, rcx
    cld
    call rax
    mov rsp, rbx
    test eax, eax
    jg 1b

4:  pop rbx
    leave
    ret

5:  mov eax, -22                    # -EINVAL
    jmp 4b

sgx_enter_enclave_fixup:
    mov rbx, [rbp + 16]
    mov [rbx + 8], eax              # run.function
    mov [rbx + 12], di              # run.exception_vector
    mov [rbx + 14], si              # run.exception_error_code
    mov [rbx + 16], rdx             # run.exception_addr
    jmp 3b
sgx_enter_enclave_end:
