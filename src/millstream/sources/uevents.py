"""Messages about devices, as the kernel and udev send them over netlink.

| sender | message |
|---|---|
| the kernel | `add@/devices/...`, NUL, and `NAME=value` with a NUL behind each |
| udev, when its rules have run | a header that begins with `libudev`, and the same with what the rules found out |

Only root and the kernel may send them: what comes from anybody else is left out.

Our own code and no library: a message is a header of five numbers and text, and pyudev needs a libudev.so of the
system, which containers and small systems do not have. Read like this, the kernel is understood without it.

Source: systemd, src/libsystemd/sd-device/device-monitor.c; Linux, lib/kobject_uevent.c.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from millstream.errors import SourceError

KERNEL: Final = 1
UDEV: Final = 2
"""The two groups of listeners."""
UDEV_RUNS: Final = Path("/run/udev/control")
"""Is there while udev runs."""

MESSAGE_BYTES_MAX: Final = 64 * 1024
RECEIVE_BUFFER_BYTES: Final = 16 * 1024 * 1024
"""A hub with everything on it is a burst of hundreds of messages."""

_PROTOCOL: Final = 15  # NETLINK_KOBJECT_UEVENT
_SO_RCVBUFFORCE: Final = 33
_PREFIX: Final = b"libudev\0"
_MAGIC: Final = 0xFEEDCAFE
_HEADER: Final = struct.Struct("=8s4sIII")
_CREDENTIALS: Final = struct.Struct("=iii")


def open_socket(group: int) -> socket.socket:
    """Return a socket that hears one group.

    Raises:
        SourceError: There is none on this system, or this process may not.
    """
    try:
        found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _PROTOCOL)
    except (OSError, AttributeError) as error:
        raise SourceError(f"devices are not followed: this system has no netlink ({error})") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except OSError:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        found.bind((0, group))
        found.setblocking(False)
    except OSError as error:
        found.close()
        raise SourceError(f"devices are not followed: netlink cannot be listened to ({error.strerror})") from error
    return found


def receive(found: socket.socket) -> Mapping[str, str] | None:
    """Return the next message; an empty one for what is none, or may be forged; None when there is none yet.

    Raises:
        OSError: ENOBUFS: messages were lost.
    """
    try:
        data, more, _, sender = found.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_SPACE(_CREDENTIALS.size))
    except BlockingIOError:
        return None
    uids = [
        _CREDENTIALS.unpack(value)[1]
        for level, kind, value in more
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS
    ]
    port, groups = sender
    is_kernel = not data.startswith(_PREFIX)
    # Anybody may send to a process of theirs; only the kernel has port 0, and only root sends to a group.
    if uids != [0] or not groups or (is_kernel and port):
        return {}
    return parse(data) or {}


def parse(data: bytes) -> Mapping[str, str] | None:
    """Return the names and values of a message of either sender; None for what is none."""
    if data.startswith(_PREFIX):
        if len(data) < _HEADER.size:
            return None
        _, magic, _, start, size = _HEADER.unpack_from(data)
        if int.from_bytes(magic, "big") != _MAGIC or not _HEADER.size <= start <= len(data):
            return None
        body = data[start : start + size]
    else:
        head, _, body = data.partition(b"\0")
        if b"@" not in head:
            return None
    found: dict[str, str] = {}
    for pair in body.split(b"\0"):
        name, equals, value = pair.partition(b"=")
        if equals and name:
            found[name.decode(errors="backslashreplace")] = value.decode(errors="backslashreplace")
    return found if "ACTION" in found and "DEVPATH" in found else None


def message(values: Mapping[str, str], *, udev: bool) -> bytes:
    """Return a message as the kernel or udev sends it: for tests, and for what stands in for udev."""
    body = b"".join(f"{name}={value}".encode() + b"\0" for name, value in values.items())
    if not udev:
        return f"{values['ACTION']}@{values['DEVPATH']}".encode() + b"\0" + body
    size = _HEADER.size + 16  # four hashes for filters of the kernel
    return _HEADER.pack(_PREFIX, _MAGIC.to_bytes(4, "big"), size, size, len(body)) + bytes(16) + body
