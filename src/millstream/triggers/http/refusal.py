"""A request that is not taken."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, no error of ours
    """Becomes the answer: a status, a code for programs, a message for people, and which part of the request."""

    def __init__(self, status: int, code: str, message: str, *, where: str = "body") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.where = where
