"""The layout that a package tells of is the one it has: each of its modules is named there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "millstream"
ROOMS = sorted(str(path.parent.relative_to(SOURCE)) for path in SOURCE.rglob("__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_each_module_of_the_room_is_in_its_layout(room: str) -> None:
    told = ast.get_docstring(ast.parse((SOURCE / room / "__init__.py").read_text())) or ""
    words = set(re.findall(r"\w+", told))
    modules = {path.stem for path in (SOURCE / room).glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (SOURCE / room).glob("*/__init__.py")}
    assert (modules | folders) - words == set()


def test_each_package_is_a_layer_of_the_architecture() -> None:
    text = (SOURCE.parents[1] / "ARCHITECTURE.md").read_text()
    layers = text[text.index("## The layers") : text.index("## The invariants")]
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert {name for name in packages if f"`{name}/`" not in layers} == set()
