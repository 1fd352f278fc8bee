"""The documentation does what it says, and says all there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from millstream import errors, limits
from millstream.engines.protocol import Engine, Maintenance

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_code_block_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("run_page.py")), str(page)],
        cwd=tmp_path,
        env={**environment, "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_the_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert anchor in anchors_of(page.parent / target if target else page), f"{target}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    shown = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in shown}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_the_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    named = {name for name in re.findall(r"`([\w./-]+(?:\.py|\.sql|/))`", text) if "NAME" not in name}
    assert len(named) > 5
    places = (ROOT, ROOT / "src" / "millstream")
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


def test_every_method_of_an_engine_is_mapped_to_the_clusters() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = " ".join(
        line.split("|")[1] for line in text[text.index("| method |") :].splitlines() if line.startswith("|")
    )
    methods = [
        name
        for protocol in (Engine, Maintenance)
        for name, value in vars(protocol).items()
        if callable(value) and not name.startswith("_")
    ]
    assert len(methods) > 20
    assert [name for name in methods if not re.search(rf"`{name}`|`{name} ", rows)] == []


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"docs/{page.name}" not in readme] == []


def test_every_error_is_documented() -> None:
    page = (DOCS / "errors.md").read_text()
    classes = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MillstreamError)
    ]
    assert len(classes) > 15
    assert [name for name in classes if f"`{name}`" not in page] == []


def test_every_limit_is_documented_with_its_value() -> None:
    page = (DOCS / "limits.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \|", page, re.MULTILINE))
    actual = {name: f"{value:,}" for name, value in vars(limits).items() if name.isupper()}
    assert rows == actual


def test_every_dependency_has_its_reason() -> None:
    page = (DOCS / "dependencies.md").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    tools = re.search(r"^test = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert listed
    assert tools
    names = re.findall(r'^\s+"([A-Za-z.-]+)', listed[1] + tools[1], re.MULTILINE)
    assert len(names) > 15
    assert [name for name in names if f"| {name} |" not in page] == []


def test_the_readme_and_ci_run_the_same_line() -> None:
    start = "python3 -m venv .venv && .venv/bin/pip install -q -e ."
    readme, script = (
        [line for line in path.read_text().splitlines() if line.startswith(start)]
        for path in (ROOT / "README.md", ROOT / ".ci/run")
    )
    assert len(readme) == 1
    assert readme == script
