"""What stands in the place of a secret."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from typing import Final

Replace = Callable[[str, str], str]
"""Takes the name of what was found, and the value; returns what stands in its place."""

DIGITS: Final = 16
"""Of a token, in hex: two values of a billion have the same one with a probability of 3%."""
KEY_BYTES_MIN: Final = 16

_V4_BITS: Final = 24
_V6_BITS: Final = 48
"""What is kept of an address: the network of a company or a household, not one of its computers."""


def with_text(text: str | None) -> Replace:
    """Replace by the name in brackets, or by one text."""
    return lambda name, value: f"[{name}]" if text is None else text


def with_token(key: bytes) -> Replace:
    """Replace by a token that is the same for the same value, so that it can still be counted.

    Who has the key can try values. Source: RFC 7693 (BLAKE2), keyed.
    """

    def token(name: str, value: str) -> str:
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=key[:64], digest_size=DIGITS // 2)
        return f"{name}-{digest.hexdigest()}"

    return token


def with_network(otherwise: Replace) -> Replace:
    """Replace addresses by their network: /24, /48 of IPv6; others as told."""

    def network(name: str, value: str) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return otherwise(name, value)
        bits = _V4_BITS if address.version == 4 else _V6_BITS
        return str(ipaddress.ip_network((address, bits), strict=False).network_address)

    return network
