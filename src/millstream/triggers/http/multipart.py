"""A form with files, `multipart/form-data`, taken apart as it comes: memory is bounded, whatever is sent.

Source: RFC 7578, RFC 2046 section 5.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import Final

import msgspec

from millstream.triggers.http.refusal import Refused

HEAD_BYTES_MAX: Final = 8192
"""Of one part's headers; browsers send some 200."""

PARTS_MAX: Final = 1000


class PartBegins(msgspec.Struct, frozen=True):
    name: str
    filename: str | None
    """None: a field of the form, no file."""
    content_type: str | None


class PartData(msgspec.Struct, frozen=True):
    data: bytes


class PartEnds(msgspec.Struct, frozen=True):
    pass


Piece = PartBegins | PartData | PartEnds


def boundary_of(content_type: str) -> bytes:
    """Return what parts a form.

    Raises:
        Refused: The header does not say.
    """
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 70 or not boundary.isascii():
        raise Refused(400, "bad_form", "the boundary of the form is missing or none", where="content-type")
    return boundary.encode()


class MultipartParser:
    """Fed with a body piece by piece, yields what is in it."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # As if a line had ended before the first delimiter.
        self._buffer = bytearray(b"\r\n")
        self._state = "preamble"
        self._parts = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what is complete by now.

        Raises:
            Refused: It is no form.
        """
        self._buffer += data
        while True:
            before = (self._state, len(self._buffer))
            match self._state:
                case "preamble":
                    self._skip_to_delimiter()
                case "delimiter":
                    self._pass_delimiter()
                case "head":
                    yield from self._head()
                case "body":
                    yield from self._body()
                case _:
                    self._buffer.clear()  # what follows the last delimiter means nothing
            if (self._state, len(self._buffer)) == before:
                return

    def close(self) -> None:
        """Raise Refused unless the form came to its end."""
        if self._state != "over":
            raise Refused(400, "cut_off", "the form ended before its last boundary")

    def _skip_to_delimiter(self) -> None:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            del self._buffer[: at + len(self._delimiter)]
            self._state = "delimiter"
        elif len(self._buffer) > len(self._delimiter):
            del self._buffer[: -len(self._delimiter)]

    def _pass_delimiter(self) -> None:
        if len(self._buffer) < 2:
            return
        if self._buffer.startswith(b"--"):
            self._state = "over"
            return
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > 100:
                raise Refused(400, "bad_form", "a boundary of the form is followed by something else")
            return
        if self._buffer[:end].strip(b" \t"):
            raise Refused(400, "bad_form", "a boundary of the form is followed by something else")
        # The line's end stays: a part without headers begins with an empty line.
        del self._buffer[:end]
        self._state = "head"

    def _head(self) -> Iterator[Piece]:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise Refused(400, "bad_form", f"the headers of a part are larger than {HEAD_BYTES_MAX:,} bytes")
            return
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 2]  # the empty line's own end may begin a delimiter: an empty part
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise Refused(413, "too_large", f"a form has at most {PARTS_MAX:,} parts")
        self._state = "body"
        self._first = True
        yield _begins(head)

    def _body(self) -> Iterator[Piece]:
        skip = 2 if self._first else 0
        if len(self._buffer) < skip + len(self._delimiter):
            return
        at = self._buffer.find(self._delimiter)
        end = at if at >= 0 else len(self._buffer) - len(self._delimiter)
        if end > skip:
            yield PartData(bytes(self._buffer[skip:end]))
        if at >= 0:
            self._state = "delimiter"
            del self._buffer[: at + len(self._delimiter)]
            yield PartEnds()
        elif end > skip:
            self._first = False
            del self._buffer[:end]


_DISPOSITION: Final = re.compile(rb"^content-disposition:[ \t]*form-data[ \t]*(;.*)$", re.IGNORECASE | re.MULTILINE)
_PARAMETER: Final = re.compile(r';[ \t]*([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')
_TYPE: Final = re.compile(rb"^content-type:[ \t]*(.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)


def _begins(head: bytes) -> PartBegins:
    lines = head.replace(b"\r\n", b"\n")
    found = _DISPOSITION.search(lines)
    if found is None:
        raise Refused(400, "bad_form", "a part of the form has no Content-Disposition: form-data")
    text = found[1].decode("utf-8", "replace")
    parameters = {name.lower(): _plain(quoted) if quoted else bare for name, quoted, bare in _PARAMETER.findall(text)}
    content_type = _TYPE.search(lines)
    return PartBegins(
        name=parameters.get("name", ""),
        filename=parameters.get("filename"),
        content_type=None if content_type is None else content_type[1].decode("utf-8", "replace"),
    )


def _plain(quoted: str) -> str:
    # Browsers write a quote as %22 and leave backslashes as they are, others put a backslash before either.
    return quoted.replace('\\"', '"').replace("%22", '"')
