"""A command line run in this process, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from millstream.cli.application import run


class Result(NamedTuple):
    """Of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def rows(self) -> list[list[str]]:
        """Of a table."""
        return [line.split() for line in self.lines]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Of `--json`, a line each."""
        return [json.loads(line) for line in self.lines]

    @property
    def object(self) -> dict[str, Any]:
        return json.loads(self.out)  # type: ignore[no-any-return]


Command = Callable[..., Result]


def command_line(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return what runs a command line: `millstream("topics", "--json")`."""

    def command(*arguments: str) -> Result:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return command
