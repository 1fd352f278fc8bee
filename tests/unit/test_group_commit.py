"""Who is interrupted (Ctrl-C) while it waits or leads holds nobody up, wherever it was."""

from __future__ import annotations

import ast
import linecache
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from millstream.engines.sqlite import group_commit
from millstream.engines.sqlite.group_commit import GroupCommit, Ticket

INTERRUPTED = {"run", "alone", "_lead"}


def cleaning() -> Iterator[int]:
    """Yield the lines that clean up: a second Ctrl-C in the moment after the first is another matter."""
    for node in ast.walk(ast.parse(Path(group_commit.__file__).read_text())):
        if isinstance(node, ast.Try):
            for part in (*node.handlers, *node.finalbody):
                assert part.end_lineno is not None
                yield from range(part.lineno, part.end_lineno + 1)


CLEANING = frozenset(cleaning())


def execute(group: Sequence[Ticket[Any]]) -> None:
    for ticket in group:
        ticket.result = ticket.operation(None)  # type: ignore[arg-type]
        ticket.settled = True


def leaves_mutex(frame: FrameType) -> bool:
    """Return whether the line is the end of a `with`: a signal comes before that or after it, never in between."""
    line = linecache.getline(group_commit.__file__, frame.f_lineno)
    return line.strip() == "with self._mutex:" and frame.f_locals["self"]._mutex.locked()


def interrupt(work: Callable[[], object], at: int) -> bool:
    """Run something and interrupt it at the n-th line of the code under test; return whether it got that far."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != group_commit.__file__ or frame.f_code.co_name not in INTERRUPTED:
            return None
        if event == "line" and frame.f_lineno not in CLEANING and not leaves_mutex(frame):
            seen += 1
            if seen == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return seen >= at


def block(commits: GroupCommit) -> None:
    with commits.alone():
        pass


def append(commits: GroupCommit) -> None:
    assert commits.run(lambda _: 1, fsync=False) == 1


class Holder:
    """Another thread that writes for a while."""

    def __init__(self, commits: GroupCommit) -> None:
        self._began, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(commits,), daemon=True)
        self._thread.start()
        assert self._began.wait(60)

    def leave_soon(self) -> None:
        threading.Timer(0.005, self._go_on.set).start()

    def left(self) -> bool:
        self._go_on.set()
        self._thread.join(60)
        return not self._thread.is_alive()

    def _hold(self, commits: GroupCommit) -> None:
        with commits.alone():
            self._began.set()
            self._go_on.wait(60)


@pytest.mark.parametrize("work", [block, append], ids=["alone", "run"])
@pytest.mark.parametrize("contended", [False, True], ids=["at once", "in line"])
def test_interrupted_anywhere_holds_nobody_up(work: Callable[[GroupCommit], None], *, contended: bool) -> None:
    lines = 0
    for at in range(1, 100):
        commits = GroupCommit(execute, lambda operation, fsync: operation(None))
        holder = Holder(commits) if contended else None
        if holder is not None:
            holder.leave_soon()
        got_there = interrupt(lambda commits=commits: work(commits), at)  # type: ignore[misc]
        assert holder is None or holder.left()
        others = [threading.Thread(target=of, args=(commits,), daemon=True) for of in (append, block, append)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join(60)
            assert not thread.is_alive(), f"interrupted at line {at} of it, nobody writes any more"
        if not got_there:
            break
        lines = at
    assert lines >= 5
