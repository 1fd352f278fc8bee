"""From a URL to an engine: the one module that names the engines."""

from __future__ import annotations

from millstream.clock import Clock, SystemClock
from millstream.engines.protocol import Durability, Engine
from millstream.errors import SettingsError


def connect(url: str, *, durability: str | None = None, clock: Clock | None = None, read_only: bool = False) -> Engine:
    """Open the engine that a URL names.

    Args:
        url: A path such as `events.db`, `sqlite:///events.db`, `sqlite:////absolute/events.db`, or `memory://`.
        durability: `fsync` (the default: survives power loss) or `relaxed` (survives a killed process).

    Raises:
        SettingsError: The URL or durability is none that this release knows.
        StorageError: The engine cannot be opened.
    """
    try:
        chosen = Durability(durability or Durability.FSYNC)
    except ValueError:
        raise SettingsError(f"durability {durability!r} is unknown: use 'fsync' or 'relaxed'") from None
    scheme, separator, rest = url.partition("://")
    if not separator or len(scheme) == 1:
        scheme, rest = "sqlite", "/" + url
    match scheme:
        case "sqlite":
            if not rest.startswith("/") or rest == "/":
                raise SettingsError(f"{url!r} names no file: write sqlite:///events.db, or just events.db")
            from millstream.engines.sqlite import SqliteEngine

            return SqliteEngine(rest[1:], durability=chosen, clock=clock or SystemClock(), read_only=read_only)
        case "memory":
            from millstream.engines.memory import MemoryEngine

            return MemoryEngine(clock=clock or SystemClock())
        case _:
            raise SettingsError(
                f"no engine for {url!r}: this release knows a file (events.db or sqlite:///events.db) and memory://"
            )
