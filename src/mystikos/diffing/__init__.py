"""Why two packages measure differently; the same for two configs, or two root file systems.

Bytes are compared, never digests that a file tells of itself, and each byte about once, in bounded memory::

    found = diff(Path("before"), Path("after"))
    found.equal, found.first_page, found.files, found.settings

Whether either package is genuine is for ``verification`` to tell.
"""

from mystikos.diffing.findings import (
    ContentChange,
    Difference,
    FieldChange,
    FileChange,
    FileState,
    FirstPage,
    LayoutChange,
    Pages,
)
from mystikos.diffing.inputs import diff, diff_configs, diff_packages, diff_root_file_systems

__all__ = [
    "ContentChange",
    "Difference",
    "FieldChange",
    "FileChange",
    "FileState",
    "FirstPage",
    "LayoutChange",
    "Pages",
    "diff",
    "diff_configs",
    "diff_packages",
    "diff_root_file_systems",
]
