"""The arguments of a program that is run for each result: words in which names in braces stand for its values.

A value may be what an attacker wrote into a log. It becomes a part of one argument, never several, no shell reads it,
and a row is left out where a value could mean something else than itself: one that begins with a dash would be an
option.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

from millstream.errors import UsageError

VALUE_CHARACTERS_MAX: Final = 4096
"""Of a value: no address or name is longer, and all arguments of a program together have a limit."""


class Words:
    """The arguments, ready to be filled in."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Take the arguments, the program first.

        Raises:
            UsageError: A brace stands alone, a name is missing, or the program's own name is a value.
        """
        self._words = [_pieces(argument) for argument in arguments]
        if any(name is not None for _, name in self._words[0]):
            raise UsageError(f"command({list(arguments)!r}): which program is run cannot be a value of a result")

    @property
    def names(self) -> list[str]:
        """The values that stand in them."""
        return [name for word in self._words for _, name in word if name is not None]

    def of(self, row: Mapping[str, Any]) -> list[str] | str:
        """Return the arguments for a row, or a sentence why there are none."""
        made: list[str] = []
        for word in self._words:
            text = ""
            for literal, name in word:
                text += literal
                if name is not None:
                    value = _value(row, name)
                    if (why := _unfit(value)) is not None:
                        return f"{name} {why}"
                    if not text and value.startswith("-"):
                        return f"{name} is {value!r}, which would be an option"
                    text += value
            made.append(text)
        return made


def _pieces(argument: str) -> list[tuple[str, str | None]]:
    try:
        parsed = list(string.Formatter().parse(argument))
    except ValueError as error:
        raise UsageError(f"command, {argument!r}: {error}; write {{by.source_ip}}, and {{{{ for a brace") from error
    for _, name, form, conversion in parsed:
        if name == "" or form or conversion:
            raise UsageError(f"command, {argument!r}: write the name of a value between braces, such as {{user}}")
    return [(literal, name) for literal, name, _, _ in parsed]


def _value(row: Mapping[str, Any], name: str) -> str:
    """Return a value of a row, `by.source_ip` what is inside of `by`; nothing where there is none."""
    found: Any = row
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, str | int | float) else ""


def _unfit(value: str) -> str | None:
    if not value:
        return "is not there, or no text or number"
    if len(value) > VALUE_CHARACTERS_MAX:
        return f"has {len(value)} characters; at most {VALUE_CHARACTERS_MAX} become an argument"
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        return f"is {value!r}, with characters that control something"
    return None
