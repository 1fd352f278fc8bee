"""How an error reaches the person or the program that ran a command."""

from __future__ import annotations

import json
import sys

from typer.exceptions import TyperException

from millstream.errors import MillstreamError

EXIT_SET_ASIDE = 5
"""The command did its work, and some of the input was set aside as dead letters."""

EXIT_INTERRUPTED = 130
"""Ctrl-C; as shells have it: 128 + SIGINT."""


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
