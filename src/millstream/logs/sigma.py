"""Sigma rules as rules of ours: `[[sigma]] path = "rules/"`, `millstream logs --sigma DIR`.

A rule that cannot be used is a sentence that names it, its file, and what is missing; the others are used.

Source: github.com/SigmaHQ/sigma-specification 2.1: rules and correlations, read by pySigma.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import MillstreamError, UsageError
from millstream.logs.alert import Level
from millstream.logs.names import FIELDS
from millstream.logs.rules import COUNT_MAX, PARTS_MAX, Each, Part, Rule, Threshold, Together, check_rules
from millstream.logs.sigma_fields import GROUPS, LogSource, log_source
from millstream.logs.where import condition

if TYPE_CHECKING:
    from sigma.collection import SigmaCollection
    from sigma.correlations import SigmaCorrelationRule, SigmaRuleReference
    from sigma.rule import SigmaRule

FILES_MAX: Final = 10_000


class SigmaRules(msgspec.Struct, frozen=True):
    """What was read."""

    rules: tuple[Rule, ...]
    problems: tuple[str, ...]
    """Rules that cannot be used, a sentence each."""


class _Unusable(Exception):  # noqa: N818 - becomes a sentence of `problems`
    """Why a rule cannot be used."""


def read_sigma(path: Path) -> SigmaRules:
    """Return the rules of a file, or of all .yml and .yaml files below a folder, in the order of their paths.

    Raises:
        UsageError: There is no such file, or pySigma is not installed.
    """
    try:
        import sigma.collection  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError("Sigma rules are read by pySigma: pip install 'millstream[sigma]'") from error
    reader = _Reader()
    for file in _files(path):
        reader.read(file)
    return reader.done()


def _files(path: Path) -> Sequence[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"there are no Sigma rules at {path}: give a file of rules, or a folder of them")
    found = sorted(file for file in path.rglob("*") if file.suffix in (".yml", ".yaml") and file.is_file())
    if len(found) > FILES_MAX:
        raise UsageError(f"{path} has {len(found)} files of rules; at most {FILES_MAX} are read: give one inside")
    return found


class _Reader:
    """Reads files one by one, then what refers to rules of other files."""

    def __init__(self) -> None:
        self._collections: list[SigmaCollection] = []
        self._problems: list[str] = []
        self._names: set[str] = set()
        self._parts: set[str] = set()
        """Rules that correlations are about, by name or id."""

    def read(self, file: Path) -> None:
        import yaml
        from sigma.collection import SigmaCollection
        from sigma.exceptions import SigmaError, SigmaRuleLocation

        try:
            text = file.read_text(encoding="utf-8")
            self._parts |= _parts_of_correlations(text)
            # Filters and correlations may be about rules of other files.
            found = SigmaCollection.from_yaml(
                text,
                collect_errors=True,
                source=SigmaRuleLocation(file),
                collect_filters=True,
                resolve_references=False,
            )
        except (OSError, UnicodeDecodeError, yaml.YAMLError, SigmaError, AttributeError, TypeError, KeyError) as error:
            self._problem(str(file), error)
            return
        for wrong in found.errors:
            self._problem(str(file), wrong)
        found.rules = [rule for rule in found.rules if not rule.errors]
        self._collections.append(found)

    def done(self) -> SigmaRules:
        from sigma.collection import SigmaCollection
        from sigma.correlations import SigmaCorrelationRule
        from sigma.exceptions import SigmaError
        from sigma.rule import SigmaRule

        merged = SigmaCollection.merge(self._collections, resolve_references=False)
        merged.rules = [rule for rule in merged.rules if self._refers_to_rules(rule, merged)]
        merged.resolve_rule_references()
        self._silence_parts(merged)
        made: list[Rule] = []
        for rule in merged.get_output_rules():
            try:
                some: list[Rule] = []
                if isinstance(rule, SigmaRule):
                    some = list(self._rules(rule))
                elif isinstance(rule, SigmaCorrelationRule):
                    some = list(self._correlation(rule))
                check_rules(some, "as a rule of ours")
                made += some
            except (SigmaError, _Unusable, MillstreamError, NotImplementedError, AttributeError) as error:
                self._problem(_called(rule), error)
        return SigmaRules(tuple(made), tuple(self._problems))

    def _refers_to_rules(self, rule: Any, all_rules: SigmaCollection) -> bool:
        """Whether what a correlation is about is there; else it is a problem."""
        from sigma.correlations import SigmaCorrelationRule
        from sigma.exceptions import SigmaError

        if not isinstance(rule, SigmaCorrelationRule):
            return True
        try:
            if rule.rules is None:
                raise _Unusable("a condition of a correlation's own is not supported")
            for reference in rule.rules:
                all_rules[reference.reference]
        except (SigmaError, _Unusable) as error:
            self._problem(_called(rule), error)
            return False
        return True

    def _silence_parts(self, merged: SigmaCollection) -> None:
        """Keep the rules of correlations from speaking up at each event, also of correlations that cannot be used."""
        from sigma.exceptions import SigmaError

        for name in self._parts:
            with contextlib.suppress(SigmaError):  # not there, which is a problem of the correlation
                merged[name].disable_output()

    def _problem(self, what: str, error: Exception) -> None:
        sentence = " ".join(str(error).split())
        self._problems.append(f"{what}: {sentence}")

    def _rules(self, rule: SigmaRule) -> Iterator[Rule]:
        scope, where = _condition(rule)
        yield self._made(rule, scope=scope, where=where, each=Each())

    def _made(self, rule: Any, *, also: str = "", **kind: Any) -> Rule:
        """Return a rule of ours with what a Sigma rule says of itself."""
        tags = [*(f"{tag.namespace}.{tag.name}" for tag in rule.tags), *([f"sigma.id.{rule.id}"] if rule.id else [])]
        return Rule(
            name=self._name(rule, also),
            message=_escaped(rule.title) + ": {message}",
            level=Level.MEDIUM if rule.level is None else Level(rule.level.name.lower()),
            tags=tags,
            **kind,
        )

    def _name(self, rule: Any, also: str) -> str:
        """Return a name for what a rule remembers: from its title, with its id where two have one title."""
        name = re.sub(r"[^a-z0-9]+", "-", rule.title.lower()).strip("-")[:40].strip("-") or "rule"
        name += also
        if name in self._names and rule.id:
            name = f"{name}-{str(rule.id)[:8]}"
        if name in self._names:
            raise _Unusable("another rule has the same title and id")
        self._names.add(name)
        return name

    def _correlation(self, rule: SigmaCorrelationRule) -> Iterator[Rule]:
        from sigma.correlations import SigmaCorrelationType as Type

        wheres = [_whole(reference.rule) for reference in rule.rules or ()]
        by = [_group(field) for field in rule.group_by or ()]
        within = f"{rule.timespan.seconds}s"
        match rule.type:
            case Type.EVENT_COUNT | Type.VALUE_COUNT if rule.aliases.aliases:
                raise _Unusable("aliases of fields are understood in temporal correlations only")
            case Type.EVENT_COUNT | Type.VALUE_COUNT:
                count = _least(rule)
                distinct = None
                if rule.type is Type.VALUE_COUNT:
                    [field] = _list(rule.condition.fieldref)  # type: ignore[union-attr]
                    distinct = _group(field)
                yield self._made(
                    rule,
                    where=" OR ".join(f"({where})" for where in wheres),
                    threshold=Threshold(count=count, within=within, by=by, distinct=distinct),
                )
            case Type.TEMPORAL | Type.TEMPORAL_ORDERED:
                ordered = rule.type is Type.TEMPORAL_ORDERED
                parts = [
                    Part(where, [_aliased(rule, field, reference) for field in rule.group_by or ()])
                    for where, reference in zip(wheres, rule.rules or (), strict=True)
                ]
                least = _different(rule, len(parts), ordered=ordered)
                together = Together(of=[*parts], within=within, by=parts[0].by, ordered=ordered, least=least)
                yield self._made(rule, together=together)
            case _:
                raise _Unusable(f"correlations of type {rule.type.name.lower()} are not supported")


def _parts_of_correlations(text: str) -> set[str]:
    """Return the rules that the correlations of a file are about, unless they say that these speak up themselves."""
    import yaml

    found: set[str] = set()
    for document in yaml.safe_load_all(text) if "correlation" in text else ():
        one = document.get("correlation") if isinstance(document, dict) else None
        if isinstance(one, dict) and isinstance(one.get("rules"), list) and one.get("generate") is not True:
            found |= {str(name) for name in one["rules"]}
    return found


def _condition(rule: SigmaRule) -> tuple[str, str]:
    """Return which events are of the rule's log source, and which of these it is about."""
    source: LogSource | None = log_source(rule.logsource.product, rule.logsource.service, rule.logsource.category)
    if source is None:
        raise _Unusable(f"the log source {_source_text(rule)} is not one that is read here")
    where = _where(rule, source)
    condition(source.where, what="its log source")
    condition(where, what="its condition")
    return source.where, where


def _where(rule: SigmaRule, source: LogSource) -> str:
    """Return which events of a log source a rule is about: those of which one record meets its condition."""
    from millstream.logs.sigma_backend import WhereBackend

    found = [WhereBackend(source).where(rule)]
    for record in range(source.records):
        one = msgspec.structs.replace(source, record=record)
        found.append(f"fields.records[{record}].type IS NOT NULL AND ({WhereBackend(one).where(rule)})")
    return found[0] if len(found) == 1 else " OR ".join(f"({where})" for where in found)


def _whole(rule: Any) -> str:
    from sigma.rule import SigmaRule

    if not isinstance(rule, SigmaRule):
        raise _Unusable("a correlation of correlations is not supported")
    scope, where = _condition(rule)
    return f"({scope}) AND ({where})"


def _least(rule: SigmaCorrelationRule) -> int:
    """Return how many it takes."""
    from sigma.correlations import SigmaCorrelationCondition
    from sigma.correlations import SigmaCorrelationConditionOperator as Operator

    wanted = rule.condition
    if not isinstance(wanted, SigmaCorrelationCondition) or wanted.op not in (Operator.GTE, Operator.GT):
        raise _Unusable(
            "only `gte` and `gt` of a count can be told when an event comes: how many there are in all is known when "
            "the time is over"
        )
    count = int(wanted.count) + (wanted.op is Operator.GT)
    if not 1 <= count <= COUNT_MAX:
        raise _Unusable(f"its count {count} is not from 1 to {COUNT_MAX:,}")
    return count


def _different(rule: SigmaCorrelationRule, rules: int, *, ordered: bool) -> int | None:
    """Return how many different rules of a temporal correlation it takes; None: all."""
    from sigma.correlations import (
        CorrelationConditionAND,
        CorrelationConditionOR,
        SigmaExtendedCorrelationCondition,
        SigmaRuleReference,
    )

    if not 2 <= rules <= PARTS_MAX:
        raise _Unusable(f"a temporal correlation has 2 to {PARTS_MAX} rules here; it has {rules}")
    wanted = rule.condition
    if isinstance(wanted, SigmaExtendedCorrelationCondition):
        tree = wanted.parsed
        plain = not isinstance(tree, SigmaRuleReference) and all(isinstance(a, SigmaRuleReference) for a in tree.args)
        if plain and isinstance(tree, CorrelationConditionAND):
            return None
        if plain and isinstance(tree, CorrelationConditionOR) and not ordered:
            return 1
        raise _Unusable("of a condition of rules only `a and b and c`, and without an order `a or b or c`, can be told")
    least = rules if wanted.op.name == "EQ" and wanted.count == rules else _least(rule)
    if least > rules:
        raise _Unusable(f"its count {least} is more than the {rules} rules it has")
    if ordered and least < rules:
        raise _Unusable("an order is that of all its rules: leave the condition out")
    return None if least == rules else least


def _aliased(rule: SigmaCorrelationRule, field: str, reference: SigmaRuleReference) -> str:
    """Return what a field of `group-by` is called in the events of a rule."""
    alias = rule.aliases.aliases.get(field)
    if alias is None:
        return _group(field)
    for one, source in alias.mapping.items():
        if one.reference in (reference.reference, str(reference.rule.id), getattr(reference.rule, "name", None)):
            return _group(source)
    raise _Unusable(f"the alias {field} says nothing of its rule {reference.reference}")


def _group(field: str) -> str:
    found = GROUPS.get(field, field)
    return found if found in FIELDS else f"field('{found}')"


def _list(value: str | list[str] | None) -> list[str]:
    found = [value] if isinstance(value, str) else list(value or ())
    if len(found) != 1:
        raise _Unusable("values are counted of one field only")
    return found


def _called(rule: Any) -> str:
    where = f", {rule.source.path}" if rule.source is not None else ""
    return f"rule {rule.title!r}{where}"


def _source_text(rule: SigmaRule) -> str:
    parts = (
        ("product", rule.logsource.product),
        ("service", rule.logsource.service),
        ("category", rule.logsource.category),
    )
    return ", ".join(f"{name} {value}" for name, value in parts if value)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
