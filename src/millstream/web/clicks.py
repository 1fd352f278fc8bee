"""A click: as a browser sends it, and as the log keeps it.

No cookie, no address, no fingerprint: a page load has a random number that is forgotten with the page, and its clicks
are numbered from 1. That is enough to see each click once and in order, and says nothing about who clicked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec

from millstream.records import time_from_us

CLICKS_MAX: Final = 500
"""Of one request: more than fit into a beacon."""

AGE_MS_MAX: Final = 24 * 60 * 60 * 1000
"""A click that waited in an offline browser keeps its time for a day; an older one counts as that old."""

PageLoad = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16,64}$")]
Number = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Page = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class Click(msgspec.Struct, frozen=True):
    """A click in the log."""

    page: str
    element: str
    """What was clicked, a name for programs: its `data-click`, or its tag and id."""
    label: str
    """What was clicked, in the words of the page."""
    load: str
    """The page load it belongs to; the key of the record, so its clicks stay in order."""
    seq: int
    """1 for the first click of its page load, without gaps."""
    time: datetime
    """When it happened: arrival minus its age, so a wrong clock in the browser does not matter."""


class SentClick(msgspec.Struct, frozen=True):
    """A click on its way."""

    seq: Number
    page: Page
    element: Text = ""
    label: Text = ""
    age_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long ago it happened when it was sent."""

    def arrived(self, load: str, now_us: int) -> Click:
        age_us = min(self.age_ms, AGE_MS_MAX) * 1000
        return Click(self.page, self.element, self.label, load, self.seq, time_from_us(now_us - age_us))


class SentClicks(msgspec.Struct, frozen=True):
    """The body of `POST /collect`."""

    load: PageLoad
    clicks: Annotated[list[SentClick], msgspec.Meta(max_length=CLICKS_MAX)] = []
    ask: Annotated[list[Number], msgspec.Meta(max_length=CLICKS_MAX)] = []
    """Numbers of clicks sent before by beacon, whose answers no browser shows: which of them are not in the log?"""


class Receipt(msgspec.Struct, frozen=True):
    """The answer of `POST /collect`, given after the clicks are on disk."""

    accepted: int
    """Clicks appended by this request; those that were in the log before are not counted again."""
    offsets: dict[str, int]
    """Offset in the topic of each click of the request, by its number; the same when it is sent again."""
    missing: list[int]
    """Of the clicks asked for: not in the log, to be sent again."""
    answers: dict[str, object]
    """What the page needs, by the number of the click that asked for it."""
