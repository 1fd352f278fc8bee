"""The peers' virtual environments: made once beside this file, again when a requirements file changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("peers", "peers_redis5")


def python_of(name: str) -> Path:
    """Return the Python of an environment; "" is the one that runs the benchmark."""
    return HERE / ".environments" / name / "bin" / "python" if name else Path(sys.executable)


def make() -> None:
    """Make what is missing or old; needs the package index then."""
    for name in NAMES:
        python, wanted = python_of(name), HERE / f"{name}.txt"
        made = python.parent.parent / "made_of.txt"
        if made.exists() and made.read_text() == wanted.read_text():
            continue
        print(f"making the environment of {wanted.name} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(python.parent.parent)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)], check=True)
        made.write_text(wanted.read_text())


def versions() -> str:
    """Return the packages that the requirements name, with their versions."""
    lines = [line for name in NAMES for line in (HERE / f"{name}.txt").read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "hiredis", "typing-extensions"))]
    return ", ".join(line.partition("[")[0].partition("==")[0] + " " + line.partition("==")[2] for line in wanted)
