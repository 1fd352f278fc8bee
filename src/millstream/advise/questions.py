"""The questionnaire: what no log knows, asked of a person or read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from millstream.advise.facts import Facts, Order, Use
from millstream.durations import duration_us
from millstream.errors import UsageError


class Question(msgspec.Struct, frozen=True):
    """One question; the answer goes to the field of `Answers` of this name."""

    name: str
    text: str
    example: str
    choices: tuple[tuple[str, str], ...] = ()
    """Answer and what it means; empty where any text will do."""


QUESTIONS: Final = (
    Question(
        "use",
        "What is done with the records?",
        "each",
        (
            (Use.EACH, "each is a piece of work by itself: a mail, a picture, a call of another service"),
            (Use.COMBINE, "results join several as they come: counts, windows, joins, alerts"),
            (Use.WHOLE, "many are looked at together: a report, a model, an export"),
        ),
    ),
    Question("latency", "How soon after an event is the result wanted?", "2s"),
    Question(
        "order",
        "Which records must be handled in the order they came?",
        "none",
        (
            (Order.NONE, "none"),
            (Order.KEY, "those of one customer, device or account; others may go on meanwhile"),
            (Order.ALL, "all"),
        ),
    ),
    Question("service", "How long does work on one record take?", "200ms"),
    Question("rate", "How many records come in a second, on average?", "5"),
)


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person said; None: nothing."""

    topic: str | None = None
    use: Use | None = None
    latency: str | float | None = None
    order: Order | None = None
    service: str | float | None = None
    rate: float | None = None

    def over(self, others: Answers) -> Answers:
        """Return these answers, and those of others where nothing was said."""
        mine = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(others, **mine)

    def applied_to(self, facts: Facts) -> Facts:
        """Return the facts with what was said in place of what was known.

        Raises:
            UsageError: A duration or rate is none.
        """
        said = {
            "topic": self.topic,
            "use": self.use,
            "latency_s": None if self.latency is None else duration_us(self.latency) / 1e6,
            "order": self.order,
            "service_s": None if self.service is None else _above_0("service", duration_us(self.service) / 1e6),
            "rate_per_s": None if self.rate is None else _above_0("rate", self.rate),
        }
        return msgspec.structs.replace(facts, **{name: value for name, value in said.items() if value is not None})


def answers_of(path: Path) -> Answers:
    """Return the answers of a file: JSON, or TOML where its name ends in .toml.

    Raises:
        UsageError: It cannot be read, or is no set of answers; names the file and the field.
    """
    try:
        data = path.read_bytes()
        return (
            msgspec.toml.decode(data, type=Answers)
            if path.suffix == ".toml"
            else msgspec.json.decode(data, type=Answers)
        )
    except OSError as error:
        raise UsageError(f"the answers {path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        known = ", ".join(
            msgspec.structs.fields(Answers)[place].name for place in range(len(Answers.__struct_fields__))
        )
        raise UsageError(f"the answers {path} are none: {error}; the fields are {known}") from error


def answer_of(question: Question, text: str) -> str | float | None:
    """Return what a person typed as the value of the question's field; None for nothing.

    Raises:
        UsageError: It answers another question; says what would do.
    """
    text = text.strip()
    if not text:
        return None
    choices = [name for name, _ in question.choices]
    if choices:
        found = [name for name in choices if name.startswith(text.lower())]
        if len(found) != 1:
            raise UsageError(f"{text!r} is not one of {', '.join(choices)}")
        return found[0]
    if question.name == "rate":
        try:
            return _above_0("rate", float(text))
        except ValueError:
            raise UsageError(f"{text!r} is no number; give records a second, such as {question.example}") from None
    duration_us(text)
    return text


def _above_0(what: str, value: float) -> float:
    if not value > 0:
        raise UsageError(f"{what} is {value:g}; give more than 0")
    return value
