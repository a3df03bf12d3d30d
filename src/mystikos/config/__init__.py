"""Stage 1: a config file becomes a frozen ``Config``.

>>> config = parse(b'{"ApplicationPath": "/bin/hello"}', "config.json")
>>> config.max_threads
128
"""

from mystikos.config.kinds import format_size, parse_size
from mystikos.config.lints import LINTS, lint
from mystikos.config.reading import load, parse
from mystikos.config.settings import KEYS, Config, Mount, Secret, from_record

__all__ = [
    "KEYS",
    "LINTS",
    "Config",
    "Mount",
    "Secret",
    "format_size",
    "from_record",
    "lint",
    "load",
    "parse",
    "parse_size",
]
