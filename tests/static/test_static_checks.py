"""The checks that read the code instead of running it: style, types, layers, imports."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", "--output-format=concise", ".")


def test_ruff_would_format_nothing_anew() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_mypy_strict_finds_nothing() -> None:
    run(sys.executable, "-m", "mypy")


def test_mypy_finds_a_public_name_that_is_misspelled(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from millstream import Quue\nfrom millstream.stream import Strem\nfrom millstream.testing import FakeClok\n"
    )
    command = (sys.executable, "-m", "mypy", str(program))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.count("has no attribute") == 3, done.stdout + done.stderr


def test_every_module_imports_only_from_the_layers_below() -> None:
    run(str(Path(sysconfig.get_path("scripts"), "lint-imports")))


@pytest.mark.parametrize("module", ["millstream", "millstream.app", "millstream.cli"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    heavy = ["polars", "starlette", "uvicorn", "rich", "watchfiles", "duckdb", "numpy", "asyncio", "ssl"]
    # What an app may have, and this one has not declared.
    heavy += [
        "millstream.stream.description",
        "millstream.batch.batch",
        "millstream.triggers.http",
        "millstream.queue.crew",
    ]
    if module != "millstream.cli":
        heavy.append("typer")
    script = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_is_longer_than_two_rooms() -> None:
    """A module that passes about 400 lines wants to be two rooms with two names."""
    sizes = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in ROOT.glob("src/**/*.py")}
    assert sizes
    assert {str(path): lines for path, lines in sizes.items() if lines > 500} == {}


def test_nothing_in_the_repository_names_a_package_index() -> None:
    suspects = ("index-url", "--find-links", "trusted-host")
    texts = [*ROOT.glob("requirements/*.txt"), ROOT / "pyproject.toml", ROOT / ".ci/run"]
    found = {path.name for path in texts for line in path.read_text().splitlines() if any(s in line for s in suspects)}
    assert found == set()
