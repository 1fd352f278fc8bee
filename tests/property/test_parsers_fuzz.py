"""Whatever a line holds, each format makes an event of it: no exception, none lost, no time that grows with its square.

The budget is a part of a second a format. For longer, by hand:

    MILLSTREAM_FUZZ_SECONDS=60 MILLSTREAM_FUZZ_SEED=1 pytest tests/property/test_parsers_fuzz.py
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from tests.property.lines_of_formats import LINES, PIECES

from millstream.parsers.formats import FORMATS
from millstream.parsers.system_event import text_of

NOW: Final = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)
SECONDS: Final = float(os.environ.get("MILLSTREAM_FUZZ_SECONDS", "0.2"))
SEED: Final = int(os.environ.get("MILLSTREAM_FUZZ_SEED", "7"))
LONG_BYTES: Final = 200_000
"""Of a hostile line; a follower cuts lines at 256 KiB. A square of it is minutes, a multiple of it milliseconds."""
HANG_S: Final = 5.0


def read(name: str, lines: list[bytes]) -> Any:
    """Read lines with a format, at once and one after the other; both must keep each line."""
    frame = FORMATS[name].parser("x").columns(lines, now=NOW)
    assert frame["raw"].to_list() == [text_of(line)[0] for line in lines]
    assert frame["time"].null_count() == 0
    parser = FORMATS[name].parser("x")
    for line in lines:
        parser.fits(line, now=NOW)
    return frame


def mutated(line: bytes, dice: random.Random) -> bytes:
    """Return a line that is nearly right: parts of it gone, doubled, exchanged, or with odd bytes in them."""
    data = bytearray(line)
    for _ in range(dice.randrange(1, 6)):
        place, other = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        match dice.randrange(7):
            case 0:
                del data[place:other]
            case 1:
                data[place:place] = data[place:other]
            case 2:
                data[place:place] = dice.choice(PIECES)
            case 3:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case 4:
                data[place:place] = dice.choice(PIECES) * dice.randrange(1, 20)
            case 5:
                data[place:other] = data[place:other][::-1]
            case _:
                donor = dice.choice(LINES)
                data[place:place] = donor[dice.randrange(len(donor) + 1) :]
    return bytes(data[:4000])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.timeout(0)
def test_nearly_right_lines_are_events(name: str) -> None:
    dice = random.Random(f"{SEED} {name}")
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        lines = [mutated(dice.choice(LINES), dice) for _ in range(20)]
        started = time.process_time()
        try:
            read(name, lines)
        except Exception as error:  # noqa: BLE001 (whatever it is, the lines are needed)
            pytest.fail(f"{type(error).__name__}: {error}; lines {lines!r}")
        assert time.process_time() - started < HANG_S, f"{lines!r}"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.timeout(0)
def test_hostile_lines_take_no_time(name: str) -> None:
    dice = random.Random(f"{SEED} {name}")
    # A run of the same piece, behind each beginning that a line of some format has, and behind nothing.
    fronts = [b"", *(line[: dice.randrange(len(line) + 1)] for line in LINES), *LINES]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        front, piece = dice.choice(fronts), dice.choice(PIECES) + dice.choice((b"", b"", dice.choice(PIECES)))
        line = front + piece * min(LONG_BYTES // len(piece), 50_000)
        started = time.process_time()
        read(name, [line])
        took = time.process_time() - started
        assert took < HANG_S, f"{took:.1f} s for {front!r} + {piece!r} * many"
