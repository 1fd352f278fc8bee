"""One link of the chain: the digests of records that were appended together, and the head up to here."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from millstream.log.seals.digest import DIGEST_BYTES

SUFFIX: Final = ".seals"
"""Of the topic that holds the seals of another."""

HEAD_BYTES: Final = 32
NO_HEAD: Final = bytes(HEAD_BYTES)
"""Before the first seal."""

_VERSION: Final = 1


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The records [start, start + count) of one partition of a topic, as they were appended."""

    partition: int
    start: int
    count: int
    schema_id: int
    """Its fields are those that are digested."""
    timed: bool
    """Whether the digests have event times in them; they have not where these are the append times."""
    keyed: bool
    """Whether the head was made with a secret key."""
    before: bytes
    """The head of the seal before this one."""
    digests: bytes
    """`DIGEST_BYTES` for each record, end to end."""
    head: bytes = b""

    @property
    def end(self) -> int:
        return self.start + self.count

    def each(self) -> Iterator[bytes]:
        """Yield the digest of each record."""
        for place in range(0, len(self.digests), DIGEST_BYTES):
            yield self.digests[place : place + DIGEST_BYTES]

    def head_of(self, topic: str, key: bytes | None) -> bytes:
        """Return the head that this seal has to have."""
        said = [
            _VERSION,
            topic,
            self.partition,
            self.start,
            self.count,
            self.schema_id,
            self.timed,
            self.keyed,
            self.before,
            self.digests,
        ]
        secret = key if self.keyed and key is not None else b""
        return blake2b(msgspec.msgpack.encode(said), digest_size=HEAD_BYTES, key=secret).digest()


def seals_of(topic: str) -> str:
    """Return the name of the topic that holds the seals of another."""
    return topic + SUFFIX
