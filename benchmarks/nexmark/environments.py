"""The peers' virtual environments: made once beside this file, again when a requirements file changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PEERS: Final = ("bytewax", "flink", "pathway")


def python_of(peer: str) -> Path:
    """Return the Python of a peer's environment."""
    return HERE / ".environments" / peer / "bin" / "python"


def make() -> list[str]:
    """Make what is missing or old; needs the package index then. Return the peers that can run here.

    PyFlink needs a Java runtime, 11 or 17.
    """
    there = [peer for peer in PEERS if peer != "flink" or shutil.which("java")]
    for peer in there:
        python, wanted = python_of(peer), HERE / "peers" / f"{peer}.txt"
        made = python.parent.parent / "made_of.txt"
        if made.exists() and made.read_text() == wanted.read_text():
            continue
        print(f"making the environment of {peer} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(python.parent.parent)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)], check=True)
        made.write_text(wanted.read_text())
    return there


def versions() -> str:
    """Return the packages that the requirements name, with their versions."""
    lines = [line for peer in PEERS for line in (HERE / "peers" / f"{peer}.txt").read_text().splitlines()]
    return ", ".join(line.replace("==", " ") for line in lines if not line.startswith("msgspec"))
