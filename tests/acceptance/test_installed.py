"""A newcomer's first command, as the README has it, from a clean copy, in a fresh virtual environment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from pathlib import Path
from queue import Empty, Queue

import pytest

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*")

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform == "win32", reason="the README's lines are for a POSIX shell"),
]


def require_package_index() -> None:
    """Skip where nothing can be installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder, "hatchling"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.skip("no package index can be reached, so nothing can be installed")


def copy_of_the_repository(folder: Path) -> Path:
    """Return what a clone has (and what is about to be committed), without what lies beside it."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so there is no clean copy to make")
    target = folder / "millstream"
    for name in map(os.fsdecode, filter(None, names)):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def readme_line() -> str:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.endswith("millstream demo")]
    assert len(lines) == 1
    return lines[0]


def environment() -> dict[str, str]:
    """Return the environment without what would lead a child back to this Python or another log."""
    leave_out = ("PYTHON", "VIRTUAL_ENV", "MILLSTREAM", "COVERAGE", "PYTEST")
    return {name: value for name, value in os.environ.items() if not name.startswith(leave_out)}


def test_the_main_command_of_the_readme_installs_serves_the_page_and_ends_with_0_on_ctrl_c(tmp_path: Path) -> None:
    require_package_index()
    copy = copy_of_the_repository(tmp_path)
    with subprocess.Popen(
        ["bash", "-c", f"{readme_line()} --port 0 --no-browser"],
        cwd=copy,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        output: Queue[str] = Queue()
        reader = threading.Thread(target=lambda: [output.put(line) for line in process.stdout or ()])
        reader.start()
        try:
            address = first_address(output, process)
            with urllib.request.urlopen(address, timeout=30) as answer:
                page = answer.read().decode()
            assert answer.status == 200
            assert "Millstream" in page
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) == 0, list(output.queue)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join()
    assert (copy / "millstream-demo" / "millstream.db").exists()
    check_the_installation(copy)
    check_the_wheel(copy)


def first_address(output: Queue[str], process: subprocess.Popen[str]) -> str:
    """Return the address that the demo prints."""
    seen = []
    while True:
        try:
            line = output.get(timeout=300)
        except Empty:
            pytest.fail(f"the demo printed no address: {seen}")
        seen.append(line)
        if match := ADDRESS.search(line):
            return match[0]
        if process.poll() is not None and output.empty():
            pytest.fail(f"the demo ended with {process.returncode}: {seen}")


def check_the_installation(copy: Path) -> None:
    """The base install brings what it needs and none of the heavy three; its command works."""
    python = copy / ".venv" / "bin" / "python"

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=copy.parent, env=environment(), capture_output=True, text=True, check=True)
        return done.stdout

    listed = {line.split("==")[0].lower() for line in run(str(python), "-m", "pip", "list", "--format=freeze").split()}
    assert {"millstream", "apsw", "msgspec", "polars"} <= listed
    assert listed.isdisjoint({"pandas", "numpy", "pyarrow"})
    command = str(python.with_name("millstream"))
    assert run(command, "--version").startswith("millstream ")
    assert '"topic":"clicks"' in run(command, "topics", "--json", "--data", str(copy / "millstream-demo"))
    assert "no problems found" in run(command, "doctor", "--data", str(copy / "millstream-demo"))


def check_the_wheel(copy: Path) -> None:
    """The wheel holds the package and everything in it that is not Python, and nothing else."""
    target = copy / "wheels"
    python = str(copy / ".venv" / "bin" / "python")
    build = [python, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(target), "."]
    subprocess.run(build, cwd=copy, env=environment(), check=True)
    (wheel,) = target.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = copy / "src"
    expected = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert packed == {name for name in expected if "__pycache__" not in name}
    assert "millstream/py.typed" in packed
