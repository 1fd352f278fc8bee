"""What a rules file may say: TOML, checked when it is read.

    [[rule]]
    name = "ssh-guessing"
    where = "kind = 'login' AND NOT success"
    level = "high"
    message = "{count} failed logins from {source_ip} within {within}"
    quiet = "10m"

    [rule.threshold]
    count = 5
    within = "1m"
    by = ["source_ip"]

    [[rule.example]]
    lines = [...]
    alerts = 1

A rule has one of `each`, `threshold`, `sequence`, `together`, `first_seen`, `absence`, `rate`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.logs.alert import Level
from millstream.logs.ignore import Ignore, ignored
from millstream.logs.message import Message
from millstream.logs.names import FIELDS
from millstream.logs.where import column_of, condition

DEFAULT: Final = Path(__file__).with_name("default.toml")
RULES_MAX: Final = 5000
"""Of one program. Those for which one event is enough are asked together; one with a memory is a step of its own."""
NAME_RULE: Final = r"^[a-z0-9][a-z0-9-]{0,63}$"
KINDS: Final = ("threshold", "sequence", "together", "first_seen", "absence", "rate", "each")
PARTS_MAX: Final = 8
"""Conditions of one rule; what is remembered of a key grows with the square of their number."""
COUNT_MAX: Final = 10_000
"""Of events that a rule remembers by key."""


class Each(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every event."""


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many events within a time."""

    count: int
    within: str
    by: list[str] = []
    distinct: str | None = None
    """A field: count its different values, not the events; an event without it does not count."""


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many events of the rule's `where`, and then one of another condition, within a time."""

    then: str
    within: str
    count: int = 1
    by: list[str] = []


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the conditions of `Together`, whose events have other names for what is common to all."""

    where: str
    by: list[str]


class Together(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events of several conditions, within a time."""

    of: list[str | Part]
    within: str
    by: list[str] = []
    ordered: bool = False
    """One after another, as they are listed."""
    least: int | None = None
    """So many of the conditions are enough; None: all."""

    @property
    def parts(self) -> list[Part]:
        return [one if isinstance(one, Part) else Part(one, self.by) for one in self.of]


class FirstSeen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of some fields that no event had before."""

    by: list[str]
    forget: str = "90d"
    """A value that was not seen for so long is new again."""
    learn: str = "0s"
    """So long after the first event of the log everything is new, and nothing is said."""


class Absence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No event for a time, after there was one."""

    within: str
    by: list[str] = []


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many times more events than usual: than the mean of the windows before."""

    factor: float
    window: str
    before: int = 12
    """Windows that make up what is usual."""
    count: int = 10
    """Fewer in a window are never too many."""
    by: list[str] = []


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines, and how many alerts of the rule they lead to."""

    lines: list[str]
    alerts: int


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule."""

    name: str
    message: str
    where: str = "true"
    level: Level = Level.MEDIUM
    quiet: str = "0s"
    """After an alert, so long nothing of the same `by`."""
    remember: str = "35d"
    """So long after the last event of a key what the rule remembers of it is kept, and longer where the kind needs it.
    Files with old events that are read beside the new ones have to find it."""
    enabled: bool = True
    scope: str = "true"
    """A condition that many rules share, and that is looked at once for all of them, before `where`."""
    ignore: Ignore = Ignore()
    tags: list[str] = []
    """What its alerts carry."""
    each: Each | None = None
    threshold: Threshold | None = None
    sequence: Steps | None = None
    together: Together | None = None
    first_seen: FirstSeen | None = None
    absence: Absence | None = None
    rate: Rate | None = None
    example: list[Example] = []

    @property
    def detection(self) -> Each | Threshold | Steps | Together | FirstSeen | Absence | Rate:
        """Return the one kind of condition over several events that the rule has."""
        kinds = (self.each, self.threshold, self.sequence, self.together, self.first_seen, self.absence, self.rate)
        found = [one for one in kinds if one is not None]
        assert len(found) == 1  # checked when it was read
        return found[0]

    @property
    def kind(self) -> str:
        """What it remembers is of: of another kind, or of another field that is counted, nothing is taken over."""
        one = self.detection
        counted = f" {one.distinct}" if isinstance(one, Threshold) and one.distinct is not None else ""
        counted = f" {len(one.of)}" if isinstance(one, Together) else counted
        return next(name for name in KINDS if getattr(self, name) is not None) + counted

    @property
    def by(self) -> list[str]:
        """What the events have to have in common; each event is for itself where there is no such thing."""
        one = self.detection
        return [] if isinstance(one, Each) else one.by

    @property
    def columns(self) -> dict[str, str]:
        """Return what the fields of `by` and `distinct` are called in the events that the rule sees.

        A part of `fields` has a column of its own there.
        """
        one = self.detection
        named = [*self.by, *([one.distinct] if isinstance(one, Threshold) and one.distinct is not None else [])]
        own = isinstance(one, Together) and any(part.by != one.by for part in one.parts)
        return {name: f"part_{place}" if own or name not in FIELDS else name for place, name in enumerate(named)}

    @property
    def used(self) -> set[str]:
        """Return the columns of an event that it looks at once its condition is met."""
        named: set[str] = set() if self.absence is not None else self.written().columns
        return {"time", "raw", *self.columns.values(), *named}

    @property
    def quiet_us(self) -> int:
        return duration_us(self.quiet)

    def written(self) -> Message:
        """Return its message, ready to be said; of an absence there is no event but what is common to those before.

        Raises:
            UsageError: The text is wrong.
        """
        return Message(self.message, known=self.by if self.absence is not None else None)


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rules file."""

    rule: list[Rule] = []


def read_rules(path: Path = DEFAULT) -> Sequence[Rule]:
    """Return the rules of a file.

    Raises:
        UsageError: It cannot be read, is no TOML, or a rule is wrong; says which, and what it should be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the rules file {path} cannot be read: {error}") from error
    return parse_rules(text, str(path))


def parse_rules(text: str, origin: str) -> Sequence[Rule]:
    """Return the rules of a text; see `read_rules`."""
    try:
        found = msgspec.toml.decode(text, type=Rules).rule
    except (msgspec.DecodeError, ValueError) as error:
        raise UsageError(f"{origin}: {error}") from error
    check_rules(found, origin)
    return found


def check_rules(found: Sequence[Rule], origin: str) -> None:
    """Look at what does not show in types.

    Raises:
        UsageError: A rule is wrong, two have one name, or there are too many.
    """
    if len(found) > RULES_MAX:
        raise UsageError(f"{origin} has {len(found)} rules; at most {RULES_MAX} run in one program")
    seen: set[str] = set()
    for number, rule in enumerate(found, 1):
        _check(rule, f"{origin}, rule {number} ({rule.name!r})")
        if rule.name in seen:
            raise UsageError(f"{origin}: two rules are called {rule.name!r}; what a rule remembers is kept by its name")
        seen.add(rule.name)


def _check(rule: Rule, what: str) -> None:
    if re.match(NAME_RULE, rule.name) is None:
        raise UsageError(f"{what}: a name has small letters, digits and dashes, such as ssh-guessing")
    kinds = [name for name in KINDS if getattr(rule, name) is not None]
    if len(kinds) != 1:
        said = " and ".join(kinds) or "none"
        raise UsageError(f"{what}: give one of {', '.join(KINDS)}; it has {said}")
    one = rule.detection
    condition(rule.scope, what=f"{what}, scope")
    condition(rule.where, what=f"{what}, where")
    ignored(rule.ignore, what=f"{what}, ignore")
    if isinstance(one, Steps):
        condition(one.then, what=f"{what}, then")
    _duration(rule.quiet, f"{what}, quiet")
    _duration(rule.remember, f"{what}, remember")
    _check_each(rule, what)
    for name in ("within", "window", "forget", "learn"):
        if hasattr(one, name):
            _duration(getattr(one, name), f"{what}, {name}", least_us=0 if name == "learn" else 1)
    distinct = [one.distinct] if isinstance(one, Threshold) and one.distinct is not None else []
    for name, field in (*(("by", field) for field in rule.by), *(("distinct", field) for field in distinct)):
        column_of(field, what=f"{what}, {name}")
    _check_by(rule, distinct, what)
    if isinstance(one, Together):
        _check_together(one, what)
    count = getattr(one, "count", 1)
    if not 1 <= count <= COUNT_MAX:
        raise UsageError(f"{what}, count: {count} is not from 1 to {COUNT_MAX:,}")
    if isinstance(one, Rate) and (not 1 < one.factor < math.inf or not 1 <= one.before <= COUNT_MAX):
        raise UsageError(f"{what}: factor is more than 1, and before from 1 to {COUNT_MAX:,} windows")
    _check_message(rule, what)


def _check_by(rule: Rule, distinct: Sequence[str], what: str) -> None:
    if isinstance(rule.detection, FirstSeen) and not rule.by:
        raise UsageError(f"{what}, by: name the fields whose values are new or not")
    for place, field in enumerate(rule.by):
        if field in rule.by[:place]:
            raise UsageError(f"{what}, by: {field!r} is there twice")
    for field in distinct:
        if field in rule.by:
            raise UsageError(f"{what}, distinct: {field!r} is the same in all events that count together, by `by`")


def _check_together(one: Together, what: str) -> None:
    if not 2 <= len(one.of) <= PARTS_MAX:
        raise UsageError(f"{what}, of: give 2 to {PARTS_MAX} conditions; it has {len(one.of)}")
    for number, part in enumerate(one.parts, 1):
        condition(part.where, what=f"{what}, of {number}")
        for field in part.by:
            column_of(field, what=f"{what}, of {number}, by")
        if len(part.by) != len(one.by):
            raise UsageError(f"{what}, of {number}, by: it names {len(part.by)} fields, and the rule {len(one.by)}")
    if one.least is not None and not 1 <= one.least <= len(one.of):
        raise UsageError(f"{what}, least: {one.least} is not from 1 to {len(one.of)}, the number of conditions")
    if one.ordered and one.least not in (None, len(one.of)):
        raise UsageError(f"{what}: with `ordered` all conditions are met; leave `least` out")


def _check_each(rule: Rule, what: str) -> None:
    if rule.each is not None and rule.quiet_us:
        raise UsageError(f"{what}: `each` has no quiet time; give [rule.threshold] with count = 1")


def _check_message(rule: Rule, what: str) -> None:
    try:
        rule.written()
    except UsageError as error:
        raise UsageError(f"{what}, message: {error}") from error


def _duration(text: str, what: str, *, least_us: int = 0) -> None:
    try:
        found = duration_us(text)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    if found < least_us:
        raise UsageError(f'{what}: {text!r} is too short; give a time such as "1m"')
