"""What a configuration of `millstream logs` may say is documented, and what the documentation shows may be said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from millstream.logs.config import Example, parse_config
from millstream.logs.listeners import Listener
from millstream.logs.outputs import Output
from millstream.logs.rules import Rule
from millstream.logs.steps.tables import StepKind

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(?:toml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEAD = re.compile(r"^\[\[(?:source|step|rule|sigma|output|example)\]\]|^\[(?:logs|rule\.\w+)\]", re.MULTILINE)
SHOWN = [
    pytest.param(block[1], id=f"{page.stem}-{page.read_text().count(chr(10), 0, block.start()) + 1}")
    for page in sorted(DOCS.glob("*.md"))
    for block in BLOCK.finditer(page.read_text())
    if HEAD.search(block[1])
]
PAGES = {"source": (Listener, "logs-config"), "step": (StepKind, "logs-steps"), "output": (Output, "logs-outputs")}
KINDS = [
    pytest.param(kind, page, id=f"{table}-{kind.__struct_config__.tag}")
    for table, (kinds, page) in PAGES.items()
    for kind in get_args(kinds)
]


def keys_in(page: str) -> set[str]:
    text = (DOCS / f"{page}.md").read_text()
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"[a-z][a-z_]*", code)}


@pytest.mark.parametrize("text", SHOWN)
def test_a_configuration_that_is_shown_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").touch()
    text = re.sub(r"/etc/millstream/\w+\.txt", str(tmp_path / "list.txt"), text)
    # What a page shows may be a part of a rule: the rest is what every rule has.
    rest = '[[rule]]\nname = "shown"\nmessage = "shown"\n[rule.each]\n' if text.startswith("[rule.") else ""
    parse_config(rest + text, "shown")


@pytest.mark.parametrize(("kind", "page"), KINDS)
def test_each_kind_has_a_row_and_each_of_its_keys_is_on_the_page(kind: type[msgspec.Struct], page: str) -> None:
    tag = kind.__struct_config__.tag
    assert re.search(rf"^\| `{tag}` \|", (DOCS / f"{page}.md").read_text(), re.MULTILINE), f"no row for {tag}"
    assert set(kind.__struct_encode_fields__) - keys_in(page) == set()


@pytest.mark.parametrize(("table", "page"), [(Rule, "logs-rules"), (Example, "logs-config")], ids=["rule", "example"])
def test_each_key_of_rules_and_examples_is_on_the_page(table: type[msgspec.Struct], page: str) -> None:
    assert set(table.__struct_encode_fields__) - keys_in(page) == set()
