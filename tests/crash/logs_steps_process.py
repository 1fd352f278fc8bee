"""Follows files through steps until it is killed; for tests that do so.

Usage: python logs_steps_process.py URL CONFIGURATION FILE...
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from millstream import App
from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.sources.files import FileSource
from millstream.sources.system import follow_system

if __name__ == "__main__":
    url, configuration, *files = sys.argv[1:]
    steps = Chain(parse_config(Path(configuration).read_text(), configuration, {}).steps, {})
    # One source, and so one thread, each.
    sources = [FileSource([path], lines_first=None) for path in files]
    with App(url) as app, follow_system(app, sources=sources, handling=steps, sealed=True):
        print("following", flush=True)
        threading.Event().wait()
