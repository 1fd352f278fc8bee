"""What `doctor` says of cold files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from millstream.engines.protocol import Engine, Finding
from millstream.errors import MillstreamError
from millstream.log.cold.files import cold_files
from millstream.log.cold.reference import Reference, cold_folder
from millstream.log.cold.store import checksum_of

_RESTORE = "restore it from a backup; until then its records cannot be read, all others can"


def check_cold(engine: Engine, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Read every cold file whole and compare it with its checksum.

    Args:
        progress: Called with files done and files in all.
    """
    folder = cold_folder(engine.url)
    files = list(cold_files(engine).values())
    findings: list[Finding] = []
    for number, (where, reference) in enumerate(files):
        if progress is not None:
            progress(number, len(files))
        findings += _check(where, reference.within(folder))
    return findings


def _check(where: str, reference: Reference) -> Iterator[Finding]:
    try:
        size_bytes, checksum = checksum_of(reference)
    except FileNotFoundError:
        yield Finding(where, f"the cold file {reference.location} is missing", _RESTORE)
        return
    except MillstreamError as error:
        yield Finding(where, str(error), _RESTORE)
        return
    if size_bytes != reference.file_bytes:
        problem = f"it has {size_bytes:,} bytes instead of {reference.file_bytes:,}"
    elif checksum != reference.checksum:
        problem = "its bytes are not those that were written (SHA-256 differs)"
    else:
        return
    yield Finding(where, f"the cold file {reference.location} is damaged: {problem}", _RESTORE)
