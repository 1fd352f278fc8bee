"""How an error reaches the person or the program that ran a command."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Final

from typer.exceptions import TyperException

from millstream.errors import MillstreamError

EXIT_SET_ASIDE = 5
"""The command did its work, and some of the input was set aside as dead letters."""

EXIT_INTERRUPTED = 130
"""Ctrl-C; as shells have it: 128 + SIGINT."""


OURS: Final = (
    "<frozen ",
    *(str(place) + os.sep for place in (Path(__file__).parents[1], sysconfig.get_path("stdlib"))),
    *(str(Path(sysconfig.get_path(name))) + os.sep for name in ("purelib", "platlib")),
)
"""Where code of ours, of Python and of packages is; the rest is that of whoever runs an application."""


def print_error(error: MillstreamError | TyperException | OSError, *, as_json: bool) -> int:
    """Write an error to stderr as one line, or as one JSON object; return the exit code."""
    if isinstance(error, TyperException):
        # A bare `millstream` raises its help, which is a page and no sentence.
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            return error.exit_code
        kind, message, code, retryable = "UsageError", error.format_message(), error.exit_code, False
    elif isinstance(error, MillstreamError):
        kind, message, code, retryable = type(error).__name__, str(error), error.exit_code, error.retryable
    else:
        kind, message, code, retryable = type(error).__name__, str(error), 1, False
        if error.filename is not None and error.strerror is not None:
            message = f"{error.filename}: {error.strerror}"
    message = " ".join(message.split())
    if as_json:
        envelope = {"error": {"type": kind, "message": message, "retryable": retryable, "exit_code": code}}
        print(json.dumps(envelope, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"millstream: {message}", file=sys.stderr)
    return code


def print_own_error(error: Exception, *, as_json: bool) -> bool:
    """Write what the code of an application raised, with the lines of its traceback from that code on.

    Returns False, having written nothing, where none of that code is in the traceback: then the error is ours.
    """
    frames = traceback.extract_tb(error.__traceback__)
    first = next((place for place, frame in enumerate(frames) if not frame.filename.startswith(OURS)), None)
    if first is None:
        return False
    notes = getattr(error, "__notes__", [])
    if as_json:
        message = " ".join(" ".join([str(error), *notes]).split())
        envelope = {"type": type(error).__name__, "message": message, "retryable": False, "exit_code": 1}
        print(json.dumps({"error": envelope}, ensure_ascii=False), file=sys.stderr)
        return True
    lines = [
        "Traceback of the application (--debug shows all of it):\n",
        *traceback.format_list(frames[first:]),
        *traceback.format_exception_only(error),
    ]
    print("".join(lines), end="", file=sys.stderr)
    return True
