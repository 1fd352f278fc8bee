"""The engine's SQL, read from the `.sql` files beside this module."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_NAME = re.compile(r"-- (?P<name>[a-z_]+): .*")


@cache
def statements() -> dict[str, str]:
    """Return every statement of queries.sql and check.sql by its name."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in (_text("queries.sql") + "\n" + _text("check.sql")).splitlines():
        if match := _NAME.fullmatch(line):
            current = found.setdefault(match["name"], [])
        elif line and not line.startswith("--"):
            current.append(line)
    return {name: "\n".join(lines).rstrip(";") for name, lines in found.items()}


@cache
def schema() -> str:
    """Return the statements that make an empty file."""
    return _text("schema.sql")


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
