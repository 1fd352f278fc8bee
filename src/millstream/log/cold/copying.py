"""A copy of a log with its cold files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from millstream.engines.connect import connect
from millstream.engines.protocol import Engine, Maintenance
from millstream.errors import CapabilityError, UsageError
from millstream.log.cold.files import cold_files
from millstream.log.cold.reading import missing
from millstream.log.cold.reference import cold_folder
from millstream.log.cold.store import ColdStore, sync_folder


def backup(engine: Engine, path: str, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Copy a log and the cold files beside it, while others read and write; no cold file comes or goes meanwhile.

    Returns:
        The locations of cold files elsewhere, which the copy refers to and which are not copied.
    """
    if not isinstance(engine, Maintenance):
        raise CapabilityError(engine.capabilities.name, "copy itself to a file")
    target = Path(os.path.realpath(path) + ".cold")
    if target.exists():
        raise UsageError(f"{target} exists, and would be the folder of the copy's cold files: name a new file")
    folder = cold_folder(engine.url)
    if not os.path.isdir(folder):
        engine.backup(path, progress)
        return []
    with ColdStore(Path(folder)).exclusive(wait=True):
        engine.backup(path, progress)
        return _copy_files(path, Path(folder), target, progress)


def _copy_files(path: str, folder: Path, target: Path, progress: Callable[[int, int], None] | None) -> list[str]:
    copy = connect(path, durability="relaxed")
    try:
        files = [reference for _, reference in cold_files(copy).values()]
    finally:
        copy.close()
    beside = [reference for reference in files if not reference.remote and not os.path.isabs(reference.location)]
    for number, reference in enumerate(beside):
        if progress is not None:
            progress(number, len(beside))
        source = folder / reference.location
        if not source.exists():
            raise missing(reference.within(str(folder)))
        to = target / reference.location
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
        with to.open("rb+") as file:
            os.fsync(file.fileno())
        sync_folder(to.parent)
    return sorted(reference.location for reference in files if reference not in beside)
