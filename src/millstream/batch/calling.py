"""A handler is called: in the thread that asked, or in one of its own where it can be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from millstream.batch.batch_run import BatchRun
from millstream.batch.handler import Shape
from millstream.batch.inputs import Source, arguments


def call(
    handler: Callable[..., Any],
    shape: Shape,
    sources: Mapping[str, Source],
    run: BatchRun,
    timeout_us: int | None,
    *,
    threaded: bool,
) -> Any:
    """Return what a handler returns.

    Args:
        timeout_us: Raise TimeoutError after this long; it counts by the time that passes, not by the wall clock.
        threaded: Call it in a thread, which is left behind when the run is cancelled, replaced, or takes too long.

    Raises:
        Exception: What it raised, or what the run was stopped with.
    """

    def work() -> Any:
        given, named = arguments(sources, shape.inputs, run.check)
        return handler(*given, **named, **({} if shape.run is None else {shape.run: run}))

    if not threaded and timeout_us is None:
        result = work()
        run.check()
        return result
    return _in_thread(work, run, timeout_us)


def _in_thread(work: Callable[[], Any], run: BatchRun, timeout_us: int | None) -> Any:
    ended: list[tuple[Any, BaseException | None]] = []

    def target() -> None:
        try:
            ended.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            ended.append((None, error))
        run.over.set()

    threading.Thread(target=target, name=f"batch-run-{run.id}", daemon=True).start()
    if not run.over.wait(None if timeout_us is None else timeout_us / 1_000_000) and timeout_us is not None:
        run.stop(TimeoutError(f"run {run.id} took longer than its timeout of {timeout_us / 1_000_000:g} s"))
    run.check()
    result, error = ended[0]
    if error is not None:
        raise error
    return result
