"""How large something is, as people write it: `"64MB"`, `"1GB"`, `4096`."""

from __future__ import annotations

import re
from typing import Final

from millstream.errors import UsageError

_UNITS: Final = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4, "": 1}
_TEXT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(\w*)\s*")


def size_bytes(value: int | str) -> int:
    """Return a size in bytes, above 0; units are powers of 1,000.

    Raises:
        UsageError: Not a size; names the value and what is.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is not None and match[2] in _UNITS and float(match[1]) > 0:
        return max(1, round(float(match[1]) * _UNITS[match[2]]))
    raise UsageError(f'{value!r} is not a size; give one such as "64kB", "10MB", "1GB", or a number of bytes above 0')
