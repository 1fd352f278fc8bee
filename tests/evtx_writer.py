"""Writes .evtx files: enough of the format for events with plain text values, without templates.

Source: libyal/libevtx, documentation/Windows XML Event Log (EVTX).asciidoc.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 65536
START: Final = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
_1601: Final = datetime(1601, 1, 1, tzinfo=UTC)

Element = tuple[str, Mapping[str, str], "str | Sequence[Element]"]
"""Name, attributes, and text or elements inside."""


def filetime(number: int, shift: int = 0) -> int:
    """Return when record `number` was written: one a second."""
    return round((START - _1601).total_seconds() + number + shift) * 10_000_000


def security_event(number: int, event_id: int = 4625, user: str = "ann", ip: str = "203.0.113.9") -> Element:
    """Return an event of the security log."""
    keywords = "0x8010000000000000" if event_id == 4625 else "0x8020000000000000"
    time = datetime.fromtimestamp(START.timestamp() + number, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    system: list[Element] = [
        ("Provider", {"Name": "Microsoft-Windows-Security-Auditing"}, ""),
        ("EventID", {}, str(event_id)),
        ("Level", {}, "0"),
        ("Keywords", {}, keywords),
        ("TimeCreated", {"SystemTime": time}, ""),
        ("EventRecordID", {}, str(number)),
        ("Channel", {}, "Security"),
        ("Computer", {}, "PC1"),
    ]
    values = {"TargetUserName": user, "LogonType": "3", "IpAddress": ip, "SubStatus": "0xc000006a"}
    data: list[Element] = [("Data", {"Name": name}, value) for name, value in values.items()]
    return ("Event", {}, [("System", {}, system), ("EventData", {}, data)])


def _name(text: str, place: int) -> bytes:
    """A name where it is used for the first time, behind the offset that leads to it."""
    hashed = 0
    for char in text:
        hashed = (hashed * 65599 + ord(char)) & 0xFFFFFFFF
    coded = text.encode("utf-16-le") + b"\0\0"
    return struct.pack("<IIHH", place + 4, 0, hashed & 0xFFFF, len(text)) + coded


def _text(text: str) -> bytes:
    return struct.pack("<BBH", 0x05, 0x01, len(text)) + text.encode("utf-16-le")


def _element(element: Element, place: int) -> bytes:
    """One element as binary XML that begins at `place` of its chunk."""
    name, attributes, inside = element
    head = 1 + 4
    out = _name(name, place + head)
    if attributes:
        listed = b""
        start = place + head + len(out) + 4
        last = list(attributes)[-1]
        for key, value in attributes.items():
            token = b"\x06" if key == last else b"\x46"
            listed += token + _name(key, start + len(listed) + 1) + _text(value)
        out += struct.pack("<I", len(listed)) + listed
    if inside:
        out += b"\x02"
        if isinstance(inside, str):
            out += _text(inside)
        else:
            for one in inside:
                out += _element(one, place + head + len(out))
        out += b"\x04"
    else:
        out += b"\x03"
    token = 0x41 if attributes else 0x01
    return struct.pack("<BI", token, len(out)) + out


def record_bytes(number: int, event: Element, place: int, written: int) -> bytes:
    """One record that begins at `place` of its chunk."""
    xml = b"\x0f\x01\x01\x00" + _element(event, place + 24 + 4) + b"\x00"
    size = 24 + len(xml) + 4
    pad = -size % 8
    return struct.pack("<IIQQ", 0x2A2A, size + pad, number, written) + xml + b"\0" * pad + struct.pack("<I", size + pad)


def chunk_bytes(first: int, events: Sequence[Element], shift: int = 0) -> bytes:
    """A chunk with events numbered from `first`; `shift` moves the times of their writing."""
    records = b""
    last_place = 512
    for number, event in enumerate(events, first):
        last_place = 512 + len(records)
        records += record_bytes(number, event, last_place, filetime(number, shift))
    free = 512 + len(records)
    assert free <= CHUNK_BYTES
    last = first + len(events) - 1
    head = struct.pack(
        "<8sQQQQIIII", b"ElfChnk\0", first, last, first, last, 128, last_place, free, zlib.crc32(records)
    ).ljust(120, b"\0")
    tables = b"\0" * 384
    checksum = zlib.crc32(head + tables)
    return (head + struct.pack("<II", 0, checksum) + tables + records).ljust(CHUNK_BYTES, b"\0")


def file_head(chunks: int, next_number: int, *, dirty: bool = False) -> bytes:
    start = struct.pack("<8sQQQIHHHH", b"ElfFile\0", 0, max(chunks - 1, 0), next_number, 128, 1, 3, 4096, chunks)
    start = start.ljust(120, b"\0")
    return (start + struct.pack("<II", int(dirty), zlib.crc32(start))).ljust(4096, b"\0")


def write_evtx(path: Path, chunks: Sequence[bytes], *, dirty: bool = False) -> None:
    path.write_bytes(file_head(len(chunks), 1, dirty=dirty) + b"".join(chunks))
