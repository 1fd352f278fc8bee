"""Cold records as stored frames, and whole files as LazyFrames that Polars pushes columns and conditions into."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millstream.errors import StorageCorruptError
from millstream.log.cold.form import inward, names_of
from millstream.log.cold.reference import Reference, reference_of
from millstream.log.schema import Schema
from millstream.records import StoredBatch

if TYPE_CHECKING:
    import polars as pl


def read_part(batch: StoredBatch, written: Schema, names: Sequence[str], metadata: Sequence[str]) -> pl.DataFrame:
    """Return the fields named and the metadata columns of a cold batch (one that `located` has been at).

    Raises:
        StorageCorruptError: The file is missing or damaged; names it.
    """
    import polars as pl

    reference = reference_of(batch)
    wanted = [*names_of(written, names), *metadata]
    with told_of(reference):
        lazy = scan_files([reference]).slice(reference.first, batch.count)
        frame = lazy.select(pl.selectors.by_name(*wanted)).collect()
    if frame.height != batch.count:
        raise damaged(reference, f"it has {frame.height} of {batch.count} rows")
    return pl.DataFrame([*inward(frame, written, names), *map(frame.get_column, metadata)])


def scan_files(references: Sequence[Reference]) -> pl.LazyFrame:
    """Return files of the same columns as one LazyFrame, in order."""
    import polars as pl

    return pl.scan_parquet([reference.location for reference in references], glob=False, **_options(references[0]))


def check_there(reference: Reference) -> None:
    """Raise StorageCorruptError where a file is not there in its full size; objects are asked when they are read."""
    if reference.remote:
        return
    try:
        size_bytes = os.stat(reference.location).st_size
    except FileNotFoundError:
        raise missing(reference) from None
    if size_bytes != reference.file_bytes:
        raise damaged(reference, f"it has {size_bytes:,} bytes instead of {reference.file_bytes:,}")


@contextmanager
def told_of(reference: Reference) -> Iterator[None]:
    """Say of an error of Polars which file it is about."""
    import polars as pl

    try:
        yield
    except FileNotFoundError as error:
        raise missing(reference) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise damaged(reference, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def missing(reference: Reference) -> StorageCorruptError:
    return StorageCorruptError(
        f"the cold file {reference.location} is missing: put it back (with `millstream backup` it is in the folder "
        "beside the copy), or see what else is wrong with `millstream doctor`"
    )


def damaged(reference: Reference, why: str) -> StorageCorruptError:
    return StorageCorruptError(
        f"the cold file {reference.location} cannot be read: {why}; restore it from a backup, `millstream doctor` "
        "compares all files with their checksums"
    )


def _options(reference: Reference) -> dict[str, Any]:
    """Return what Polars needs to reach an object store and does not take from the environment itself."""
    if not reference.remote:
        return {}
    names = {
        "AWS_ENDPOINT_URL": "aws_endpoint_url",
        "AWS_ACCESS_KEY_ID": "aws_access_key_id",
        "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
        "AWS_SESSION_TOKEN": "aws_session_token",
        "AWS_REGION": "aws_region",
    }
    options = {option: os.environ[name] for name, option in names.items() if name in os.environ}
    if options.get("aws_endpoint_url", "").startswith("http://"):
        options["aws_allow_http"] = "true"
    return {"storage_options": options} if options else {}
