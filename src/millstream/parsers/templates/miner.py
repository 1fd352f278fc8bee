"""Drain, a column at once: which template each line is of, while the lines come.

What differs from the paper:

- Parameters that can be told by their looks are masked first, and those do not count when two lines are compared: only
  words do. So one threshold serves, as what is left to compare are words, most of them constant.
- Lines that are the same once masked are looked at once: a log has few shapes. That is most of the speed.
- Where lines differ in one word only, it is a state (up, down) until it has had more values than states have; then
  their templates become one, and the ids of all mean that one. Words in capitals are states for longer.
- All is bounded: templates (the one that was not seen for longest is forgotten), shapes that are remembered, words of a
  line, first words of a length, templates that one line is compared with.

The same lines in the same batches give the same templates, on every machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from operator import eq
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.errors import UsageError
from millstream.parsers.templates.group import Group, compared_words, covers, differences, in_capitals, is_state
from millstream.parsers.templates.masks import ANY, mask
from millstream.parsers.templates.place import Place

if TYPE_CHECKING:
    import polars as pl

SIMILARITY: Final = 0.65
"""Share of the words that two lines of a template have in common: two of three, as most parameters are masked "
"already."""
TEMPLATES_MAX: Final = 10_000
SHAPES_MAX: Final = 100_000
WORDS_MAX: Final = 200
"""Words of a line that count."""
FIRST_WORDS_MAX: Final = 100
"""Different first words of lines of one length; lines with others share a place. As in the paper."""
STATES_MAX: Final = 3
"""Different words at one place of lines that are the same otherwise, up to which they are states, not a parameter."""
SHORT_STATES_MAX: Final = 7
"""The same for lines of two words, such as "link up"."""
CAPITALS_MAX: Final = 50
"""Templates that differ in words in capitals only, up to which these are states, not a parameter."""
STATE_VERSION: Final = 2


class Template(msgspec.Struct, frozen=True):
    """What lines of one kind have in common."""

    id: int
    """From 1, in the order of their first lines; never given to another."""
    text: str
    """Its words; `<*>` is a parameter."""
    count: int
    """Lines of it so far."""


class _State(msgspec.Struct, frozen=True, array_like=True):
    version: int
    next_id: int
    groups: list[tuple[int, str, list[str], int, bool]]
    """Id, first word of its place, words, count, whether a word had many values.

    The one that was not seen for longest is first.
    """
    first_words: dict[int, list[str]]
    shapes: list[tuple[str, int]]
    aliases: list[tuple[int, int]]


class TemplateMiner:
    """Finds the templates of lines as they come."""

    def __init__(
        self, *, similarity: float = SIMILARITY, templates_max: int = TEMPLATES_MAX, shapes_max: int = SHAPES_MAX
    ) -> None:
        """Begin without any template.

        Args:
            similarity: Share of words in common, over 0 to 1; lower makes fewer templates.
            templates_max: How many are kept; above it, the one that was not seen for longest is forgotten.
            shapes_max: How many masked lines are remembered with their template.

        Raises:
            UsageError: An argument is out of its range.
        """
        if not 0 < similarity <= 1 or templates_max < 1 or shapes_max < 1:
            raise UsageError(
                f"similarity={similarity}, templates_max={templates_max}, shapes_max={shapes_max}: a similarity "
                f"is over 0 "
                "to 1, the others are 1 or more"
            )
        self._similarity = similarity
        self._templates_max = templates_max
        self._shapes_max = shapes_max
        self._next_id = 1
        # An OrderedDict, as finding the first of a dict gets slow when many before it were removed.
        self._groups: OrderedDict[int, Group] = OrderedDict()
        self._places: dict[tuple[int, str], Place] = {}
        self._first_words: dict[int, dict[str, None]] = {}
        self._shapes: OrderedDict[str, int] = OrderedDict()
        self._aliases: OrderedDict[int, int] = OrderedDict()
        """Ids of templates that became part of another, and its id."""

    def add(self, lines: Sequence[str] | pl.Series) -> pl.Series:
        """Return the id of the template of each line, and learn from them.

        Shape:
            `template`, Int64, one a line, no nulls. An empty line has a template too, without a word.
        """
        import polars as pl

        texts = pl.Series("line", lines, dtype=pl.String).fill_null("")
        shapes = mask(texts)
        counted = shapes.alias("shape").to_frame().group_by("shape", maintain_order=True).len()
        ids = [
            self._take(shape, count)
            for shape, count in zip(counted["shape"].to_list(), counted["len"].to_list(), strict=True)
        ]
        ids = [self._known_as(number) for number in ids]  # lines further down may have joined templates
        if not ids:
            return pl.Series("template", [], dtype=pl.Int64)
        return shapes.replace_strict(counted["shape"], pl.Series(ids, dtype=pl.Int64)).alias("template")

    def templates(self) -> list[Template]:
        """Return all templates, the most frequent first."""
        found = [Template(group.id, " ".join(group.words), group.count) for group in self._groups.values()]
        return sorted(found, key=lambda template: (-template.count, template.id))

    def template(self, number: int) -> Template | None:
        """Return a template by its id; None for one that is forgotten."""
        group = self._groups.get(self._known_as(number))
        return None if group is None else Template(group.id, " ".join(group.words), group.count)

    def state(self) -> bytes:
        """Return all that was learned, for `TemplateMiner.restored`."""
        groups = [(group.id, group.place[1], group.words, group.count, group.many) for group in self._groups.values()]
        first_words = {length: list(words) for length, words in self._first_words.items()}
        return msgspec.msgpack.encode(
            _State(
                STATE_VERSION,
                self._next_id,
                groups,
                first_words,
                list(self._shapes.items()),
                list(self._aliases.items()),
            )
        )

    @classmethod
    def restored(
        cls,
        state: bytes,
        *,
        similarity: float = SIMILARITY,
        templates_max: int = TEMPLATES_MAX,
        shapes_max: int = SHAPES_MAX,
    ) -> TemplateMiner:
        """Return a miner that goes on where another was; arguments as those of `TemplateMiner`.

        Raises:
            UsageError: The state is none, or of another version.
        """
        try:
            found = msgspec.msgpack.decode(state, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"these {len(state):,} bytes are no state of a TemplateMiner: {error}") from error
        if found.version != STATE_VERSION:
            raise UsageError(
                f"the state of a TemplateMiner is of version {found.version}, and this one reads version "
                f"{STATE_VERSION}; "
                "begin without it"
            )
        miner = cls(similarity=similarity, templates_max=templates_max, shapes_max=shapes_max)
        miner._next_id = found.next_id
        miner._first_words = {length: dict.fromkeys(words) for length, words in found.first_words.items()}
        miner._shapes = OrderedDict(found.shapes)
        miner._aliases = OrderedDict(found.aliases)
        for number, first, words, count, many in found.groups:
            miner._groups[number] = Group(number, (len(words), first), words, count, many=many)
        for _, group in sorted(miner._groups.items()):
            miner._places.setdefault(group.place, Place()).keep(group)
        return miner

    def _known_as(self, number: int) -> int:
        """Return the id of a template, also where it became part of another."""
        while number in self._aliases:
            number = self._aliases[number]
        return number

    def _take(self, shape: str, count: int) -> int:
        """Return the id of the template of a masked line, which came so many times."""
        number = self._shapes.get(shape)
        group = None if number is None else self._groups.get(self._known_as(number))
        if group is None:
            group = self._learn(shape.split()[:WORDS_MAX])
            if len(self._shapes) >= self._shapes_max:
                self._shapes.popitem(last=False)
            self._shapes[shape] = group.id
        group.count += count
        self._groups.move_to_end(group.id)  # the last that is forgotten
        return group.id

    def _learn(self, words: list[str]) -> Group:
        """Return the template that is nearest to a line, made more general by it; a new one where none is near."""
        place = self._place(words)
        compared = compared_words(words)
        there = self._places.get(place)
        constant = len(words) - compared.count(None)
        # Lines of two words have half of them in common with lines that differ in one.
        share = min(self._similarity, 1 - 1 / constant) if constant else self._similarity
        candidates = there.near(compared, share) if there else []
        same = self._same(words, compared, candidates)
        if same:
            return same[0] if len(same) == 1 and same[0].fits(words) else self._join(same, words, candidates)
        group = Group(self._next_id, place, words)
        self._next_id += 1
        if len(self._groups) >= self._templates_max:
            self._forget(next(iter(self._groups)))
        self._keep(group)
        return group

    def _same(self, words: list[str], compared: list[str | None], candidates: list[Group]) -> list[Group]:
        """Return the template that a line is of; more where it shows that they are one; none where it is new."""
        constant = len(words) - compared.count(None)
        best: Group | None = None
        best_rank = (False, 0.0, -1)
        capitals: dict[tuple[int, ...], list[Group]] = {}
        states: dict[int, list[Group]] = {}
        nearest = (0.0, 0)  # the share of words that the nearest of another state has, and where that is, negative
        for group in candidates:
            equal = sum(map(eq, group.compared, words))
            # Of the places where one of them has a word, those where both have the same.
            either = group.constant if group.constant > constant else constant
            share = equal / either if either else 1.0
            if share < self._similarity and (not equal or either - equal != 1):
                continue
            places = [] if equal == group.constant else differences(group.compared, compared)
            if any(in_capitals(group.words[place], words[place]) for place in places):
                capitals.setdefault(tuple(places), []).append(group)
            elif len(places) == 1 and is_state(group.words, words, places[0]):
                states.setdefault(places[0], []).append(group)
                nearest = max(nearest, (share, -places[0]))
            elif (share >= self._similarity or (group.many and not places)) and (
                rank := (not places, share, equal)
            ) > best_rank:
                best, best_rank = group, rank
        if best is not None and (best_rank[0] or best_rank[1] >= nearest[0]):
            return [best]
        others = states.get(-nearest[1], [])
        if len(others) >= (STATES_MAX if nearest[0] >= self._similarity else SHORT_STATES_MAX):
            return others
        others = max(capitals.values(), key=len, default=[])
        return others if len(others) >= CAPITALS_MAX else []

    def _join(self, same: list[Group], words: list[str], candidates: list[Group]) -> Group:
        """Return the oldest of some templates, so general that a line and the others are of it."""
        general = words
        for group in same:
            general = [one if one == two else ANY for one, two in zip(general, group.words, strict=True)]
        first, *others = sorted(
            (group for group in candidates if covers(general, group.words)), key=lambda group: group.id
        )
        self._places[first.place].learn(first, general)
        first.many = len(same) > 1 or any(group.many for group in (first, *others))
        for group in others:
            first.count += group.count
            self._forget(group.id)
            self._aliases[group.id] = first.id
        while len(self._aliases) > self._templates_max:
            self._aliases.popitem(last=False)
        return first

    def _place(self, words: list[str]) -> tuple[int, str]:
        """Return where templates of such lines are: at their length, and their first word unless it is a parameter."""
        first = words[0] if words else ""
        if ANY in first:
            return len(words), ANY
        seen = self._first_words.setdefault(len(words), {})
        if first not in seen:
            if len(seen) >= FIRST_WORDS_MAX:
                return len(words), ANY
            seen[first] = None
        return len(words), first

    def _keep(self, group: Group) -> None:
        self._groups[group.id] = group
        self._places.setdefault(group.place, Place()).keep(group)

    def _forget(self, number: int) -> None:
        group = self._groups.pop(number)
        there = self._places[group.place]
        there.forget(group)
        if not there:
            del self._places[group.place]
