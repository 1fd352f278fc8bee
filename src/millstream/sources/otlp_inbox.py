"""What OTLP requests brought and the log has not stored yet; and which stored ones may be sent again.

A sender whose answer was lost sends its request once more. So a digest of each request is stored in the transaction
that stores its records, and forgotten with the next one if its answer was sent meanwhile. What is left are those whose
sender went away before the answer, and those of the last moment before the process was killed: exactly those that come
again. Two equal requests that were both answered are two.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from millstream.clock import Clock

POSITION: Final = b"otlp:"
"""Of the keys under which digests are stored; the value is the time in us."""
HELD_BYTES_MAX: Final = 128 * 1024 * 1024
"""Of lines that wait for the log; above this, senders are asked to wait."""
AGAIN_US: Final = 600 * 1_000_000
"""For so long a request is known to be one that is sent again; exporters give up after a few minutes."""
AGAIN_MAX: Final = 10_000


class Post:
    """One request that waits for the log."""

    def __init__(self, lines: list[bytes], client: str, digest: bytes) -> None:
        self.lines = lines
        self.client = client
        self.digest = digest
        self.size = sum(map(len, lines))
        self.stored: Future[None] = Future()
        self.abandoned = False
        """Its sender went away, and may send it again."""


def digest_of(client: str, body: bytes) -> bytes:
    """Return what tells a request from all others; a sender is an address, as another one may say the same."""
    return hashlib.blake2b(client.encode() + b"\0" + body, digest_size=16).digest()


class Inbox:
    """Requests on their way from the server's threads to the one that stores."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Post] = deque()
        self._in_hand: list[Post] = []
        self._held_bytes = 0
        self._again: dict[bytes, int] = {}
        """Digest of a stored request that may come again -> when it was stored, in us; the oldest first."""
        self._forget: list[bytes] = []
        self._is_open = True

    def load(self, positions: Mapping[bytes, bytes]) -> None:
        """Take what an earlier run stored, and take requests (again)."""
        with self._changed:
            self._again = {
                key.removeprefix(POSITION): int.from_bytes(value, "big")
                for key, value in sorted(positions.items(), key=lambda one: one[1])
                if key.startswith(POSITION) and len(value) == 8
            }
            self._forget = []
            self._is_open = True

    def close(self) -> None:
        """Take no more; what is here can still be taken out."""
        with self._changed:
            self._is_open = False

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def is_full(self) -> bool:
        return self._held_bytes >= HELD_BYTES_MAX

    def put(self, lines: list[bytes], client: str, digest: bytes) -> Post | None:
        """Return what becomes of a request: one that may be stored already; None: it is stored, for sure."""
        with self._changed:
            if digest in self._again:
                return None
            for post in (*self._waiting, *self._in_hand):
                if post.abandoned and post.digest == digest:
                    post.abandoned = False
                    return post
            post = Post(lines, client, digest)
            self._waiting.append(post)
            self._held_bytes += post.size
            self._changed.notify_all()
            return post

    def abandon(self, post: Post) -> None:
        """Its sender does not wait any more: what was stored of it stays known."""
        with self._changed:
            post.abandoned = True

    def answered(self, digest: bytes) -> None:
        """The sender was told: it will not send that again, and what is equal to it is something new."""
        with self._changed:
            if self._again.pop(digest, None) is not None:
                self._forget.append(digest)

    def take(self, lines_max: int, patience_s: float) -> Sequence[Post]:
        """Return waiting requests, the oldest first, as soon as there are any; nothing after `patience_s`."""
        with self._changed:
            if not self._waiting:
                self._changed.wait_for(lambda: bool(self._waiting), patience_s)
            taken: list[Post] = []
            count = 0
            while self._waiting and (not taken or count + len(self._waiting[0].lines) <= lines_max):
                taken.append(self._waiting.popleft())
                count += len(taken[-1].lines)
            self._in_hand = taken
            return taken

    def positions(self, posts: Sequence[Post]) -> dict[bytes, bytes | None]:
        """Return what is to be stored with requests."""
        now_us = self._clock.now_us()
        with self._changed:
            while self._again and (
                len(self._again) + len(posts) > AGAIN_MAX or next(iter(self._again.values())) < now_us - AGAIN_US
            ):
                self._forget.append(next(iter(self._again)))
                del self._again[self._forget[-1]]
            found: dict[bytes, bytes | None] = {POSITION + digest: None for digest in self._forget}
            self._forget = []
        return found | {POSITION + post.digest: now_us.to_bytes(8, "big") for post in posts}

    def settle(self, posts: Sequence[Post]) -> None:
        """They are stored: their senders can be told."""
        now_us = self._clock.now_us()
        with self._changed:
            self._in_hand = []
            for post in posts:
                self._again[post.digest] = now_us
                self._held_bytes -= post.size
        for post in posts:
            post.stored.set_result(None)

    def give_back(self, posts: Sequence[Post]) -> None:
        """They are not stored; they are the next to be taken."""
        with self._changed:
            self._in_hand = []
            self._waiting.extendleft(reversed(posts))
