"""A template that is still learned, and how a line differs from it."""

from __future__ import annotations

from operator import eq
from typing import Final

from millstream.parsers.templates.masks import ANY

NAME_FOLLOWS: Final = frozenset(["user", "for", "from", "by", "of", "host", "named"])
"""Words in front of a name: what differs behind them is a parameter at once."""
UNITS: Final = frozenset(
    f"B kB {' '.join(f'{prefix}B {prefix}iB' for prefix in 'KMGT')} ns us µs ms s sec secs min".split()
)
"""What a value is of, where the program chooses it by the size of the value: it is part of the parameter."""
_MAY_BE_UNITS: Final = frozenset(
    f"{before}{unit}{after}"
    for unit in UNITS
    for before in ("", "(", "[")
    for after in ("", ",", ".", ";", ")", "]", "),", ").")
)
_MARKS: Final = "()[]{}<>'\",.;:!"


class Group:
    """A template that is still learned."""

    __slots__ = ("_constants", "compared", "constant", "count", "id", "many", "place", "words")

    def __init__(
        self, number: int, place: tuple[int, str], words: list[str], count: int = 0, *, many: bool = False
    ) -> None:
        self.id = number
        self.place = place
        """The number of its words, and the first of them unless it is a parameter."""
        self.count = count
        self.many = many
        """Whether one of its parameters was a word that had many values: any other word fits there, too."""
        self.learn(words)

    def learn(self, words: list[str]) -> None:
        self.words = words
        self._constants = [None if word == ANY else word for word in words]
        self.compared = compared_words(words)
        self.constant = len(words) - self.compared.count(None)

    def fits(self, words: list[str]) -> bool:
        """Return whether a line is of this template as it is."""
        same: int = sum(map(eq, self._constants, words))
        return same == len(words) - self._constants.count(None)


def compared_words(words: list[str]) -> list[str | None]:
    """Return words with None for each that says nothing about the template: a parameter, and the unit behind one.

    A parameter equals nothing, so that counting equal words counts only words: that is the innermost loop.
    """
    return [
        None if word == ANY or (word in _MAY_BE_UNITS and before.endswith(ANY)) else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def covers(general: list[str], words: list[str]) -> bool:
    """Return whether each line of the template of some words is of a more general one."""
    return all(one in (ANY, two) for one, two in zip(general, words, strict=True))


def differences(words: list[str | None], others: list[str | None]) -> list[int]:
    """Return the places where both have a word, and not the same."""
    return [
        place
        for place, (one, other) in enumerate(zip(words, others, strict=True))
        if one is not None and other is not None and one != other
    ]


def in_capitals(one: str, other: str) -> bool:
    """Return whether two words are states such as RUNNING and FAILED, GET and POST.

    Programs write the names of states so; names of users and files are rarely written so.
    """
    return one.isupper() and other.isupper()


def is_state(words: list[str], others: list[str], place: int) -> bool:
    """Return whether the words at a place may be states, such as up and down: plain words, not where a name stands."""
    if not place or words[place - 1].strip(_MARKS).lower() in NAME_FOLLOWS:
        return False
    return words[place].strip(_MARKS).isalpha() and others[place].strip(_MARKS).isalpha()
