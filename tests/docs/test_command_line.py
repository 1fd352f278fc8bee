"""docs/command-line.md names every command and every option, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from millstream.cli.application import COMMANDS, application

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
COMMON = PAGE[PAGE.index("## Options of all commands") : PAGE.index("### Exit codes")]
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def options_of(command: object) -> set[str]:
    names = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]  # type: ignore[attr-defined]
    return {name for name in names if name.startswith("-")}


def section_of(name: str) -> str:
    match = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, f"no section for {name}"
    return match[1]


@pytest.mark.parametrize("name", [command.__name__ for command in COMMANDS])
def test_the_command_and_each_of_its_options_is_documented(name: str) -> None:
    command = typer.main.get_command(application).commands[name]  # type: ignore[attr-defined]
    documented = set(OPTION.findall(section_of(name))) | set(OPTION.findall(COMMON))
    assert options_of(command) - documented == set()
    assert f"[`{name}`](#{name})" in PAGE


def test_the_options_of_all_commands_are_documented() -> None:
    root = typer.main.get_command(application)
    assert options_of(root) - set(OPTION.findall(COMMON)) == set()


def test_no_option_is_documented_that_does_not_exist() -> None:
    root = typer.main.get_command(application)
    known = options_of(root) | {"-h", "--help"}
    for command in root.commands.values():  # type: ignore[attr-defined]
        known |= options_of(command)
    tables = "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|"))
    assert set(OPTION.findall(tables)) - known == set()
