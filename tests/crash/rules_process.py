"""Follows a log file and runs rules over it until it is killed: DATABASE LOG RULES."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from millstream.app import App
from millstream.logs.application import LogsApplication
from millstream.logs.rules import read_rules
from millstream.sources.files import FileSource


def main(database: str, log: str, rules: str) -> None:
    with App(database, durability="relaxed") as app:
        logs = LogsApplication(app, read_rules(Path(rules)))
        with logs.following([FileSource([Path(log)], lines_first=None)]):
            threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
