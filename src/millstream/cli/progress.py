"""How far long work is: a bar on a terminal, a plain line now and then anywhere else. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

LINES_EVERY_S = 5.0
"""Between plain lines: a log of the output stays readable, and a person sees that it still moves."""

BAR_AFTER_S: Final = 0.5
"""What is over before needs no bar, nor the library that draws it."""

Advance = Callable[[int, int, str], None]
"""Called with what is done, what there is in all (0: unknown), and a note such as `50,000 records`."""


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Show the progress of one piece of work."""
    with _bar(what) if sys.stderr.isatty() else _lines(what) as advance:
        yield advance


@contextmanager
def _bar(what: str) -> Iterator[Advance]:
    begun = time.monotonic()
    show: Advance | None = None
    with ExitStack() as stack:

        def advance(done: int, total: int, note: str) -> None:
            nonlocal show
            if show is None and time.monotonic() - begun >= BAR_AFTER_S:
                show = stack.enter_context(_shown(what))
            if show is not None:
                show(done, total, note)

        yield advance


@contextmanager
def _shown(what: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as display:
        task = display.add_task(what, total=None, note="")

        def show(done: int, total: int, note: str) -> None:
            display.update(task, completed=done, total=total or None, note=note)

        yield show


@contextmanager
def _lines(what: str) -> Iterator[Advance]:
    last = time.monotonic()

    def advance(done: int, total: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINES_EVERY_S:
            return
        last = now
        share = f"{done / total:.0%}" if total else ""
        print(f"{what}: {', '.join(part for part in (share, note) if part)}", file=sys.stderr, flush=True)

    yield advance
