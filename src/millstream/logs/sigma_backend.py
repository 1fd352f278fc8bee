"""A backend of pySigma: the condition of a Sigma rule as a `where` of ours.

Each comparison is true or false, never null: `not filter` holds where an event does not have the field. Text is
compared whatever its case, as Sigma wants it, unless the rule says `cased`.

Source: the API of pySigma 2 (`sigma.conversion.base.Backend`); the Sigma specification, "Modifiers".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from sigma.conditions import ConditionAND, ConditionNOT, ConditionOR
from sigma.conversion.base import TextQueryBackend
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.rule import SigmaRule
from sigma.types import CompareOperators, SigmaRegularExpression, SigmaString, SpecialChars

from millstream.errors import UsageError
from millstream.logs.networks import network_pattern
from millstream.logs.sigma_fields import LogSource, expression_of

_COMPARED: Final = {
    CompareOperators.LT: "<",
    CompareOperators.LTE: "<=",
    CompareOperators.GT: ">",
    CompareOperators.GTE: ">=",
}
_KEYWORDS_IN: Final = ("message", "raw")


class WhereBackend(TextQueryBackend):
    """Converts the conditions of rules of one log source."""

    name: ClassVar[str] = "Millstream"
    formats: ClassVar[dict[str, str]] = {"default": "conditions of millstream logs"}

    def __init__(self, source: LogSource) -> None:
        super().__init__()
        self._source = source

    def where(self, rule: SigmaRule) -> str:
        """Return the condition of a rule.

        Raises:
            SigmaError: It has something that there is no condition for.
            UsageError: The same, of a network.
        """
        self.convert_rule(rule)
        found: list[str] = rule.get_conversion_result()  # also of one that is there for a correlation only
        return " OR ".join(f"({one})" for one in found)

    # --- and, or, not -------------------------------------------------------------------------------------------------

    def decide_convert_condition_as_in_expression(self, cond: Any, state: Any) -> bool:
        return False

    def convert_condition_or(self, cond: ConditionOR, state: Any) -> Any:
        return self._joined(cond.args, " OR ", state)

    def convert_condition_and(self, cond: ConditionAND, state: Any) -> Any:
        return self._joined(cond.args, " AND ", state)

    def convert_condition_not(self, cond: ConditionNOT, state: Any) -> Any:
        return f"NOT ({self.convert_condition(cond.args[0], state)})"

    def _joined(self, parts: Sequence[Any], word: str, state: Any) -> str:
        return "(" + word.join(str(self.convert_condition(part, state)) for part in parts) + ")"

    # --- a field and a value ------------------------------------------------------------------------------------------

    def convert_condition_field_eq_val_str(self, cond: Any, state: Any) -> str:
        return _told(_like(self._field(cond), cond.value, cased=False))

    def convert_condition_field_eq_val_str_case_sensitive(self, cond: Any, state: Any) -> str:
        return _told(_like(self._field(cond), cond.value, cased=True))

    def convert_condition_field_eq_val_num(self, cond: Any, state: Any) -> str:
        return _told(f"{self._field(cond)} = {_quoted(str(cond.value))}")

    def convert_condition_field_eq_val_bool(self, cond: Any, state: Any) -> str:
        wanted = "true" if cond.value.boolean else "false"
        if cond.field == "success":
            return _told("success" if cond.value.boolean else "NOT success")
        return _told(f"lower({self._field(cond)}) = '{wanted}'")

    def convert_condition_field_eq_val_re(self, cond: Any, state: Any) -> str:
        return _told(f"{self._field(cond)} ~ {_quoted(_regex(cond.value))}")

    def convert_condition_field_eq_val_cidr(self, cond: Any, state: Any) -> str:
        return _told(f"{self._field(cond)} ~ {_quoted(network_pattern(str(cond.value.network)))}")

    def convert_condition_field_compare_op_val(self, cond: Any, state: Any) -> str:
        number = f"TRY_CAST({self._field(cond)} AS DOUBLE)"
        if cond.value.op is CompareOperators.NEQ:
            return _told(f"{number} <> {cond.value.number}")
        return _told(f"{number} {_COMPARED[cond.value.op]} {cond.value.number}")

    def convert_condition_field_eq_field(self, cond: Any, state: Any) -> str:
        other = expression_of(cond.value.field, self._source)
        one, other = f"lower({self._field(cond)})", f"lower({other})"
        if cond.value.starts_with and cond.value.ends_with:
            raise SigmaFeatureNotSupportedByBackendError("whether a field contains another is not asked here")
        if cond.value.starts_with:
            return _told(f"STARTS_WITH({one}, {other})")
        if cond.value.ends_with:
            return _told(f"ENDS_WITH({one}, {other})")
        return _told(f"{one} = {other}")

    def convert_condition_field_eq_val_null(self, cond: Any, state: Any) -> str:
        return f"{self._field(cond)} IS NULL"

    def convert_condition_field_exists(self, cond: Any, state: Any) -> str:
        return f"{self._field(cond)} IS NOT NULL"

    def convert_condition_field_not_exists(self, cond: Any, state: Any) -> str:
        return f"{self._field(cond)} IS NULL"

    def convert_condition_field_eq_val_timestamp_part(self, cond: Any, state: Any) -> str:
        raise SigmaFeatureNotSupportedByBackendError("parts of times (minute, hour, ...) are not compared here")

    def convert_condition_field_eq_query_expr(self, cond: Any, state: Any) -> str:
        raise SigmaFeatureNotSupportedByBackendError("queries of another language have no place in a rule here")

    # --- a value anywhere ---------------------------------------------------------------------------------------------

    def convert_condition_val_str(self, cond: Any, state: Any) -> str:
        wanted = SigmaString()
        wanted.s = [SpecialChars.WILDCARD_MULTI, *cond.value.s, SpecialChars.WILDCARD_MULTI]
        return self._anywhere(lambda field: _like(field, wanted, cased=False))

    def convert_condition_val_num(self, cond: Any, state: Any) -> str:
        return self._anywhere(lambda field: f"{field} ~ {_quoted(_escaped(str(cond.value)))}")

    def convert_condition_val_re(self, cond: Any, state: Any) -> str:
        return self._anywhere(lambda field: f"{field} ~ {_quoted(_regex(cond.value))}")

    def convert_condition_query_expr(self, cond: Any, state: Any) -> str:
        raise SigmaFeatureNotSupportedByBackendError("queries of another language have no place in a rule here")

    def _anywhere(self, test: Any) -> str:
        return "(" + " OR ".join(_told(test(field)) for field in _KEYWORDS_IN) + ")"

    def _field(self, cond: Any) -> str:
        if not re.fullmatch(r"[^'\"\\]+", cond.field):
            raise UsageError(f"the field {cond.field!r} has a quote or backslash in its name")
        return expression_of(cond.field, self._source)

    # --- the whole ----------------------------------------------------------------------------------------------------

    def finish_query(self, rule: Any, query: Any, state: Any) -> Any:
        return query

    def finalize_query(self, rule: Any, query: Any, index: int, state: Any, output_format: str) -> Any:
        return query


def _told(comparison: str) -> str:
    return f"COALESCE({comparison}, FALSE)"


def _like(field: str, value: SigmaString, *, cased: bool) -> str:
    """Return a comparison with a text in which `*` and `?` may stand for others."""
    column = field if cased else f"lower({field})"
    parts = list(value.s)
    starts, ends = parts[:1] == [SpecialChars.WILDCARD_MULTI], parts[-1:] == [SpecialChars.WILDCARD_MULTI]
    inner = parts[starts : len(parts) - ends] if len(parts) > starts else []
    if any(not isinstance(part, str) for part in inner):
        return f"{field} ~ {_quoted(_wildcards(parts, cased=cased))}"
    text = "".join(str(part) for part in inner)
    wanted = _quoted(text if cased else text.lower())
    if starts and ends:
        if not text:
            return f"{field} IS NOT NULL"
        return f"{column} ~ {_quoted(_escaped(text if cased else text.lower()))}"
    if starts:
        return f"ENDS_WITH({column}, {wanted})" if text else f"{field} IS NOT NULL"
    if ends:
        return f"STARTS_WITH({column}, {wanted})"
    return f"{column} = {wanted}"


def _wildcards(parts: Sequence[Any], *, cased: bool) -> str:
    made = ["(?s)^" if cased else "(?is)^"]
    for part in parts:
        if part is SpecialChars.WILDCARD_MULTI:
            made.append(".*")
        elif part is SpecialChars.WILDCARD_SINGLE:
            made.append(".")
        elif isinstance(part, str):
            made.append(_escaped(part))
        else:
            raise SigmaFeatureNotSupportedByBackendError(f"the placeholder {part} stands for nothing here")
    return "".join(made) + "$"


def _escaped(text: str) -> str:
    """Return the regular expression that is a text."""
    return re.sub(r"[\\.+*?()|\[\]{}^$#&~\-]", lambda char: "\\" + char[0], text)


def _regex(value: SigmaRegularExpression) -> str:
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    return (f"(?{flags})" if flags else "") + str(value.regexp)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
