"""What a job of the demo does: draw one piece of a picture of the Mandelbrot set; real work for part of a second."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Final

import msgspec

COLUMNS: Final = 5
ROWS: Final = 2
PIECES: Final = COLUMNS * ROWS
PIECE_PIXELS: Final = 80
SAMPLES: Final = 2
"""A pixel is the mean of this many points squared, against jagged edges."""

STEPS_MAX: Final = 120


class View(msgspec.Struct, frozen=True):
    """A part of the plane: its middle and its width."""

    x: float
    y: float
    width: float


VIEWS: Final = (
    View(-0.55, 0.62, 0.16),
    View(-0.7453, 0.1127, 0.0125),
    View(-0.1607, 1.0376, 0.055),
    View(-0.5, 0.0, 3.4),
)


def draw_piece(view: View, piece: int) -> bytes:
    """Return piece 1 to 10 of a view, rows first, as a PNG of 80 by 80 pixels."""
    column, row = (piece - 1) % COLUMNS, (piece - 1) // COLUMNS
    step = view.width / (COLUMNS * PIECE_PIXELS * SAMPLES)
    left = view.x - view.width / 2 + column * PIECE_PIXELS * SAMPLES * step
    top = view.y + (ROWS / 2 - row) * PIECE_PIXELS * SAMPLES * step
    lines = []
    for y in range(PIECE_PIXELS):
        line = bytearray()
        for x in range(PIECE_PIXELS):
            total = 0
            for sample in range(SAMPLES * SAMPLES):
                dy, dx = divmod(sample, SAMPLES)
                total += _steps(complex(left + (x * SAMPLES + dx) * step, top - (y * SAMPLES + dy) * step))
            line.append(total * 255 // (STEPS_MAX * SAMPLES * SAMPLES))
        lines.append(bytes(line))
    return png(lines, _PALETTE)


def _steps(point: complex) -> int:
    """Return after how many steps of z = z*z + point, z is farther than 2 from 0."""
    z = 0j
    for step in range(STEPS_MAX):
        z = z * z + point
        if z.real * z.real + z.imag * z.imag > 4.0:
            return step
    return STEPS_MAX


def png(lines: list[bytes], palette: bytes) -> bytes:
    """Return an image of one byte a pixel as a PNG file.

    Args:
        palette: Red, green and blue of each of up to 256 colours.

    Source: PNG specification, third edition (W3C, 2025), sections 5 and 11.2.
    """
    header = struct.pack(">IIBBBBB", len(lines[0]), len(lines), 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines), 6)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _palette() -> bytes:
    """Night blue over water blue and foam to amber; the set itself is night blue again."""
    stops = (
        (0, (10, 22, 40)),
        (24, (16, 78, 112)),
        (64, (72, 172, 190)),
        (112, (238, 246, 240)),
        (160, (244, 178, 74)),
        (220, (142, 60, 26)),
        (254, (40, 18, 22)),
        (255, (10, 22, 40)),
    )
    colours = bytearray()
    for (low, first), (high, second) in pairwise(stops):
        for place in range(low, high):
            share = (place - low) / (high - low)
            colours += bytes(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return bytes(colours) + bytes(stops[-1][1])


_PALETTE: Final = _palette()
