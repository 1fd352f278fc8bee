"""Waiting for what other threads and processes do: a generous time, as a busy machine may take long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

PATIENCE_S: Final = 60.0


def until(
    condition: Callable[[], Any], what: str | Callable[[], object] = "it came about", seconds: float = PATIENCE_S
) -> None:
    """Return when a condition holds.

    Args:
        what: Of the message when it never does: what was waited for, or what tells how things stand then.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what if isinstance(what, str) else what()}"
        time.sleep(0.01)
