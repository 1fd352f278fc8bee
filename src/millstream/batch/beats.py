"""The sign of life of a run in progress, in a thread of its own: it also hears of a cancel, and of being replaced."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from millstream.batch.batch_run import BatchRun, cancelled
from millstream.batch.claim import AT, BEAT, BEAT_S, CANCEL, Beat, Claim, put
from millstream.engines.protocol import StateChange
from millstream.errors import ClosedError, CommitConflictError, MillstreamError
from millstream.log.group import Group

_log = logging.getLogger("millstream.batch")

END_S: Final = 5.0
"""A beat that does not end by then waits for a commit; the run does not wait for it."""


class Beats:
    """Beats for a claim while in a `with`.

    Args:
        held: The claim as the log has it.
        look: Called with each beat: due times pass while a run is in progress.
    """

    def __init__(
        self, group: Group[Any], claim: Claim, held: StateChange, run: BatchRun, look: Callable[[], object]
    ) -> None:
        self._group = group
        self._claim = claim
        self._held = held
        self._run = run
        self._look = look
        self._number = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"batch-{group.name}-beat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(END_S)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._tell()
                self._look()
            except ClosedError:
                return
            except CommitConflictError as error:
                if not self._ended.is_set():
                    self._run.stop(error)
                return
            except MillstreamError as error:
                # The next one may succeed; a claim is taken over only after several did not.
                _log.warning("batch %s: its sign of life was not written: %s", self._group.name, error)

    def _tell(self) -> None:
        self._number += 1
        beat = Beat(self._claim.token, self._number, self._run.share, self._run.text)
        self._group.commit([], state=[put(BEAT, beat)], expect=[self._held])
        asked = self._group.state(AT, [CANCEL]).get(CANCEL)
        if asked is not None and msgspec.msgpack.decode(asked) == self._claim.run_id:
            self._run.stop(cancelled(self._claim.run_id))
