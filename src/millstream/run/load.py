"""From a name on the command line to an App: `app.py`, `app.py:name`, `package.module`, `package.module:name`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from millstream.app import App
from millstream.errors import MillstreamError, UsageError

FILE_MODULE: Final = "__millstream_app__"
"""Name of the module of a file: not that of an installed package of the same name, and not `__main__`, so that what
stands under `if __name__ == "__main__":` does not run."""

OURS: Final = str(Path(__file__).resolve().parent.parent)
"""Where this package's own code is."""


def load_app(target: str) -> App:
    """Import a file or module and return its App.

    The folder of a file, or the current folder for a module, goes first on the import path, as for `python app.py`.

    Args:
        target: A path that ends in .py, or a dotted module name; after a colon, the variable that holds the App.

    Raises:
        UsageError: There is no such file, module or variable, or no App in it, or several and none was named; or the
            file or module raised something itself while it was imported, which is the cause.
    """
    place, attribute = _parts(target)
    try:
        module = import_file(place) if _is_path(place) else _from_name(place)
    except MillstreamError:
        raise
    except Exception as error:  # code of others: whatever it raises is told with its place, and not with ours
        raise UsageError(f"{place} cannot be imported: {_told(error)}; --debug shows the traceback") from error
    return _named(module, place, attribute) if attribute else _only(module, place)


def _told(error: Exception) -> str:
    """Return an error of an import in a line: what, and where in the code that is not ours."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        return text  # which names file and line itself
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(("<frozen ", OURS))]
    return f"{text} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else text


def _parts(target: str) -> tuple[str, str]:
    place, colon, attribute = target.rpartition(":")
    # In `C:\work\app.py` the colon belongs to the drive.
    if not colon or not attribute.replace(".", "").isidentifier():
        return target, ""
    return place, attribute


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place or (os.altsep is not None and os.altsep in place)


def import_file(place: str) -> ModuleType:
    """Import a file as a module, under `FILE_MODULE`, and return it; see `load_app`."""
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"there is no file {place!r} in {Path.cwd()}")
    spec = importlib.util.spec_from_file_location(FILE_MODULE, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{place!r} is not a Python file; give one that ends in .py")
    _import_from(str(path.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    # Type hints and dataclasses look their module up while it is imported.
    sys.modules[FILE_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[FILE_MODULE]
        raise
    return module


def _from_name(place: str) -> ModuleType:
    _import_from(str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        # What the module itself fails to import is its own error, not a wrong name.
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {place!r}; give a file such as app.py, or a module that can be imported from here"
            ) from None
        raise
    except ValueError:
        raise UsageError(f"{place!r} is neither a file nor a module; give app.py or package.module") from None


def _import_from(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _named(module: ModuleType, place: str, attribute: str) -> App:
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, App):
        problem = "there is none" if found is None else f"it is {type(found).__name__}"
        hint = f"; the Apps there are {', '.join(_apps(module))}" if _apps(module) else ""
        raise UsageError(f"{attribute!r} of {place} is not an App: {problem}{hint}")
    return found


def _only(module: ModuleType, place: str) -> App:
    apps = _apps(module)
    if not apps:
        raise UsageError(f"{place} has no App; write `app = App()` at the top level of it")
    different = {id(app) for app in apps.values()}
    if len(different) > 1:
        names = ", ".join(f"{place}:{name}" for name in apps)
        raise UsageError(f"{place} has several Apps; say which one: {names}")
    return next(iter(apps.values()))


def _apps(module: ModuleType) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, App)}
