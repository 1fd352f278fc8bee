"""`millstream doctor`: is the log all right, and what is it running on?"""

from __future__ import annotations

import sys
from typing import Any

import typer

from millstream.cli.output import bytes_text, count_text, print_json
from millstream.cli.progress import progress
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption, file_of
from millstream.errors import CapabilityError
from millstream.version import __version__

PACKAGES = ("apsw", "msgspec", "polars", "starlette", "uvicorn", "watchfiles")
"""Whose versions belong in a report of a problem."""


def doctor(
    context: typer.Context,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check the whole log: structure, offsets, counters, orphaned state, checksums of cold files.

    Exits with 0 when all is well and with 1 when something was found. Reads everything, changes nothing.
    """
    from millstream.engines.protocol import Maintenance
    from millstream.log.cold.checking import check_cold

    shell = Shell.of(context, url, data, json, debug)
    if not shell.json:
        print(_environment())
    with shell.open() as log:
        engine = log.engine
        if not isinstance(engine, Maintenance):
            raise CapabilityError(engine.capabilities.name, "be checked from outside")
        with progress("checking") as advance:
            findings = engine.check(lambda done, total: advance(done, total, ""))
            if not findings:
                findings = check_cold(engine, lambda done, total: advance(done, total, ""))
        infos = [log.engine.describe_topic(name) for name in log.topics()]
    path = file_of(shell.place())
    report: dict[str, Any] = {
        "log": shell.place(),
        "size_bytes": path.stat().st_size if path is not None else None,
        "topics": len(infos),
        "records": sum(info.records for info in infos),
        "findings": [{"where": f.where, "problem": f.problem, "advice": f.advice} for f in findings],
    }
    if shell.json:
        print_json({**report, "versions": _versions()})
    else:
        counts = (count_text(report["topics"], "topic"), count_text(report["records"], "record"))
        print(f"{report['log']}: {', '.join(counts)}, {bytes_text(report['size_bytes'] or 0)}")
        for finding in findings:
            print(f"problem in {finding.where}: {finding.problem}; {finding.advice}")
        print(count_text(len(findings), "problem") if findings else "no problems found")
    raise typer.Exit(1 if findings else 0)


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"millstream": __version__, "python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _environment() -> str:
    versions = _versions()
    packages = ", ".join(f"{name} {versions[name]}" for name in PACKAGES)
    return (
        f"millstream {versions['millstream']} on Python {versions['python']} ({sys.implementation.name}), "
        f"{versions['system']}\n{packages}"
    )
