"""Runs the pipeline of `millstream.testing.stream_outside` until it is told to stop: PATH PARTITIONS share|alone."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from millstream.app import App
from millstream.testing.stream_outside import declare


def main(path: str, partitions: str, mode: str) -> None:
    logging.basicConfig(level=logging.INFO)
    with App(path, durability="relaxed") as app:
        declare(app, Path(path).parent, partitions=int(partitions), share=mode == "share")
        app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
