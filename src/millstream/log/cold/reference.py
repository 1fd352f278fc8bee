"""What the log keeps in place of cold records: which rows of which file they are."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from millstream.errors import StorageCorruptError
from millstream.records import Coding, StoredBatch


class Reference(msgspec.Struct, frozen=True):
    """Rows [first, first + count of the batch) of a Parquet file. The `data` of a cold batch, as msgpack."""

    location: str
    """A path, relative to the folder beside the log or absolute, or the URL of an object."""
    first: int
    file_rows: int
    file_bytes: int
    checksum: str
    """Of the whole file: SHA-256 in hexadecimal digits."""
    append_time_max_us: int
    """Of these rows; the batch itself tells the earliest."""

    @property
    def remote(self) -> bool:
        return "://" in self.location

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def within(self, folder: str) -> Reference:
        """Return it with a location that can be opened: relative paths are of the folder beside the log."""
        if self.remote or os.path.isabs(self.location):
            return self
        return msgspec.structs.replace(self, location=os.path.join(folder, *self.location.split("/")))


_DECODER = msgspec.msgpack.Decoder(Reference)


def reference_of(batch: StoredBatch) -> Reference:
    """Return the reference that a cold batch is.

    Raises:
        StorageCorruptError: The bytes are damaged.
    """
    try:
        return _DECODER.decode(batch.data)
    except msgspec.DecodeError as error:
        raise StorageCorruptError(
            f"the reference to the cold records [{batch.offset}, {batch.end_offset}) of partition {batch.partition} "
            f"cannot be read: {error}; run `millstream doctor`"
        ) from error


def located(batches: Iterable[StoredBatch], folder: str) -> list[StoredBatch]:
    """Return batches as readers take them: cold ones with a location that can be opened."""
    return [
        msgspec.structs.replace(batch, data=reference_of(batch).within(folder).encode())
        if batch.coding is Coding.COLD
        else batch
        for batch in batches
    ]


def cold_folder(url: str) -> str:
    """Return the folder beside the log that an engine's URL means; empty where it is no file."""
    return url.removeprefix("sqlite:///") + ".cold" if url.startswith("sqlite:///") else ""
