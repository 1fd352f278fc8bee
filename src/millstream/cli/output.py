"""What commands write to stdout: aligned text for people, JSON lines for programs."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def print_json(value: object) -> None:
    """Write one JSON document on one line; bytes as text where they are UTF-8, else as base64 (see `readable`)."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(readable(value), enc_hook=str).decode() + "\n")


def readable(value: object) -> object:
    """Return a value with its bytes made text: as it is where it is UTF-8, else `{"base64": ...}`."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            from base64 import b64encode

            return {"base64": b64encode(data).decode()}
    if isinstance(value, Mapping):
        return {str(name): readable(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [readable(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows as aligned columns, numbers to the right, under a line of names."""
    texts = [[text_of(cell) for cell in row] for row in rows]
    numeric = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    widths = [max(_width(row[place]) for row in ([*columns], *texts)) for place in range(len(columns))]
    for cells in ([*columns], *texts):
        aligned = []
        for cell, width, right in zip(cells, widths, numeric, strict=True):
            space = " " * (width - _width(cell))
            aligned.append(space + cell if right else cell + space)
        print("  ".join(aligned).rstrip())


def text_of(cell: object) -> str:
    """Return a cell of a table as one line of text."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(cell, str):
        return one_line(cell)
    cell = readable(cell)
    if isinstance(cell, str):
        return one_line(cell)
    if isinstance(cell, list | dict):
        import msgspec

        return msgspec.json.encode(cell, enc_hook=str).decode()
    return one_line(str(cell))


def one_line(text: str) -> str:
    """Return text with line breaks and control characters written out: a record must not steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def bytes_text(size: int) -> str:
    """Return a size as people read it: `512 B`, `1.5 MB`; thousands, as disks are sold."""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.95 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{size} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def count_text(number: int, noun: str, plural: str = "") -> str:
    """Return `1 record`, `2,000 records`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese characters and emoji take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))
