"""Small things that the engine's methods share: limits of a call, and telling the outcome of a submitted one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from millstream.errors import LimitExceededError, MillstreamError, UsageError
from millstream.records import Position

_log = logging.getLogger(__name__)


def check_limit(what: str, size: int, limit: int) -> None:
    if size < 1:
        raise UsageError(f"{what} is {size}; it must be 1 to {limit:,}")
    if size > limit:
        raise LimitExceededError(what, limit=limit, size=size)


def tell(
    done: Callable[[list[Position] | None, BaseException | None], None],
    positions: list[Position] | None,
    error: MillstreamError | None,
) -> None:
    try:
        done(positions, error)
    except Exception:  # noqa: BLE001 - the caller's code; the appends that follow must not suffer from it
        _log.exception("the callback of an append failed")
