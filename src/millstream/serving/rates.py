"""How much one client may ask: token buckets in a table of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import msgspec

from millstream.clock import Clock

CLIENTS_MAX: Final = 10_000
"""Buckets kept. The client that was quiet for longest is forgotten first: its bucket is the fullest."""

IPV6_CLIENT_BITS: Final = 64
"""One household or machine gets a whole /64, so its addresses are one client."""


class Rate(msgspec.Struct, frozen=True):
    """A steady rate and how many requests may come at once."""

    per_second: float
    burst: int


class _Bucket(msgspec.Struct):
    tokens: float
    filled_us: int


class RateLimit:
    """Token buckets, one a client. Not thread-safe: it lives in the event loop."""

    def __init__(self, rate: Rate, *, clock: Clock, clients_max: int = CLIENTS_MAX) -> None:
        self.rate = rate
        self._clock = clock
        self._clients_max = clients_max
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take one request from a client's bucket; return 0.0, or the seconds after which there is one."""
        now_us = self._clock.monotonic_us()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(float(self.rate.burst), now_us)
            if len(self._buckets) > self._clients_max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(client)
            grown = (now_us - bucket.filled_us) / 1e6 * self.rate.per_second
            bucket.tokens = min(float(self.rate.burst), bucket.tokens + grown)
            bucket.filled_us = now_us
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / self.rate.per_second


def client_name(address: str) -> str:
    """Return whom an address counts as: itself, or its /64 for IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> IPV6_CLIENT_BITS << IPV6_CLIENT_BITS)}/{IPV6_CLIENT_BITS}"
    return str(parsed)
