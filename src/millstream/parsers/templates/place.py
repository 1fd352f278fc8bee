"""The templates that a line may be of, found by their words."""

from __future__ import annotations

from itertools import islice
from math import ceil
from typing import Final

from millstream.parsers.templates.group import Group

COMPARED_MAX: Final = 200
"""Templates that a line is compared with: the newest."""
FEW: Final = 16
"""Templates up to which looking at all is faster than finding some."""


class Place:
    """Templates with the same number of words and the same first word.

    A line that has so many words in common with a template has one of the rarest of its words in common: only
    templates with one of these are compared. So lines of words that never come again are told at once to be new.
    """

    __slots__ = ("_groups", "_having")

    def __init__(self) -> None:
        self._groups: dict[int, Group] = {}
        self._having: dict[tuple[int, str], dict[int, None]] = {}
        """Templates by a word and where it is in them."""

    def __bool__(self) -> bool:
        return bool(self._groups)

    def keep(self, group: Group) -> None:
        self._groups[group.id] = group
        for key in enumerate(group.compared):
            if key[1] is not None:
                self._having.setdefault(key, {})[group.id] = None  # type: ignore[arg-type]

    def forget(self, group: Group) -> None:
        del self._groups[group.id]
        for key in enumerate(group.compared):
            if key[1] is not None:
                self._lose(key, group.id)  # type: ignore[arg-type]

    def learn(self, group: Group, words: list[str]) -> None:
        """Make a template more general."""
        before = group.compared
        group.learn(words)
        for place, (one, other) in enumerate(zip(before, group.compared, strict=True)):
            if one is not None and other is None:
                self._lose((place, one), group.id)

    def near(self, compared: list[str | None], similarity: float) -> list[Group]:
        """Return the templates that can have such a share of words in common with a line, the oldest first."""
        if len(self._groups) <= FEW:
            return list(self._groups.values())
        keys = [(place, word) for place, word in enumerate(compared) if word is not None]
        if not keys:
            newest = islice(reversed(self._groups.values()), COMPARED_MAX)
            return [group for group in newest if not group.constant][::-1]
        rarest = len(keys) - ceil(similarity * len(keys) - 1e-9) + 1
        having = sorted((self._having.get(key, {}) for key in keys), key=len)[:rarest]
        found: set[int] = set()
        for ids in having:
            found.update(islice(reversed(ids), COMPARED_MAX))
        return [self._groups[number] for number in sorted(found)[-COMPARED_MAX:]]

    def _lose(self, key: tuple[int, str], number: int) -> None:
        having = self._having[key]
        del having[number]
        if not having:
            del self._having[key]
