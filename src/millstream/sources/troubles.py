"""What a source cannot read now, and how it says so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from millstream.sources.log_file import is_missing


@runtime_checkable
class Troubled(Protocol):
    """A `Source` that says what it cannot read: while it is tried again, and what was never read when it has ended."""

    def troubles(self) -> Sequence[str]:
        """Return a sentence for each thing that cannot be read now; asked from other threads, and after the end."""
        ...


class Troubles:
    """The troubles of one source, by what they are about. Safe to ask from other threads."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def have(self, sentence: str, about: str = "") -> None:
        """There is a trouble now, in place of the last one about the same."""
        self._said = {**self._said, about: sentence}

    def over(self, about: str = "") -> None:
        """There is none any more."""
        if about in self._said:
            self._said = {name: said for name, said in self._said.items() if name != about}

    def sentences(self) -> Sequence[str]:
        return tuple(self._said.values())


def unreadable(path: Path) -> str | None:
    """Return why a file cannot be read; None where it can be, as far as a look from outside says."""
    if is_missing(path):
        return "there is no such file"
    if not os.access(path, os.R_OK):
        return "it may not be read by this user"
    return None if os.path.isfile(path) else "it is not a file"
