"""`millstream advise`: queue, stream or batch, and how many workers; from what the log has seen, with reasons."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption, complete_topic
from millstream.errors import UsageError

if TYPE_CHECKING:
    from enum import StrEnum

    from millstream.advise.facts import Facts, ReaderFacts
    from millstream.advise.observing import Observed
    from millstream.advise.questions import Answers
    from millstream.app import App

    E = TypeVar("E", bound=StrEnum)


def advise(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC|APP", autocompletion=complete_topic, help="A topic, or app.py for all that it reads."
        ),
    ] = None,
    describe: Annotated[bool, typer.Option("--describe", help="Ask five questions.")] = False,
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Their answers, as JSON or TOML.")
    ] = None,
    use: Annotated[
        str | None, typer.Option("--use", metavar="each|combine|whole", help="What is done with the records.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option("--latency", metavar="TIME", help="Within which a result is wanted, such as 2s.")
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="none|key|all", help="Which records must be handled in order.")
    ] = None,
    service: Annotated[
        str | None, typer.Option("--service", metavar="TIME", help="Mean work on one record. [as measured]")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="Records a second, at random. [as recorded]")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Arrivals of the last TIME only. [newest 200,000]")
    ] = None,
    workers: Annotated[bool, typer.Option("--workers", help="Say how many workers, not which approach.")] = False,
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="TIME", help="Of --workers: what waits now is done within it.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option("--share", metavar="N", help="Of --workers: the share of records done within --latency. [0.95]"),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="Of --workers: which queue of the topic.")
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option("--spread", metavar="N", help="Of --workers and --service: coefficient of variation. [1]"),
    ] = None,
    growth: Annotated[
        float | None, typer.Option("--growth", metavar="N", help="Of --workers: so many times as many arrivals. [1]")
    ] = None,
    backlog: Annotated[
        int | None, typer.Option("--backlog", metavar="N", help="Of --deadline: records that wait. [as counted]")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Of --workers: draw the answer there.")
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say whether a queue, a stream or a batch fits; with --workers, how many workers a queue needs.

    From what the log has seen (arrivals, sizes, keys, readers, service times) and from what you say; with the reasons,
    what would change the answer, and the code to start from.
    """
    shell = Shell.of(context, url, data, json, debug)
    plan_only = {
        "--deadline": deadline,
        "--share": share,
        "--group": group,
        "--spread": spread,
        "--growth": growth,
        "--backlog": backlog,
        "--svg": svg,
    }
    given = [option for option, value in plan_only.items() if value is not None]
    if given and not workers:
        raise UsageError(f"{given[0]} is for --workers; give it with that, or leave it out")
    from millstream.advise.facts import Order, Use
    from millstream.advise.questions import Answers
    from millstream.cli.advise_text import ask, tell_choice

    said = Answers(
        use=_one_of(Use, "--use", use),
        latency=latency,
        order=_one_of(Order, "--order", order),
        service=service,
        rate=rate,
    )
    if describe or answers is not None:
        said = said.over(ask(answers, said))
    if workers:
        from millstream.advise.plan import Target
        from millstream.cli.advise_workers import Wishes, advise_workers

        goal = Target(_seconds(said.latency), 0.95 if share is None else share, _seconds(deadline))
        wishes = Wishes(
            goal,
            said,
            group=group,
            spread=1.0 if spread is None else spread,
            growth=1.0 if growth is None else growth,
            backlog=backlog,
            svg=svg,
        )
        with _observing(shell, target, since) as observed:
            advise_workers(observed, wishes, as_json=shell.json)
        return
    if target is None and said == Answers():
        raise UsageError("name a topic or app.py, say --use and --latency, or answer questions with --describe")
    for facts, observed, declared in _found(shell, target, said, since):
        tell_choice(facts, observed, declared, as_json=shell.json)


Found = tuple["Facts", "Observed | None", "tuple[ReaderFacts, ...]"]
"""What is known and said of a topic, what the log saw of it, and how an application reads it."""


def _found(shell: Shell, target: str | None, said: Answers, since: str | None) -> Iterator[Found]:
    import msgspec

    from millstream.advise.facts import Facts

    if target is None:
        yield said.applied_to(Facts()), None, ()
        return
    if not _is_app(target):
        with _observing(shell, target, since) as observed:
            assert observed is not None
            yield said.applied_to(observed.facts), observed, ()
        return
    from millstream.advise.observing import observe
    from millstream.run.load import load_app

    os.environ["MILLSTREAM_URL"] = shell.place()
    with load_app(target) as app:
        topics = _declared(app)
        if not topics:
            raise UsageError(f"{target} declares no queue, stream or batch; name a topic instead")
        for topic, declared in topics.items():
            observed = observe(app.log, topic, since_us=_since_us(app.log.clock.now_us(), since))
            known = {reader.name for reader in observed.readers}
            more = tuple(reader for reader in declared if reader.name not in known)
            facts = msgspec.structs.replace(observed.facts, readers=(*observed.readers, *more))
            yield said.applied_to(facts), observed, declared


@contextmanager
def _observing(shell: Shell, target: str | None, since: str | None) -> Iterator[Observed | None]:
    """Open the log and look at a topic; nothing where none is named."""
    if target is None:
        yield None
        return
    if _is_app(target):
        raise UsageError(f"--workers is for one topic; name one that {target} reads")
    from millstream.advise.observing import observe

    with shell.open() as log:
        yield observe(log, target, since_us=_since_us(log.clock.now_us(), since))


def _is_app(target: str) -> bool:
    """True for a file or `module:app`; no topic has such a name."""
    return target.endswith(".py") or ":" in target or os.sep in target


def _declared(app: App) -> dict[str, tuple[ReaderFacts, ...]]:
    """Return the topics that an application reads, and as what."""
    from millstream.advise.facts import Approach, ReaderFacts

    read = [
        *((Approach.QUEUE, name, (queue.topic.name,)) for name, queue in app.queues.items()),
        *((Approach.STREAM, name, stream.outline.sources) for name, stream in app.streams.items()),
        *((Approach.BATCH, name, tuple(topic.name for topic in batch.topics)) for name, batch in app.batches.items()),
    ]
    found: dict[str, tuple[ReaderFacts, ...]] = {}
    for approach, name, topics in read:
        for topic in topics:
            found[topic] = (*found.get(topic, ()), ReaderFacts(approach, name))
    return found


def _one_of(kind: type[E], option: str, value: str | None) -> E | None:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{option} is {value!r}; give one of {', '.join(kind)}") from None


def _seconds(value: str | float | None) -> float | None:
    from millstream.durations import duration_us

    return None if value is None else duration_us(value) / 1e6


def _since_us(now_us: int, since: str | None) -> int | None:
    seconds = _seconds(since)
    return None if seconds is None else now_us - round(seconds * 1e6)
