"""Where the files lie: the folder beside the log, another folder, or an object store."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from millstream.engines.protocol import Engine
from millstream.errors import StorageError, StorageFullError, UsageError
from millstream.extras import import_extra
from millstream.log.cold.lock import folder_lock
from millstream.log.cold.reference import Reference, cold_folder

PARTIAL: Final = ".partial"
_NAME: Final = re.compile(r"\d{16}-\d{16}-[0-9a-f]{16}\.parquet(\.partial)?\Z")
"""What we name our files; anything else in the folder is somebody else's, and stays."""

_MARKS: Final = "marks"

_READ_BYTES: Final = 1024 * 1024


class Place(Protocol):
    """Files by name, such as `clicks/0/0000000000000000-0000000000065536-5f0c8a1b2d3e4f60.parquet`."""

    def location(self, name: str) -> str:
        """Return a file's location as references have it."""
        ...

    def publish(self, file: Path, name: str) -> None:
        """Make a complete file appear under a name, durably."""
        ...


class FolderPlace:
    """A folder of this machine.

    Args:
        beside: It is the folder beside the log: locations are relative, so that both can be moved together.
    """

    def __init__(self, folder: Path, *, beside: bool) -> None:
        self._folder = folder
        self._beside = beside

    def location(self, name: str) -> str:
        return name if self._beside else str(self._folder / name)

    def publish(self, file: Path, name: str) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._beside:
            os.replace(file, target)
        else:
            _move(file, target)
        # The name is durable once its folder is, and the folder once its parents are.
        for folder in (target.parent, target.parent.parent, self._folder, self._folder.parent):
            sync_folder(folder)


class ObjectPlace:
    """A prefix of an object store, by its URL.

    Credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...).
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._objects: Any = open_objects(self._url)

    def location(self, name: str) -> str:
        return f"{self._url}/{name}"

    def publish(self, file: Path, name: str) -> None:
        try:
            self._objects.put(name, file)
        except Exception as error:  # obstore raises errors of its own, without a common base that it names
            raise StorageError(f"{self.location(name)} was not written: {error}") from error
        file.unlink()


class ColdStore:
    """The cold files of one log in one place.

    A file elsewhere than beside the log is marked in the folder beside it before it is written, and before it is
    deleted: what lies there may be another log's, so only what has a mark is ever removed.

    Args:
        folder: The one beside the log; files are written there first, and it holds the lock and the marks.
        location: As `Cold.location`.
    """

    def __init__(self, folder: Path, location: str | None = None) -> None:
        self.folder = folder
        self.beside = location is None
        if location is None:
            self._place: Place = FolderPlace(folder, beside=True)
        elif "://" in location and not location.startswith("file://"):
            self._place = ObjectPlace(location)
        else:
            self._place = FolderPlace(Path(location.removeprefix("file://")).resolve(), beside=False)

    @classmethod
    def of(cls, engine: Engine, location: str | None = None) -> ColdStore:
        """Return the store of an engine's log.

        Raises:
            UsageError: The log is no file: there is nothing to lie beside.
        """
        folder = cold_folder(engine.url)
        if not folder:
            raise UsageError(
                f"the log {engine.url} is not a file: its records cannot become cold; leave cold= out, or open a file"
            )
        return cls(Path(folder), location)

    @contextmanager
    def exclusive(self, *, wait: bool) -> Iterator[bool]:
        """Hold the one lock of the log's cold files: while it is held, nobody else writes or removes any.

        Yields:
            False where another process holds it and `wait` is False.
        """
        with folder_lock(self.folder, wait=wait) as held:
            yield held

    def new_name(self, topic: str, partition: int, start: int, end: int) -> str:
        """Return a name that no file ever had."""
        return f"{topic}/{partition}/{start:016d}-{end:016d}-{secrets.token_hex(8)}.parquet"

    def partial(self, name: str) -> Path:
        """Return where a file is written before it is complete, in a folder that exists."""
        path = self.folder / (name + PARTIAL)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def location(self, name: str) -> str:
        return self._place.location(name)

    def publish(self, file: Path, name: str) -> None:
        """Make a complete file appear under a name, durably; it is a leftover until the log refers to it."""
        if not self.beside:
            self.mark(self.location(name))
        self._place.publish(file, name)

    # --- leftovers ------------------------------------------------------------------------------------------------

    def mark(self, location: str) -> None:
        """Remember, durably, that a file elsewhere is to be removed unless the log refers to it."""
        folder = self.folder / _MARKS
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(location.encode()).hexdigest()[:32]
        path.write_text(location, encoding="utf-8")
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        sync_folder(folder)

    def leftovers(self, referenced: Container[str]) -> Iterator[tuple[str, Path | None]]:
        """Yield the location of each file of ours that is not referenced, and its mark if it has one."""
        for path in sorted(self.folder.glob("*/*/*")):
            name = path.relative_to(self.folder).as_posix()
            if _NAME.match(path.name) and name not in referenced:
                yield name, None
        for mark in sorted((self.folder / _MARKS).glob("*")):
            location = mark.read_text(encoding="utf-8")
            if location in referenced or not location:
                mark.unlink()  # it has become part of the log; or the mark was never finished
            else:
                yield location, mark

    def delete(self, location: str) -> None:
        """Delete a file, and what was written of it if it was cut off; nothing where it is gone already."""
        if "://" not in location:
            path = Path(self.folder, location)
            path.unlink(missing_ok=True)
            path.with_name(path.name + PARTIAL).unlink(missing_ok=True)
            return
        url, _, name = location.rpartition("/")
        try:
            open_objects(url).delete(name)
        except FileNotFoundError:
            pass
        except Exception as error:  # as above
            raise StorageError(f"{location} was not deleted: {error}") from error


def _move(file: Path, target: Path) -> None:
    """Move a file, to another file system if need be; it appears there when it is complete."""
    partial = target.with_name(target.name + PARTIAL)
    shutil.copyfile(file, partial)
    with partial.open("rb+") as copied:
        os.fsync(copied.fileno())
    os.replace(partial, target)
    file.unlink()


@contextmanager
def stored_at(place: str | os.PathLike[str]) -> Iterator[None]:
    """Say of an error of the system, or of Polars, which file or folder could not be written.

    Raises:
        StorageFullError: There is no room.
        StorageError: Anything else.
    """
    import polars as pl

    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        kind = StorageFullError if full else StorageError
        raise kind(f"cold files at {place} cannot be written: {error}") from error


def sync_folder(folder: Path) -> None:
    """Put a folder's names onto the disk; Windows keeps them with the files."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_objects(url: str) -> Any:
    """Return what reads and writes the objects below a URL.

    Raises:
        UsageError: The package for it is not installed, or the URL means nothing to it.
    """
    from_url = import_extra("obstore.store", "objects", f"objects at {url} need the package obstore").from_url
    options = {"allow_http": True} if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://") else {}
    try:
        return from_url(url, client_options=options)
    except (ValueError, OSError) as error:
        raise UsageError(f"{url} is no place for objects: {error}") from error


def checksum_of(reference: Reference) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file, read whole.

    Raises:
        FileNotFoundError: It is not there.
        StorageError: It cannot be read.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        for data in _bytes_of(reference):
            digest.update(data)
            size_bytes += len(data)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"the cold file {reference.location} cannot be read: {error}") from error
    return size_bytes, digest.hexdigest()


def _bytes_of(reference: Reference) -> Iterator[bytes]:
    if reference.remote:
        url, _, name = reference.location.rpartition("/")
        for data in open_objects(url).get(name).stream(min_chunk_size=_READ_BYTES):
            yield bytes(data)
        return
    with open(reference.location, "rb") as file:
        while data := file.read(_READ_BYTES):
            yield data
