"""Events of several lines: what belongs together becomes one record, its lines with their ends between them."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.errors import SettingsError
from millstream.sources.containers import event_split_of_containers
from millstream.sources.event_split import EVENT_LINES_MAX, After, Begin
from millstream.sources.line_split import Split
from millstream.sources.traces import PRESETS, Compiled

__all__ = ["EVENT_LINES_MAX", "QUIET", "Multiline", "multiline"]

QUIET: Final = "2s"
PRESET_OF_FORMAT: Final = {"mysql_slow": "mysql", "windows_csv": "windows_csv"}
"""Formats whose events always have several lines."""


class Multiline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What puts lines together: one of the first three."""

    preset: str | None = None
    """`java`, `python`, ... of `traces.PRESETS`, or `indented`: lines that begin with white space, or are empty,
    continue."""
    begins: str | None = None
    """A regular expression, found at the beginning of lines that begin an event; all others continue it. Of the log of
    a container: at the beginning of what is inside a line, as with all of these."""
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
        return event_split_of_containers(*self._machine(), self.quiet_us)

    def _machine(self) -> tuple[Begin, After]:
        if self.preset is not None:
            return _of_preset(self.preset)
        if self.begins is not None:
            begins = _expression("begins", self.begins)
            return lambda line: "", lambda state, line: None if begins.match(line) else ""
        continues = _expression("continues", self.continues or "")
        return lambda line: "", lambda state, line: "" if continues.match(line) else None


def multiline(given: str | Multiline | None, format: str | None = None) -> Multiline | None:
    """Return what a user said: the name of a preset, or all of it; where nothing, what lines of a format need.

    Args:
        format: A name of `FORMATS`, or anything else.

    Raises:
        SettingsError: As `Multiline.check`.
    """
    given = PRESET_OF_FORMAT.get(format or "") if given is None else given
    found = Multiline(preset=given) if isinstance(given, str) else given
    if found is not None:
        found.check()
    return found


def _of_preset(name: str) -> tuple[Begin, After]:
    if name == "indented":
        return lambda line: "", lambda state, line: "" if line[:1] in _WHITE else None
    if name not in PRESETS:
        raise SettingsError(f"there is no multiline preset {name!r}; there is indented, {', '.join(PRESETS)}")
    machine = Compiled(PRESETS[name])
    return machine.begin, machine.after


_WHITE: Final = (b" ", b"\t", b"\r", b"")


def _expression(name: str, text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(text.encode())
    except re.error as error:
        raise SettingsError(f"multiline {name} = {text!r} is no regular expression: {error}") from error
