"""`millstream logs reparse`: stored lines, read again with the parsers of today."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from millstream.cli.output import count_text, print_json
from millstream.cli.progress import progress
from millstream.errors import StorageError, UsageError


def reparse(
    data: Path, begin: str, to: str, format: str | None, pattern: str | None, *, follow: bool, as_json: bool
) -> int:
    """Read the events of `logs` again into another topic, and say how many; return the exit code.

    Raises:
        UsageError: An option says something that cannot be meant.
    """
    from millstream import App
    from millstream.logs.application import EVENTS
    from millstream.logs.reparse import Reparser, Reparsing
    from millstream.run.signals import stopped_by_signals

    file = data / "millstream.db"
    if not file.exists():
        raise StorageError(f"there is no log at {file}; `millstream logs` makes one, --data names another")
    what = Reparsing(to=to, start=_start(begin), format=format, pattern=pattern)
    stop = threading.Event()
    with App(str(file)) as app, stopped_by_signals(stop), progress("reading again") as advance:
        reparser = Reparser(app.log, EVENTS, what)
        first = reparser.next_offset
        reparser.run(follow=follow, stop=stop, progress=lambda done, end: advance(done, end, ""))
        end = reparser.next_offset
    if as_json:
        said = {"to": to, "start": first, "end": end, "records": reparser.records, "copied": reparser.copied}
        print_json(said)
    else:
        copied = f", {reparser.copied} of them as they were" if reparser.copied else ""
        print(f"{count_text(reparser.records, 'event')} of {EVENTS} from {first} to {end} read again into {to}{copied}")
    return 0


def _start(text: str) -> int | datetime:
    from millstream.cli.tail import place_of

    place = place_of(text, now=datetime.now(UTC))
    if place == "end":
        raise UsageError("--from end: there is nothing to read again; give start, an offset or a time")
    return 0 if place == "start" else place
