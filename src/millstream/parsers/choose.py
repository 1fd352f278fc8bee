"""Which format some lines are in: the one that understands most of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from millstream.errors import UsageError
from millstream.parsers.formats import FORMATS

SAMPLE_LINES: Final = 200
LEAST: Final = 0.5
"""Share of the lines that the format has to understand: log files have blocks of other text in them."""
LEAST_OF_BLOCKS: Final = 0.05
"""The same where it understands the first line and another: a stack trace has dozens of lines."""
_WEAK: Final = frozenset({"csv", "logfmt", "pairs", "timed"})
"""Formats that few lines of any text may seem to be in."""


def choose_format(lines: Sequence[bytes]) -> str:
    """Return the name of the format of some lines; the narrower one where two fit equally well.

    Raises:
        UsageError: No format understands half of them.
    """
    sample = [line for line in lines if line.strip()][:SAMPLE_LINES]
    now = datetime.now(UTC)
    best, best_share, of_blocks = "", 0.0, False
    for name, known in FORMATS.items():
        parser = known.parser("sample")
        fitting = [parser.fits(line, now=now) for line in sample]
        share = sum(fitting) / max(len(sample), 1)
        if share > best_share:
            best, best_share = name, share
            of_blocks = name not in _WEAK and fitting[0] and sum(fitting) > 1 and share >= LEAST_OF_BLOCKS
    if best_share < LEAST and not of_blocks:
        raise UsageError(
            f"these lines are in no format that is known ({', '.join(FORMATS)}); the nearest is "
            f"{best or 'none'}, which understands {best_share:.0%} of {len(sample)} of them"
        )
    return best
