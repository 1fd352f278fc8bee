"""Login records as glibc writes them to wtmp, btmp and utmp: their bytes, and each as one line of JSON.

| layout | bytes of a record | where |
|---|---|---|
| narrow | 384 | x86, x86-64, 32-bit ARM, ppc64, s390x and others: times of 32 bits |
| wide | 400 | 64-bit ARM and others: times of 64 bits |

Either may have its numbers in either byte order. A file does not say which it is: the one is taken in which most of its
records are possible.

Source: glibc, bits/utmpx.h and bits/types/struct_lastlog.h; utmp(5).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

LINE_SIZE: Final = 32
USER_SIZE: Final = 32
HOST_SIZE: Final = 256

TYPES: Final = (
    "empty", "run_level", "boot_time", "new_time", "old_time", "init_process", "login_process", "user_process",
    "dead_process", "accounting",
)  # fmt: skip
"""By their number."""

_RECORDS_LOOKED_AT: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MAX: Final = 253_402_300_799
_LIKELY: Final = range(631_152_000, 4_294_967_296)
"""Seconds from 1990 until 32 bits end."""


class Layout(msgspec.Struct, frozen=True):
    """How the records of a file are laid out."""

    name: str
    form: str
    """Of `struct`: type, pid, line, id, user, host, termination, exit, session, seconds, microseconds, address, rest.

    Between type and pid, and at the end of the wide one, are bytes without a meaning.
    """

    @property
    def size(self) -> int:
        """Bytes of one record."""
        return struct.calcsize(self.form)


LAYOUTS: Final = {
    layout.name: layout
    for layout in (
        Layout("narrow", "<hxxi32s4s32s256shhiIi16s20s"),
        Layout("wide", "<hxxi32s4s32s256shhqqq16s20s4x"),
        Layout("narrow-big", ">hxxi32s4s32s256shhiIi16s20s"),
        Layout("wide-big", ">hxxi32s4s32s256shhqqq16s20s4x"),
    )
}
"""By name; of those that fit a file equally well, the first is taken."""


class LoginRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record; texts are bytes without what follows their first NUL."""

    type: int
    pid: int = 0
    line: bytes = b""
    id: bytes = b""
    user: bytes = b""
    host: bytes = b""
    termination: int = 0
    exit: int = 0
    session: int = 0
    seconds: int = 0
    microseconds: int = 0
    address: bytes = bytes(16)

    @property
    def is_possible(self) -> bool:
        """Whether these are the values of a record, and not of something else."""
        return 0 <= self.type < len(TYPES) and 0 <= self.microseconds < 1_000_000 and 0 <= self.seconds <= _SECONDS_MAX


def decode(data: bytes, layout: Layout) -> LoginRecord:
    """Return the record of exactly `layout.size` bytes; any bytes are one."""
    kind, pid, line, name, user, host, termination, exit_code, session, seconds, us, address, _ = struct.unpack(
        layout.form, data
    )
    return LoginRecord(
        type=kind,
        pid=pid,
        line=_text(line),
        id=_text(name),
        user=_text(user),
        host=_text(host),
        termination=termination,
        exit=exit_code,
        session=session,
        seconds=seconds,
        microseconds=us,
        address=address,
    )


def encode(record: LoginRecord, layout: Layout) -> bytes:
    """Return the bytes of a record."""
    return struct.pack(
        layout.form,
        record.type,
        record.pid,
        record.line,
        record.id,
        record.user,
        record.host,
        record.termination,
        record.exit,
        record.session,
        record.seconds,
        record.microseconds,
        record.address,
        b"",
    )


def layout_of(data: bytes) -> Layout | None:
    """Return the layout of a file that begins with `data`; None where that is less than one record, or fits none."""
    best, best_share = None, 0.0
    for layout in LAYOUTS.values():
        count = min(len(data) // layout.size, _RECORDS_LOOKED_AT)
        records = [decode(data[place * layout.size : (place + 1) * layout.size], layout) for place in range(count)]
        share = sum(_is_likely(record) for record in records) / count if count else 0.0
        if share > best_share:
            best, best_share = layout, share
    return best


def part_line(file: str, data: bytes) -> bytes:
    """Return a part of a record, at the end of a file that was cut off, as one line of JSON."""
    return msgspec.json.encode({"login_file": file, "bytes": {"hex": data.hex()}})


def line_of(file: str, data: bytes, layout: Layout, more: Mapping[str, Any]) -> bytes:
    """Return a record as one line of JSON with everything that is in it.

    Args:
        file: What the records of the file mean: `wtmp`, `btmp` or `utmp`.
        more: Further names and values.
    """
    record = decode(data, layout)
    said: dict[str, Any] = {"login_file": file}
    if record.is_possible:
        said |= {
            "type": TYPES[record.type],
            "pid": record.pid,
            "line": _shown(record.line),
            "id": _shown(record.id),
            "user": _shown(record.user),
            "host": _shown(record.host),
            "address": address_of(record.address),
            "session": record.session,
            "exit": {"termination": record.termination, "code": record.exit},
            "time": time_text(record.seconds, record.microseconds),
        }
    if not record.is_possible or encode(record, layout) != data or not _is_text(record):
        said["bytes"] = {"layout": layout.name, "hex": data.hex()}
    return msgspec.json.encode({**said, **more})


def time_text(seconds: int, microseconds: int = 0) -> str | None:
    """Return a time since 1970 as ISO 8601 in UTC; None for none."""
    if not seconds or not 0 <= seconds <= _SECONDS_MAX:
        return None
    return (_EPOCH + timedelta(seconds=seconds, microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def address_of(data: bytes) -> str | None:
    """Return the address of a record as text; None where it has none. IPv4 is in the first four bytes."""
    if not any(data):
        return None
    if not any(data[4:]):
        return str(ipaddress.IPv4Address(data[:4]))
    address = ipaddress.IPv6Address(data)
    return str(address.ipv4_mapped or address)


def _is_likely(record: LoginRecord) -> bool:
    """Return whether a record is one of this layout and not of another by chance; an empty one (0) may be of any."""
    return record.is_possible and record.type > 0 and record.seconds in _LIKELY


def _is_text(record: LoginRecord) -> bool:
    try:
        for text in (record.line, record.id, record.user, record.host):
            text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _shown(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
