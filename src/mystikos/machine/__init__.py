"""The machine that packages run on, as plain facts. Judges nothing: ``mystikos.doctor`` does.

>>> machine = read()
>>> machine.kernel.release  # doctest: +SKIP
'6.1.0-18-amd64'
"""

from __future__ import annotations

from mystikos.machine.facts import Device, EpcSection, Kernel, Machine, Processor, SgxFacts, User
from mystikos.machine.reading import read

__all__ = ["Device", "EpcSection", "Kernel", "Machine", "Processor", "SgxFacts", "User", "read"]
