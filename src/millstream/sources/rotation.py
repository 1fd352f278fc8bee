"""Which files a log was renamed to, and in which order.

logrotate's names: `x.log.1` is younger than `x.log.2`; `x.log-20260211` is older than `x.log-20260212`. Compressed ones
are left out: their inodes and offsets are others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_SUFFIX: Final = re.compile(r"[.-](\d[\d.-]*)\Z")
_DATE: Final = 10_000_000
"""Numbers from here on are dates or times, and count up."""


def generations(path: Path) -> list[Path]:
    """Return the files that `path` was renamed to, oldest first, and then `path` itself. Each may be gone by now."""
    found: list[tuple[int, int, Path]] = []
    try:
        for file in path.parent.iterdir():
            if not file.name.startswith(path.name):
                continue
            suffix = _SUFFIX.fullmatch(file.name[len(path.name) :])
            if suffix is None:
                continue
            number = int(re.sub(r"\D", "", suffix[1])[:18])
            try:
                found.append((file.stat().st_mtime_ns, number if number >= _DATE else -number, file))
            except OSError:
                continue  # renamed or deleted since it was listed
    except OSError:
        pass  # a directory that may be searched but not listed
    return [file for _, _, file in sorted(found)] + [path]
