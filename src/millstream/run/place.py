"""Where an App is, so that another process can find the same one."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import msgspec

from millstream.app import App
from millstream.errors import UsageError
from millstream.run.load import FILE_MODULE, import_file


class AppPlace(msgspec.Struct, frozen=True):
    """A variable of a module that can be imported."""

    module: str
    attribute: str
    path: str | None = None
    """Of the file, where it was loaded as one."""


def places_of(app: App) -> list[AppPlace]:
    """Return the variables that hold an App, those of the program itself first: it imports what belongs to it.

    Raises:
        UsageError: It is in no variable of a module.
    """
    first = [name for name in ("__main__", FILE_MODULE) if name in sys.modules]
    found: list[AppPlace] = []
    for name in dict.fromkeys((*first, *sorted(sys.modules))):
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            path = module.__file__ if name == FILE_MODULE else None
            found += [AppPlace(name, key, path) for key, value in tuple(vars(module).items()) if value is app]
    if not found:
        raise UsageError(
            'a queue with kind="processes" needs its App in a variable at the top level of a module, so that the '
            "worker processes can import it; there is none that holds this App"
        )
    return found


def find_app(places: list[AppPlace], queue: str) -> App:
    """Import, in another process, the App that declares a queue.

    A variable may be missing there: what stands under `if __name__ == "__main__"` is not run again.

    Raises:
        UsageError: None of the places has it.
        Exception: What the last module raised while it was imported.
    """
    for place in places:
        module = import_file(place.path) if place.path is not None else importlib.import_module(place.module)
        app: object = getattr(module, place.attribute, None)
        if isinstance(app, App) and queue in app.queues:
            return app
    named = ", ".join(f"{place.module}.{place.attribute}" for place in places)
    raise UsageError(
        f"a worker process found no App with the queue {queue!r} as {named}: declare both at the top level of a module"
    )
