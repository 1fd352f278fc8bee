"""Sends all dead letters of a topic back, slowly, until a test kills it. Usage: redriving_process.py LOG TOPIC"""

from __future__ import annotations

import sys

from millstream import App

if __name__ == "__main__":
    with App(sys.argv[1], durability="relaxed") as app:
        print("begins", flush=True)
        app.dead(sys.argv[2]).redrive(rate="300/s")
