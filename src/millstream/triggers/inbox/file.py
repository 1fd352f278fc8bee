"""A file that was completely written, as an event and as its handler sees it."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec

from millstream.errors import UsageError

if TYPE_CHECKING:
    import polars as pl


class Signature(NamedTuple):
    """What tells one version of a file from another."""

    inode: int
    size: int
    modified_ns: int


def signature_of(path: str) -> Signature | None:
    """Return the signature of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return Signature(found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file, completely written when the event was."""

    path: str
    """Absolute."""
    size: int
    """In bytes."""
    modified: datetime
    inode: int = 0
    modified_ns: int = 0

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def signature(self) -> Signature:
        return Signature(self.inode, self.size, self.modified_ns)

    def open(self, mode: str = "rb", **settings: Any) -> IO[Any]:
        """Open it, as the built-in `open` does; for reading bytes unless told."""
        return Path(self.path).open(mode, **settings)

    def bytes(self) -> bytes:
        """Return all of it."""
        return Path(self.path).read_bytes()

    def text(self, encoding: str = "utf-8") -> str:
        """Return all of it as text.

        Raises:
            UnicodeDecodeError: It is none in this encoding.
        """
        return Path(self.path).read_text(encoding)

    def frame(self, **settings: Any) -> pl.LazyFrame:
        """Return it as a Polars frame, read by what its name ends in: .csv, .parquet, .ndjson, .jsonl, .ipc, .arrow.

        Args:
            settings: Of the Polars function: `scan_csv(separator=";")`.

        Raises:
            UsageError: The name ends in something else.
        """
        import polars as pl

        readers: dict[str, Any] = {
            ".csv": pl.scan_csv,
            ".parquet": pl.scan_parquet,
            ".ndjson": pl.scan_ndjson,
            ".jsonl": pl.scan_ndjson,
            ".ipc": pl.scan_ipc,
            ".arrow": pl.scan_ipc,
        }
        reader = readers.get(Path(self.path).suffix.lower())
        if reader is None:
            known = ", ".join(readers)
            raise UsageError(f"{self.path}: frame() reads {known}; open other files with open(), bytes() or text()")
        frame: pl.LazyFrame = reader(self.path, **settings)
        return frame
