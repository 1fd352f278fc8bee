"""A time in front of a line whose rest has a shape of its own: `2026-03-01T10:00:00Z level=info msg="it works"`.

`docker logs --timestamps`, systemd's `ExecStart=... | ts`, and programs whose formatter knows of no time write it.
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import Final

from millstream.parsers.times import AT_START, parse_time

_TIME: Final = re.compile(rf"\s{{0,8}}(?P<open>\[)?(?P<time>{AT_START})(?(open)\])[:,;|]?\s+", re.ASCII)


def split_leading_time(text: str, *, now: datetime, zone: tzinfo | None) -> tuple[datetime | None, str]:
    """Return the time that a line begins with, and the rest; without one, None and the line.

    Args:
        now: As of `parse_time`.
        zone: Likewise.
    """
    match = _TIME.match(text)
    time = None if match is None else parse_time(match["time"], now=now, zone=zone)
    return (None, text) if match is None or time is None else (time, text[match.end() :])
