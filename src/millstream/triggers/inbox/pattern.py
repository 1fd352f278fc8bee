"""Which files are meant: a folder and a pattern of names."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

from millstream.errors import UsageError

_WILD = re.compile(r"[*?\[]")


class Pattern:
    """`inbox/*.csv`: the files of a folder, with `recursive` of those below it as well.

    Names that begin with a dot are left out, unless the pattern begins with one: programs that copy write to such names
    and rename them.

    Raises:
        UsageError: A folder has wildcards, or there is no pattern of names.
    """

    def __init__(self, text: str, *, recursive: bool) -> None:
        path = Path(text).absolute()
        self.text = text
        self.folder = path.parent
        self.name = path.name
        self.recursive = recursive
        if text.endswith(("/", os.sep)) or not self.name or _WILD.search(str(self.folder)):
            raise UsageError(
                f"{text!r} is no pattern of files; give a folder and a pattern of names, such as 'inbox/*.csv', and "
                "recursive=True for those in the folders below"
            )
        self._expression = re.compile(fnmatch.translate(self.name))

    def matches(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if name.startswith(".") and not self.name.startswith("."):
            return False
        if not self._expression.match(name):
            return False
        own = str(self.folder)
        return folder == own or (self.recursive and folder.startswith(own.rstrip(os.sep) + os.sep))

    def paths(self) -> Iterator[str]:
        """Yield the paths that are there now; those of other kinds than files among them."""
        folders = [str(self.folder)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if self.recursive and entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif self.matches(entry.path):
                            yield entry.path
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away between two looks
