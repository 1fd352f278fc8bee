"""A name for a file, from what a stranger calls it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NAME_BYTES_MAX: Final = 200
"""File systems take 255; room for a number and for the names of parts."""

FALLBACK: Final = "upload"

_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
"""Names that Windows takes for devices, with any ending."""


def safe_name(given: str) -> str:
    """Return a name without parts of a path, that is one on every system and is not hidden."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", given)[-1])
    # Format characters turn the direction of writing: `exe.fdp` would be shown as `pdf.exe`.
    name = "".join(character for character in name if unicodedata.category(character) not in ("Cf", "Cs", "Co", "Cn"))
    name = _FORBIDDEN.sub("_", name).strip(" ").rstrip(". ").lstrip(".")
    if name.partition(".")[0].strip().lower() in _DEVICES:
        name = f"_{name}"
    return _shortened(name) or FALLBACK


def _shortened(name: str) -> str:
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, suffix = name, ""
    ending = f".{suffix}" if suffix else ""
    kept = stem.encode()[: NAME_BYTES_MAX - len(ending.encode())].decode("utf-8", "ignore")
    return kept.rstrip(". ") + ending
