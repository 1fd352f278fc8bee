"""The page of formats names them all."""

from __future__ import annotations

from pathlib import Path

from millstream.parsers.formats import FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "logs-formats.md"


def test_every_format_is_in_the_table_of_the_page() -> None:
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    missing = [name for name in FORMATS if not any(f"`{name}`" in row for row in rows)]
    assert not missing, f"docs/logs-formats.md has no row for {', '.join(missing)}"
