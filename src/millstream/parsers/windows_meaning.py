"""What an event of Windows means: the form of a line of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from millstream.parsers.log_event import Kind

AUDITED: Final = "audited"
"""The event says itself whether what it tells of succeeded (audit success, audit failure)."""


class Meaning(msgspec.Struct, frozen=True):
    """What events of one provider and number mean."""

    about: str
    """The message, where the event has none; what it is about follows."""
    kind: Kind | None = None
    action: str | None = None
    failed: str | None = None
    """The action where it did not succeed; None: the same."""
    success: bool | str | None = None
    """True, False, `AUDITED`; None where this event does not decide it."""
    said_by: Mapping[str, str] = {}
    """Field of a `LogEvent` -> names of the event's values, of which the first that says something counts."""
    whose: str = ""
    """Whose event it is, `Target` or `Subject`: where that is no person and nothing failed, it is of no kind."""
    device: str = ""
    """The value that names a device."""
    reason: str = ""
    """The values with a code of why it failed, the most exact first."""


def meaning(about: str, kind: Kind | None = None, action: str | None = None, **rest: Any) -> Meaning:
    """Return a line of a table: what is not a word of `Meaning` is a field of `LogEvent`."""
    own = {name: rest.pop(name) for name in ("failed", "success", "whose", "device", "reason") if name in rest}
    return Meaning(about, kind, action, said_by=rest, **own)


Table = Mapping[tuple[str, int], Meaning]
"""Provider and number of the event -> meaning."""
