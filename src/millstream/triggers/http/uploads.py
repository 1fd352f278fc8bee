"""Files sent to a path: streamed to disk, an event for each when all of the request is there and synced."""

from __future__ import annotations

import errno
import re
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from millstream.records import time_from_us
from millstream.triggers.http.endpoint import Entry, HttpTrigger, Incoming, Rules
from millstream.triggers.http.multipart import MultipartParser, PartBegins, PartData, Piece, boundary_of
from millstream.triggers.http.receiving import WRITE_BYTES, Receiving, sweep, sync_names
from millstream.triggers.http.refusal import Refused

if TYPE_CHECKING:
    from starlette.types import Receive

SILENT_S_MAX: Final = 30.0
"""An upload of which nothing comes for this long is given up."""

FIELDS_BYTES_MAX: Final = 256 * 1024
"""Of a form's fields that are no files: they are kept in the event."""

FILES_MAX: Final = 100
"""Of one request: their events are written in one transaction."""

FORM: Final = "multipart/form-data"


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was sent, complete on disk."""

    id: str
    path: str
    """Where it is, absolute."""
    name: str
    """As its sender calls it, without parts of a path; the file may have a number behind it."""
    size: int
    sha256: str
    """Of its content, as hexadecimal digits."""
    content_type: str | None = None
    field: str = ""
    """Of the form."""
    fields: dict[str, str] = {}
    """The other fields of the form."""
    params: dict[str, str] = {}
    time: datetime
    client: str = ""

    def open(self) -> IO[bytes]:
        """Open it for reading."""
        return Path(self.path).open("rb")

    def bytes(self) -> bytes:
        """Return all of it."""
        return Path(self.path).read_bytes()


class UploadTrigger(HttpTrigger):
    """Files sent to a path; see `http.upload`."""

    event: ClassVar[type] = Upload

    def __init__(self, path: str, rules: Rules, folder: Path, *, name: str | None) -> None:
        super().__init__(path, rules, name=name)
        self.folder = folder.absolute()

    def digest_of(self, event: Any) -> bytes:
        return b""

    async def receive(self, incoming: Incoming, receive: Receive) -> Taking:
        """Write the files of a request to disk; they have their names when this returns, and are gone when it raises.

        Raises:
            Refused: It is too large, too slow, cut off, or no form.
        """
        import asyncio

        length = incoming.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.rules.size_max:
            raise _too_large(self.rules.size_max)
        taking = await asyncio.to_thread(Taking, self.folder, incoming)
        try:
            async for data in _gathered(receive, self.rules.size_max):
                await asyncio.to_thread(taking.feed, data)
            await asyncio.to_thread(taking.close)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(taking.discard))
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Refused(507, "storage_full", "there is no room for the file", where=str(self.folder)) from error
            raise
        return taking

    def uploads(self, incoming: Incoming, taking: Taking) -> list[Entry]:
        """Return the events of the files of a request."""
        uploads = [
            Upload(
                id=secrets.token_hex(8),
                path=str(file.path),
                name=file.name,
                size=file.size,
                sha256=file.sha256,
                content_type=about.content_type,
                field=about.name,
                fields=taking.fields,
                params=incoming.params,
                time=time_from_us(incoming.now_us),
                client=incoming.client,
            )
            for about, file in taking.files
        ]
        return [Entry(upload, upload.id, False) for upload in uploads]


class Taking:
    """The files of one request. Blocking: called from threads, one after another.

    Raises:
        Refused: The request says nothing of how its form is parted.
    """

    def __init__(self, folder: Path, incoming: Incoming) -> None:
        self.files: list[tuple[PartBegins, Receiving]] = []
        self.fields: dict[str, str] = {}
        self._folder = folder
        self._field: tuple[str, bytearray] | None = None
        self._fields_bytes = 0
        content_type = incoming.headers.get("content-type", "")
        is_form = content_type.partition(";")[0].strip().lower() == FORM
        self._parser = MultipartParser(boundary_of(content_type)) if is_form else None
        sweep(folder)
        if self._parser is None:
            self._begin(PartBegins("", _name_of(incoming), content_type or None))

    def feed(self, data: bytes) -> None:
        if self._parser is None:
            self.files[-1][1].write(data)
            return
        for piece in self._parser.feed(data):
            self._take(piece)

    def close(self) -> None:
        """Give the files their names, when all of them are on disk.

        Raises:
            Refused: The form is not at its end, or has no file.
        """
        if self._parser is None:
            self.files[-1][1].sync()
        else:
            self._parser.close()
        if not self.files:
            raise Refused(400, "no_file", "the form has no file in it")
        for _, file in self.files:
            file.place()
        sync_names(self._folder)

    def discard(self) -> None:
        """Take away what was written."""
        for _, file in self.files:
            file.discard()

    def _take(self, piece: Piece) -> None:
        if isinstance(piece, PartBegins):
            # A browser sends an empty name where no file was chosen.
            if piece.filename:
                self._begin(piece)
            else:
                self._field = (piece.name, bytearray())
        elif isinstance(piece, PartData):
            if self._field is None:
                self.files[-1][1].write(piece.data)
                return
            self._fields_bytes += len(piece.data)
            if self._fields_bytes > FIELDS_BYTES_MAX:
                raise Refused(413, "too_large", f"the fields of a form have at most {FIELDS_BYTES_MAX:,} bytes")
            self._field[1].extend(piece.data)
        elif self._field is None:
            self.files[-1][1].sync()
        else:
            name, text = self._field
            self.fields[name] = text.decode("utf-8", "replace")
            self._field = None

    def _begin(self, about: PartBegins) -> None:
        if len(self.files) >= FILES_MAX:
            raise Refused(413, "too_large", f"a request has at most {FILES_MAX} files")
        self.files.append((about, Receiving(self._folder, about.filename or "")))


async def _gathered(receive: Receive, size_max: int) -> AsyncIterator[bytes]:
    """Yield a body in pieces of about a megabyte.

    Raises:
        Refused: It is too large, too slow, or was cut off.
    """
    import asyncio

    pieces: list[bytes] = []
    size = total = 0
    more = True
    while more:
        try:
            message = await asyncio.wait_for(receive(), SILENT_S_MAX)
        except TimeoutError as error:
            raise Refused(408, "too_slow", f"nothing came for {SILENT_S_MAX:g} s") from error
        if message["type"] == "http.disconnect":
            raise Refused(400, "cut_off", "the body ended before its length")
        data: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        pieces.append(data)
        size += len(data)
        total += len(data)
        if total > size_max:
            raise _too_large(size_max)
        if size >= WRITE_BYTES or not more:
            yield b"".join(pieces)
            pieces, size = [], 0


def _too_large(size_max: int) -> Refused:
    return Refused(413, "too_large", f"the body is larger than {size_max:,} bytes")


_FILENAME: Final = re.compile(r'filename="((?:[^"\\]|\\.)*)"|filename=([^;\s]+)')


def _name_of(incoming: Incoming) -> str:
    """Return what the sender of a raw body calls it: `{name}` in the path, the disposition, or `name` in the query."""
    if incoming.params.get("name"):
        return incoming.params["name"]
    disposition = incoming.headers.get("content-disposition", "")
    extended = re.search(r"filename\*=(?:utf-8|UTF-8)''([^;\s]+)", disposition)
    if extended is not None:
        return unquote(extended[1])
    plain = _FILENAME.search(disposition)
    if plain is not None:
        return plain[1] or plain[2] or ""
    return dict(parse_qsl(incoming.query)).get("name", "")
