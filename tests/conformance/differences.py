"""Where the kernel may differ from Linux: by program, the line (up to its result) and the reason.

Each of these lines must really differ, so that none outlives its reason.
"""

from __future__ import annotations

ACCEPTED: dict[str, dict[str, str]] = {}
