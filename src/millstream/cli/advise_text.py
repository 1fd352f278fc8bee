"""What `millstream advise` asks and says about queue, stream or batch."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.cli.output import count_text, one_line, print_json, readable, text_of
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.advise.arrivals import Pattern
    from millstream.advise.choice import Choice
    from millstream.advise.facts import Facts, ReaderFacts
    from millstream.advise.observing import Observed
    from millstream.advise.questions import Answers

WIDTH: Final = 100
"""Of lines for people."""

ARTICLES: Final = {"queue": "a queue", "stream": "a stream", "batch": "a batch"}


def ask(path: Path | None, said: Answers) -> Answers:
    """Return the answers of a file, or ask for those that were not said, a line each; an empty line is none.

    Raises:
        UsageError: The file is none, or the input ended.
    """
    from millstream.advise.questions import QUESTIONS, Answers, answer_of, answers_of

    if path is not None:
        return answers_of(path)
    given: dict[str, Any] = {}
    for question in [one for one in QUESTIONS if getattr(said, one.name) is None]:
        print(question.text, file=sys.stderr)
        for name, meaning in question.choices:
            print(f"  {name:8} {meaning}", file=sys.stderr)
        while True:
            print(f"  (such as {question.example}) ", end="", file=sys.stderr, flush=True)
            text = sys.stdin.readline()
            if not text:
                raise UsageError(f"the input ended before {question.name} was answered; --answers FILE has them all")
            try:
                given[question.name] = answer_of(question, text)
                break
            except UsageError as error:
                print(f"  {error}", file=sys.stderr)
    return msgspec.convert(given, Answers)


def tell_choice(facts: Facts, observed: Observed | None, declared: Sequence[ReaderFacts], *, as_json: bool) -> None:
    """Say which approach fits, why, what would change that, and what to start from."""
    from millstream.advise.choice import choose
    from millstream.advise.starting import code_for

    choice = choose(facts)
    code = code_for(choice.approach, facts)
    if as_json:
        print_json(
            {
                "topic": facts.topic,
                "approach": choice.approach,
                "sure": choice.sure,
                "points": choice.points,
                "reasons": msgspec.to_builtins(choice.reasons),
                "changes": msgspec.to_builtins(choice.changes),
                "facts": msgspec.to_builtins(facts),
                "arrivals": msgspec.to_builtins(observed.pattern) if observed and observed.pattern else None,
                "declared": msgspec.to_builtins(declared),
                "code": code,
            }
        )
        return
    print(f"{facts.topic}: {ARTICLES[choice.approach]}{'' if choice.sure else ', as far as this tells'}")
    for line in _lines(choice, observed, declared):
        print(line)
    print("\nstart from\n")
    print(textwrap.indent(code, "    "))


def _lines(choice: Choice, observed: Observed | None, declared: Sequence[ReaderFacts]) -> Iterator[str]:
    for reader in declared:
        fits = "as it should be" if reader.approach == choice.approach else f"not as {ARTICLES[choice.approach]}"
        yield f"  {reader.name} reads it as {ARTICLES[reader.approach]}: {fits}"
    if observed is not None:
        yield "\nseen"
        for text in seen(observed):
            yield from _wrapped(text)
    yield "\nwhy"
    for reason in choice.supporting:
        side = "" if reason.approach == choice.approach else f"no {reason.approach}: "
        yield from _wrapped(f"{side}{reason.text}", mark="+")
    for reason in choice.against:
        side = "" if reason.approach == choice.approach else f"for {ARTICLES[reason.approach]}: "
        yield from _wrapped(f"{side}{reason.text}", mark="-")
    if not choice.reasons:
        yield from _wrapped("nothing is known that speaks for one or the other; a queue is the easiest to begin with")
    if not choice.sure:
        yield from _wrapped("little speaks for it: say more with --use, --latency, --order, or answer --describe")
    yield "\nwhat would change it"
    for change in choice.changes:
        yield from _wrapped(f"{ARTICLES[change.approach]}, if {change.condition}", mark="-")
    if not choice.changes:
        yield from _wrapped("no use, latency, order, service time or rate alone: it takes two of them", mark="-")


def seen(observed: Observed) -> Iterator[str]:
    """Yield what the log saw of a topic, a sentence each."""
    from millstream.advise.wording import bytes_text, percent_text, time_text

    size = f", {bytes_text(observed.record_bytes)} each as stored" if observed.record_bytes else ""
    yield f"{count_text(observed.records, 'record')}{size}"
    if observed.pattern is not None:
        yield arrivals_text(observed.pattern)
    if observed.quiet_s is not None and observed.pattern is not None and observed.quiet_s > observed.pattern.span_s:
        yield f"nothing came for {time_text(observed.quiet_s)}"
    if observed.keys is not None:
        keys = observed.keys
        top = one_line(text_of(readable(keys.top)))[:40]
        share = f"the commonest, {top}, has {percent_text(keys.top_share)}"
        yield f"{count_text(keys.distinct, 'key')} in a sample of {count_text(keys.sampled, 'record')}; {share}"
    for queue in observed.queues:
        if queue.service_s is not None:
            yield f"work on one takes {time_text(queue.service_s)} in the queue {queue.name}"


def arrivals_text(pattern: Pattern) -> str:
    """Return how records arrive, in a sentence."""
    from millstream.advise.wording import number_text, rate_text, time_text

    course = "at random"
    if pattern.dispersion > 2:
        course = "in waves"
    elif pattern.dispersion < 0.5:
        course = "regularly"
    many = f", {number_text(pattern.records_per_append)} at a time" if pattern.records_per_append >= 1.5 else ""
    return (
        f"{rate_text(pattern.rate_per_s)} over {time_text(pattern.span_s)}{many}, {course} (index of dispersion "
        f"{number_text(pattern.dispersion)}), up to {number_text(pattern.peak_ratio)} times the mean within "
        f"{time_text(pattern.window_s)}"
    )


def _wrapped(text: str, *, mark: str = " ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {mark} ", subsequent_indent="    ", break_on_hyphens=False)
