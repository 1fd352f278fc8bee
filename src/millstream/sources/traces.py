r"""How the stack traces of languages continue: small machines that look at one line after the other.

A machine is in a state, and a state lists expressions with the state that each leads to. A line that one of them
matches continues the event; any other begins a new one, in the state that `begin` says, else in `text`.

| preset | what it puts together |
|---|---|
| `java` | `at ...`, `... 12 more`, `Caused by:`, and the exception's line below the line of the log; Kotlin, Scala |
| `dotnet` | `   at ...`, `---> ...`, `--- End of ...` |
| `javascript` | `    at ...`, what Node prints of an error's fields |
| `python` | `Traceback ...`, its frames, the exception, chained ones, groups |
| `go` | `panic:`, `fatal error:`, all `goroutine`s |
| `ruby` | `from ...:12:in ...`, and Rails' lists of frames |
| `docker`, `cri` | nothing but parts of a line that Docker's json-file, containerd or CRI-O cut, as all others do too |
| `traces` | all languages above, whichever a line is of |
| `windows_csv` | a row that the Event Viewer of Windows saved as CSV |
| `mysql` | an entry of the slow query log, a statement of several lines of the general log: MySQL, MariaDB, Percona |

Source: what the languages print; that states and expressions are enough, from Fluent Bit's multiline parsers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

Rule = tuple[str, str]
"""An expression, matched from the first character of a line on, and the state it leads to."""


class Machine(NamedTuple):
    """One preset."""

    begin: Sequence[Rule]
    states: Mapping[str, Sequence[Rule]]
    """By state; `text` is that of a line that is nothing special."""


_JVM_FRAME: Final = (
    r"[ \t]+(?:eval )?at |[ \t]*(?:Caused by|Suppressed|Wrapped by): "
    r"|[ \t]+\.\.\. \d+ (?:more|common frames omitted|lines)"
    r"|[ \t]+--- End of |[ \t]*--- End of | +---> "
)
_JVM_HEADER: Final = r"(?:Exception in thread |(?:[\w$]+\.)+[\w$]*(?:Exception|Error|Throwable|Failure)\b(?:$|:))"
_JAVA: Final = Machine(
    [(_JVM_HEADER, "java")],
    {
        # An exception below the line that tells of it continues that line; below frames it is another one.
        "text": [(_JVM_FRAME, "java frame"), (_JVM_HEADER, "java")],
        "java": [(_JVM_FRAME, "java frame")],
        "java frame": [(_JVM_FRAME, "java frame")],
    },
)
_DOTNET_HEADER: Final = r"(?:Unhandled exception\. |Unhandled Exception: |(?:\w+\.)+\w*Exception\b)"
_DOTNET: Final = Machine(
    [(_DOTNET_HEADER, "dotnet")],
    {
        "text": [(_JVM_FRAME, "dotnet frame"), (_DOTNET_HEADER, "dotnet")],
        "dotnet": [(_JVM_FRAME, "dotnet frame")],
        "dotnet frame": [(_JVM_FRAME, "dotnet frame")],
    },
)
_JS_HEADER: Final = r"(?:Uncaught )?(?:[A-Z]\w*)?(?:Error|Exception)\b(?: \[\w+\])?(?:$|:)"
_JS_FRAME: Final = r"[ \t]+at "
_JAVASCRIPT: Final = Machine(
    [(_JS_HEADER, "js")],
    {
        "text": [(_JS_FRAME, "js frame"), (_JS_HEADER, "js")],
        "js": [(_JS_FRAME, "js frame"), (r"[ \t]+\S", "js")],
        # An error's own fields: `{`, `  code: 'ENOENT'`, `}`.
        "js frame": [(_JS_FRAME, "js frame"), (r"[ \t]+\S|\}\]?$", "js frame")],
    },
)
_PYTHON_START: Final = r"Traceback \(most recent call last\):"
_PYTHON_GROUP: Final = r" *[+|] +(?:Exception Group )?Traceback \(most recent call last\):"
_PYTHON_CHAIN: Final = r"(?:During handling of the above exception|The above exception was the direct cause)"
_PYTHON: Final = Machine(
    [(_PYTHON_START, "py frames"), (_PYTHON_GROUP, "py group")],
    {
        "text": [(_PYTHON_START, "py frames"), (_PYTHON_GROUP, "py group")],
        # The first line that is not indented is the exception.
        "py frames": [(r"[ \t]", "py frames"), (r"\S", "py end"), (r"$", "py frames")],
        # An exception's message may have more lines, which nothing tells from others, and notes.
        "py end": [(r"$", "py blank")],
        "py blank": [(r"$", "py blank"), (_PYTHON_CHAIN, "py chain")],
        "py chain": [(r"$", "py chain"), (_PYTHON_START, "py frames"), (_PYTHON_GROUP, "py group")],
        "py group": [(r" *[+|]|[ \t]", "py group")],
    },
)
_GO_START: Final = r"(?:panic: |fatal error: |runtime: )"
_GO_MORE: Final = (
    r"goroutine \d+|\[signal |\t|created by |exit status \d|panic: |\[originating from |runtime\."
    r"|[\w./*()\[\]{}%~-]+\([^()]*\)$|\.\.\.(?:additional|\d+)|$"
)
_GO: Final = Machine(
    [(_GO_START, "go")],
    {"text": [(r"goroutine \d+ [\[][^\]]*\]:", "go")], "go": [(_GO_MORE, "go")]},
)
_RUBY_FRAME: Final = r"[ \t]+(?:from |\d+: from )?\S+:\d+:in [`'\"]|\S+\.rb:\d+:in [`'][^`']*'$"
_RUBY: Final = Machine(
    [],
    {
        "text": [(_RUBY_FRAME, "ruby"), (r"[ \t]*$", "ruby blank")],
        "ruby blank": [(r"[ \t]*$", "ruby blank"), (_RUBY_FRAME, "ruby")],
        "ruby": [(_RUBY_FRAME, "ruby")],
    },
)
_PARTS: Final = Machine([], {})
"""Parts of a line of a container are put together in any case: see `containers`."""


def _together(machines: Sequence[Machine]) -> Machine:
    states: dict[str, list[Rule]] = {}
    for machine in machines:
        for state, rules in machine.states.items():
            states.setdefault(state, []).extend(rules)
    return Machine([rule for machine in machines for rule in machine.begin], states)


_MYSQL_HEADER: Final = r"\S+, Version: |Tcp port: |Time {3,}Id Command"
_MYSQL_GENERAL: Final = r"(?:\d{4}-\d\d-\d\dT\S+|\d{6} [ \d]\d:\d\d:\d\d|\t)\t[ ]*\d+ [A-Z]"
# Whatever is not the beginning of another belongs to a statement; MariaDB has no time in front of each entry.
_MYSQL_REST: Final = rf"(?!# Time: |# User@Host: |{_MYSQL_HEADER}|{_MYSQL_GENERAL})"
_MYSQL: Final = Machine(
    [("# Time: ", "mysql time"), ("# User@Host: ", "mysql"), (_MYSQL_GENERAL, "mysql")],
    {"mysql time": [("# User@Host: ", "mysql"), (_MYSQL_REST, "mysql")], "mysql": [(_MYSQL_REST, "mysql")]},
)

_WINDOWS_ROW: Final = r"[^\",\r\n]{2,40},[^\",\r\n]{8,40},[^\",\r\n]{1,200},\d{1,6},"
_WINDOWS_CSV: Final = Machine([(_WINDOWS_ROW, "row")], {"row": [(rf"(?!{_WINDOWS_ROW})", "row")]})

PRESETS: Final[Mapping[str, Machine]] = {
    "java": _JAVA,
    "dotnet": _DOTNET,
    "javascript": _JAVASCRIPT,
    "python": _PYTHON,
    "go": _GO,
    "ruby": _RUBY,
    "docker": _PARTS,
    "cri": _PARTS,
    "mysql": _MYSQL,
    "windows_csv": _WINDOWS_CSV,
    "traces": _together([_PYTHON, _GO, _JAVA, _DOTNET, _JAVASCRIPT, _RUBY]),
}


class Compiled:
    """A machine, with one expression for each state."""

    def __init__(self, machine: Machine) -> None:
        self._begin = _compiled(machine.begin)
        self._states = {state: _compiled(rules) for state, rules in machine.states.items()}

    def begin(self, line: bytes) -> str:
        """Return the state after a line that begins an event."""
        return _next(self._begin, line) or "text"

    def after(self, state: str, line: bytes) -> str | None:
        """Return the state after a line that continues the event; None for one that does not."""
        found = self._states.get(state)
        return None if found is None else _next(found, line)


_Expression = tuple[re.Pattern[bytes], tuple[str, ...]] | None


def _compiled(rules: Sequence[Rule]) -> _Expression:
    if not rules:
        return None
    expression = "|".join(f"({expression})" for expression, _ in rules)
    compiled = re.compile(expression.encode())
    assert compiled.groups == len(rules), "an expression has a group of its own"
    return compiled, tuple(state for _, state in rules)


def _next(found: _Expression, line: bytes) -> str | None:
    if found is None:
        return None
    match = found[0].match(line)
    return None if match is None or match.lastindex is None else found[1][match.lastindex - 1]
