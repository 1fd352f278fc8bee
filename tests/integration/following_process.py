"""Follows files into the topic "system" until its input ends; for tests that kill it.

Usage: python following_process.py URL LINES_FIRST FILE...
"""

from __future__ import annotations

import sys
from pathlib import Path

from millstream import App
from millstream.sources.files import FileSource
from millstream.sources.system import follow_system

if __name__ == "__main__":
    url, lines_first, *paths = sys.argv[1:]
    source = FileSource([Path(path) for path in paths], lines_first=int(lines_first))
    with App(url) as app, follow_system(app, sources=[source]) as follower:
        print("started", flush=True)
        sys.stdin.read()
        follower.stop()
        print(len(follower.notes), *follower.notes, sep="\n", flush=True)
