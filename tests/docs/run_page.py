"""Run the code blocks of one page of the documentation, in order, in the current folder.

    ```python        runs; the blocks of a page share their names, as if they were one file
    ```console       each `$ command` runs in bash; its output (both streams) must be what follows, where `...` stands
                     for anything; a last line `[exit 3]` names an exit code other than 0
    ```anything else is not looked at

Usage: python run_page.py PAGE
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\[exit (\d+)\]")


class Block(NamedTuple):
    language: str
    line: int
    text: str


def blocks_of(text: str) -> list[Block]:
    return [
        Block(match[1], text.count("\n", 0, match.start(2)) + 1, match[2])
        for match in FENCE.finditer(text)
        if match[1] in ("python", "console")
    ]


def commands_of(block: Block) -> Iterator[tuple[int, str, str]]:
    """Yield line, command and expected output of a console block; a command goes on after a `\\` at a line's end."""
    line, command, expected = 0, "", ""
    for number, text in enumerate(block.text.splitlines(keepends=True), block.line):
        if text.startswith("$ "):
            if command:
                yield line, command, expected
            line, command, expected = number, text[2:], ""
        elif command.endswith("\\\n") and not expected:
            command += text
        else:
            expected += text
    if command:
        yield line, command, expected


def run_python(page: Path, block: Block, module: ModuleType) -> None:
    # Empty lines before it: a traceback names the page's own lines.
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
    exec(code, vars(module))


def run_console(page: Path, block: Block) -> None:
    for line, command, expected in commands_of(block):
        done = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        lines = expected.splitlines()
        code = 0
        if lines and (exit_line := EXIT.fullmatch(lines[-1])):
            code = int(exit_line[1])
            lines.pop()
        wanted = "".join(f"{text}\n" for text in lines)
        same = doctest.OutputChecker().check_output(
            wanted, done.stdout, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
        if not same or done.returncode != code:
            sys.exit(
                f"{page.name}:{line}: $ {command}exit code {done.returncode}, expected {code}\n"
                f"--- expected\n{wanted}--- got\n{done.stdout}"
            )


def main() -> None:
    page = Path(sys.argv[1])
    module = ModuleType("page")
    sys.modules["page"] = module
    with tempfile.TemporaryDirectory() as folder:
        # `millstream` and `python` are those of this Python, whatever else is installed.
        for name, arguments in (("millstream", " -m millstream"), ("python", "")):
            command = Path(folder, name)
            command.write_text(f"#!/bin/sh\nexec '{sys.executable}'{arguments} \"$@\"\n")
            command.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        for block in blocks_of(page.read_text()):
            if block.language == "python":
                run_python(page, block, module)
            else:
                run_console(page, block)


if __name__ == "__main__":
    main()
