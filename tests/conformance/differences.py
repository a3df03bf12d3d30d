"""Where the kernel may differ from Linux: by program, how a line begins, and the reason.

Each of these lines must really differ, so that none outlives its reason.
"""

from __future__ import annotations

_WHOLE = "a buffer that is not readable to its end is refused as a whole, which POSIX allows"
_NO_RESERVATION = "memory is always present, so locking it has nothing to bring in and nothing to fail at"

ACCEPTED: dict[str, dict[str, str]] = {
    "bad_pointers": {
        "write(file, p, 8) = ": _WHOLE,
        "pwrite64(file, p, 8, 0) = ": _WHOLE,
        "writev(file, &vector, 1) = ": _WHOLE,
        "getrandom(p, 16, 0) = ": _WHOLE,
        "read(pipes[0], p, 4) = ": "what fits before the end of the memory is read, as from a file",
        "futex(p, 1, 0, NULL, NULL, 0) = ": "a wake of private waiters does not look at the memory",
    },
    "mm_matrix": {
        "n <= 32768 ? mlock(p, n) : 0 p=2": _NO_RESERVATION,
        "n <= 32768 ? mlock(p, n) : 0 p=3": _NO_RESERVATION,
        "mmap(p, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) p=null": (
            "the lowest pages are nobody's to map, as for users without CAP_SYS_RAWIO"
        ),
        "mprotect(shared, 4096, PROT_READ | PROT_WRITE) = ": (
            "a shared mapping does not remember that its descriptor was for reading only"
        ),
    },
    "wrong_kinds": {
        "mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) = ": (
            "a page of a file has one shared mapping, and one for reading only is there already"
        ),
    },
}
