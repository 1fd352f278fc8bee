"""`millstream doctor`: is the log all right, and what is it running on?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.output import bytes_text, count_text, print_json
from millstream.cli.progress import progress
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption, file_of
from millstream.errors import CapabilityError, UsageError
from millstream.version import __version__

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.log.seals.check import Verified

PACKAGES = ("apsw", "msgspec", "polars", "starlette", "uvicorn", "watchfiles")
"""Whose versions belong in a report of a problem."""


def doctor(
    context: typer.Context,
    url: UrlOption = None,
    data: DataOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare the records of sealed topics with their seals.")
    ] = False,
    heads: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="TOPIC=HEAD", help="What --verify said earlier: it has to be there still."),
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check the whole log: structure, offsets, counters, orphaned state, checksums of cold files.

    Exits with 0 when all is well and with 1 when something was found. Reads everything, changes nothing.
    """
    from millstream.engines.protocol import Maintenance
    from millstream.log.cold.checking import check_cold

    shell = Shell.of(context, url, data, json, debug)
    wanted = _heads(heads or [], verify=verify)
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
        verified = _verify(log, wanted) if verify else []
        findings = [*findings, *(finding for one in verified for finding in one.findings)]
        infos = [log.engine.describe_topic(name) for name in log.topics()]
    path = file_of(shell.place())
    report: dict[str, Any] = {
        "log": shell.place(),
        "size_bytes": None if path is None else _size_bytes(path),
        "topics": len(infos),
        "records": sum(info.records for info in infos),
        "findings": [{"where": f.where, "problem": f.problem, "advice": f.advice} for f in findings],
    }
    if shell.json:
        sealed = {"sealed": [_sealed(one) for one in verified]} if verify else {}
        print_json({**report, **sealed, "versions": _versions()})
    else:
        counts = (count_text(report["topics"], "topic"), count_text(report["records"], "record"))
        print(f"{report['log']}: {', '.join(counts)}, {bytes_text(report['size_bytes'] or 0)}")
        for line in _seal_lines(verified) if verify else []:
            print(line)
        for finding in findings:
            print(f"problem in {finding.where}: {finding.problem}; {finding.advice}")
        print(count_text(len(findings), "problem") if findings else "no problems found")
    raise typer.Exit(1 if findings else 0)


def _heads(given: Sequence[str], *, verify: bool) -> dict[str, list[str]]:
    """Return the heads of each topic that has to have them."""
    if given and not verify:
        raise UsageError("--head is for --verify")
    from millstream.log.seals.seal import HEAD_BYTES

    wanted: dict[str, list[str]] = {}
    for text in given:
        topic, _, head = text.rpartition("=")
        if not topic or len(head) != 2 * HEAD_BYTES or set(head.lower()) - set("0123456789abcdef"):
            raise UsageError(f"--head is {text!r}; give a topic and what --verify said of it, such as logs=5f0c...")
        wanted.setdefault(topic, []).append(head)
    return wanted


def _verify(log: Log, wanted: dict[str, list[str]]) -> list[Verified]:
    from millstream.log.seals.check import sealed_topics, verify
    from millstream.log.seals.key import key_from

    topics = sealed_topics(log)
    for topic in wanted:
        if topic not in topics:
            raise UsageError(
                f"topic {topic!r} has no seals, though there is a head of it: they were deleted, or the "
                "topic has another name"
            )
    key = key_from(os.environ)
    found = []
    for topic in topics:
        with progress(f"verifying {topic}") as advance:
            found.append(
                verify(
                    log, topic, key=key, heads=wanted.get(topic, ()), progress=lambda done, all: advance(done, all, "")
                )
            )
    return found


def _sealed(one: Verified) -> dict[str, Any]:
    return {
        "topic": one.topic,
        "seals": one.seals,
        "records": one.records,
        "head": one.head,
        "notes": list(one.notes),
        "altered": bool(one.findings),
    }


def _seal_lines(verified: Sequence[Verified]) -> list[str]:
    """Return what is said of sealed topics."""
    if not verified:
        return ["no topic is sealed"]
    lines = []
    for one in verified:
        upto = " before the first that is not" if one.findings else ""
        lines.append(f"{one.topic}: {count_text(one.records, 'record')} as sealed{upto}, head {one.head}")
        lines += [f"{one.topic}: {note}" for note in one.notes]
    return lines


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


def _size_bytes(path: Path) -> int:
    """Return the size of a log with what is not copied into it yet: of a small one that is in use, nearly all."""
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())
