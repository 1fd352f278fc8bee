"""Writes files of places of addresses in MaxMind's format, for tests.

Source: MaxMind DB File Format Specification 2.0: a tree of the bits of addresses, its data, and what the file is.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Any

_EMPTY = -1
"""A side of a node behind which there is nothing; those of data are -2 and below."""


def mmdb_file(networks: Mapping[str, Any], *, record_size: int = 28, ip_version: int = 6) -> bytes:
    """Return a database with a value of JSON for each network."""
    nodes: list[list[int]] = [[_EMPTY, _EMPTY]]
    data, places = b"", []
    for text, value in networks.items():
        places.append(len(data))
        data += _encoded(value)
        _insert(nodes, ipaddress.ip_network(text), -1 - len(places), ip_version)

    def record(side: int) -> int:
        if side >= 0:
            return side
        return len(nodes) if side == _EMPTY else len(nodes) + 16 + places[-2 - side]

    tree = b"".join(_node(record(left), record(right), record_size) for left, right in nodes)
    about = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test-City",
        "description": {"en": "a test"},
        "ip_version": ip_version,
        "languages": ["en"],
        "node_count": len(nodes),
        "record_size": record_size,
    }
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encoded(about)


def _insert(
    nodes: list[list[int]], network: ipaddress.IPv4Network | ipaddress.IPv6Network, value: int, ip_version: int
) -> None:
    address, length = int(network.network_address), network.prefixlen
    bits = network.max_prefixlen
    if network.version == 4 and ip_version == 6:
        bits, length = 128, length + 96  # the addresses of IPv4 are the first of IPv6
    place = 0
    for depth in range(length):
        side = address >> (bits - 1 - depth) & 1
        if depth == length - 1:
            nodes[place][side] = value
        elif nodes[place][side] < 0:
            nodes.append([_EMPTY, _EMPTY])
            nodes[place][side] = place = len(nodes) - 1
        else:
            place = nodes[place][side]


def _node(left: int, right: int, record_size: int) -> bytes:
    if record_size == 28:
        middle = (left >> 24) << 4 | right >> 24
        return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")
    return left.to_bytes(record_size // 8, "big") + right.to_bytes(record_size // 8, "big")


def _encoded(value: Any) -> bytes:
    match value:
        case bool():
            return _head(14, int(value))
        case str():
            return _head(2, len(value.encode())) + value.encode()
        case float():
            return _head(3, 8) + struct.pack("!d", value)
        case int():
            body = value.to_bytes(4, "big").lstrip(b"\x00")
            return _head(6, len(body)) + body
        case list():
            return _head(11, len(value)) + b"".join(map(_encoded, value))
        case dict():
            return _head(7, len(value)) + b"".join(_encoded(key) + _encoded(part) for key, part in value.items())
    raise TypeError(f"{value!r} is not written here")


def _head(kind: int, size: int) -> bytes:
    small, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    first = bytes([kind << 5 | small]) if kind < 8 else bytes([small, kind - 7])
    return first + more
