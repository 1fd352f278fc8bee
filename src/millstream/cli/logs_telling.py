"""What `millstream logs` says on stderr of its own work: a line each, and not again and again."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

AGAIN_S: Final = 60.0
"""An output that stays away is told of so often at most."""
TOLD_BY_NAME: Final = ("millstream.stream", "millstream.run")
"""Loggers that tell of rules and outputs that do not get on: that is told by the name of each."""
ATTEMPTS: Final = "millstream.sinks"
"""Of loggers that tell of each attempt of an output: the first is enough, until it is given up."""
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Teller:
    """Tells notes, each once, and troubles, each now and then."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._told_s: dict[str, float] = {}

    def note(self, notes: Iterable[str]) -> None:
        """Say what is not read, or not taken."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                print(note, file=sys.stderr)

    def troubles(self, troubles: Iterable[str]) -> None:
        """Say which rules and outputs do not get on, `name: why` each; they are tried again."""
        now = time.monotonic()
        for trouble in troubles:
            name = trouble.partition(":")[0]
            if trouble not in self._said and now - self._told_s.get(name, -AGAIN_S) >= AGAIN_S:
                self._said.add(trouble)
                self._told_s[name] = now
                print(trouble, file=sys.stderr)


class _Lines(logging.Handler):
    """Writes warnings as a line each, without where they were raised; those of attempts now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(TOLD_BY_NAME):
            return
        if record.name.startswith(ATTEMPTS):
            now = time.monotonic()
            if now - self._told_s.get(record.name, -AGAIN_S) < AGAIN_S:
                return
            self._told_s[record.name] = now
        print(" ".join(record.getMessage().split()), file=sys.stderr)


@contextmanager
def told_in_lines(*, debug: bool) -> Iterator[None]:
    """Have the program's log written for a person meanwhile; with `debug` more of it, and with tracebacks."""
    logger = logging.getLogger("millstream")
    handler = logging.StreamHandler(sys.stderr) if debug else _Lines()
    level, propagate = logger.level, logger.propagate
    if debug:
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
