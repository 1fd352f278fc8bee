"""Events of several lines: what belongs together becomes one record, its lines with their ends between them.

The last event of what is there is held back: it may go on. It is not held in memory but left unread, so that the
position never passes it, and a process that is killed loses and doubles nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.errors import SettingsError
from millstream.sources.line_split import LINE_BYTES_MAX, Split, split
from millstream.sources.traces import PRESETS, Compiled

EVENT_LINES_MAX: Final = 1000
"""A longer event becomes several."""
EVENT_BYTES_MAX: Final = LINE_BYTES_MAX
QUIET: Final = "2s"

_Continues = Callable[[str, bytes], str | None]


class Multiline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What puts lines together: one of the first three."""

    preset: str | None = None
    """`java`, `python`, ... of `traces.PRESETS`, or `indented`: lines that begin with white space, or are empty,
    continue."""
    begins: str | None = None
    """A regular expression, found at the beginning of lines that begin an event; all others continue it."""
    continues: str | None = None
    """A regular expression, found at the beginning of lines that continue an event; all others begin one."""
    quiet: str = QUIET
    """The last event is complete when nothing was added for this long."""

    def check(self) -> None:
        """Look at what is given.

        Raises:
            SettingsError: None or several are given, the preset is not known, or an expression is wrong.
        """
        self.splitter()

    @property
    def quiet_us(self) -> int:
        return duration_us(self.quiet)

    def splitter(self) -> Split:
        """Return what cuts bytes into events.

        Raises:
            SettingsError: As `check`.
        """
        given = [name for name in ("preset", "begins", "continues") if getattr(self, name) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "none of them"
            raise SettingsError(f"multiline takes one of preset, begins and continues; it has {what}")
        duration_us(self.quiet)
        if self.preset is not None:
            return _of_preset(self.preset)
        if self.begins is not None:
            begins = _expression("begins", self.begins)
            return event_split(lambda line: "", lambda state, line: None if begins.match(line) else "")
        continues = _expression("continues", self.continues or "")
        return event_split(lambda line: "", lambda state, line: "" if continues.match(line) else None)


def multiline(given: str | Multiline | None) -> Multiline | None:
    """Return what a user said: the name of a preset, or all of it.

    Raises:
        SettingsError: As `Multiline.check`.
    """
    found = Multiline(preset=given) if isinstance(given, str) else given
    if found is not None:
        found.check()
    return found


def event_split(begin: Callable[[bytes], str], after: _Continues) -> Split:
    """Return a `Split` into events.

    Args:
        begin: Gives the state after a line that begins an event.
        after: Gives the state after a line that continues one, from the state before it; None where it does not.
    """

    def cut(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
        lines, end = split(data)
        events: list[list[bytes]] = []
        state, size, place, start = "", 0, 0, 0
        for line in lines:
            further = after(state, line) if events else None
            if further is None or len(events[-1]) >= EVENT_LINES_MAX or size + len(line) > EVENT_BYTES_MAX:
                events.append([])
                further, size, start = begin(line), 0, place
            events[-1].append(line.removesuffix(b"\r"))
            state, size, place = further, size + len(line) + 1, place + len(line)
            place += data[place : place + 1] == b"\n"  # a line that was cut for its length has no end
        # Enough is there to say that the last one would be cut, or nothing more comes.
        whole = final or size > EVENT_BYTES_MAX or (bool(events) and len(events[-1]) >= EVENT_LINES_MAX)
        if events and not whole:
            events.pop()
            end = start
        return [b"\n".join(event).strip(b"\r\n") for event in events], end

    return cut


def _of_preset(name: str) -> Split:
    if name == "indented":
        return event_split(lambda line: "", lambda state, line: "" if line[:1] in _WHITE else None)
    if name not in PRESETS:
        raise SettingsError(f"there is no multiline preset {name!r}; there is indented, {', '.join(PRESETS)}")
    machine = Compiled(PRESETS[name])
    return event_split(machine.begin, machine.after)


_WHITE: Final = (b" ", b"\t", b"\r", b"")


def _expression(name: str, text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(text.encode())
    except re.error as error:
        raise SettingsError(f"multiline {name} = {text!r} is no regular expression: {error}") from error
