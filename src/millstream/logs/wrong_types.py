"""What is said of a value of another type than its key takes: what is there, what is wanted, and an example."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any, Final

import msgspec

_EXPECTED: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_NAMES: Final = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list in brackets",
    "object": "a table",
}
_EXAMPLES: Final = {"str": '"..."', "int": "3", "float": "0.5", "bool": "true", "array": '["..."]', "object": "{}"}
_DURATIONS: Final = frozenset(
    {"within", "quiet", "every", "age", "timeout", "for", "window", "ttl", "interval", "after"}
)
"""Keys whose number somebody means as seconds."""
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def wrong_type(said: str, path: str, table: Mapping[str, Any], type: type[msgspec.Struct]) -> str | None:
    """Return the sentence for a message of msgspec; None where it is about something else.

    Args:
        said: The message, with or without its path.
        path: Of the value, without `$.`: `threshold.count`, `paths[1]`.
        table: What was read.
        type: What it was to become.
    """
    found = _EXPECTED.match(said)
    if found is None:
        return None
    wanted = [name for name in found[1].split(" | ") if name in _NAMES]
    if not wanted:
        return None
    steps = [match[1] or (int(match[2]) if match[2] else None) for match in _STEP.finditer(path)]
    value = _value_at(table, steps, found[2])
    words = " or ".join(_NAMES[name] for name in wanted)
    there = _literal(value) if value is not None else f"`{found[2]}`"
    key = next((step for step in reversed(steps) if isinstance(step, str)), None)
    if wanted == ["object"]:
        return f"there is {there}, which is to be {words}"
    example = _example(value, wanted[0], _default_at(type, steps))
    if wanted[0] == "str" and key in _DURATIONS and isinstance(value, int):
        example = f'"{value}s"'
    name = f"{key} = " if key is not None and isinstance(steps[-1], str) else ""
    return f"there is {there}, which is to be {words}, such as {name}{example}"


def _value_at(value: Any, steps: Sequence[str | int | None], got: str) -> Any:
    """Return what a path leads to; behind a key that msgspec does not name (`[...]`), the first of the type it says."""
    for step in steps:
        if step is None and isinstance(value, Mapping):
            value = next((part for part in value.values() if _type_of(part) == got), None)
            continue
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _type_of(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else type(value).__name__


def _default_at(type: type[msgspec.Struct], steps: Sequence[str | int | None]) -> Any:
    """Return the default of a key of the table itself; None where it has none."""
    if len(steps) != 1:
        return None
    default = next((one.default for one in msgspec.structs.fields(type) if one.encode_name == steps[0]), None)
    return None if default is msgspec.NODEFAULT or isinstance(default, bool) else default


def _example(value: Any, wanted: str, default: Any) -> str:
    """Return what may stand there: what is there, if that can be meant; else the default, else anything."""
    if wanted == "array" and isinstance(value, (str, int, float)):
        return f"[{_literal(value)}]"
    if wanted == "str" and isinstance(value, (int, float, bool, date, time)):
        return f'"{_literal(value)}"'
    if wanted == "str" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return _literal(value[0])
    if wanted == "int" and isinstance(value, (str, float)) and re.fullmatch(r"-?\d{1,18}(\.0+)?", str(value)):
        return str(int(float(value)))
    if wanted == "bool" and str(value).lower() in ("no", "false", "off", "0"):
        return "false"
    return _literal(default) if _type_of(default) == wanted and default else _EXAMPLES[wanted]


def _literal(value: Any) -> str:
    """Return a value as TOML has it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
