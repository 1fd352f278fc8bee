"""Static files: read once at the start and served from memory by name, so a path can never lead out of the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from millstream.serving.answers import RequestError

MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Stated here, not asked from the system: on Windows the registry decides what a .js file is."""


class StaticFile(msgspec.Struct, frozen=True):
    body: bytes
    media_type: str
    etag: str


class StaticFiles:
    """The files of some folders (of a package, also a zipped one), by name."""

    def __init__(self, folders: Iterable[Traversable]) -> None:
        self._files: dict[str, StaticFile] = {}
        for folder in folders:
            for entry in folder.iterdir():
                media_type = MEDIA_TYPES.get(entry.name[entry.name.rfind(".") :])
                if media_type is not None and entry.is_file():
                    body = entry.read_bytes()
                    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
                    self._files[entry.name] = StaticFile(body, media_type, etag)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def answer(self, name: str, request: Request) -> Response:
        """Answer with a file, or that the browser's copy is still good.

        Raises:
            RequestError: 404; no file has this name.
        """
        file = self._files.get(name)
        if file is None:
            raise RequestError(404, "not_found", "there is nothing at this address", where="path")
        # "no-cache" means: keep it, but ask each time whether it is still good.
        headers = {"cache-control": "no-cache", "etag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.media_type)
