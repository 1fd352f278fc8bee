"""The code to start from: a program that runs as it stands, in the words of the topic it is for."""

from __future__ import annotations

import json
import keyword
import re
from typing import Final

from millstream.advise.facts import Approach, Facts, Order

_HEAD: Final = """\
{imports}

app = App()
{variable} = app.topic({topic}{type})


"""

_TAIL: Final = """

if __name__ == "__main__":
    app.run({run})
"""


def code_for(approach: Approach, facts: Facts, *, workers: int | None = None) -> str:
    """Return a program for `millstream run app.py` that reads the topic in this way.

    Args:
        workers: Of a queue; None: as many as the load needs, up to 8.
    """
    variable = variable_of(facts.topic)
    # What exists is read as what it holds; what does not yet is a topic of JSON objects.
    type = "" if facts.records else ", dict"
    match approach:
        case Approach.QUEUE:
            imports, body = "from millstream import App, Retry", _queue(variable, facts, workers)
        case Approach.STREAM:
            imports, body = "from millstream import App, count, tumbling", _stream(variable, facts)
        case Approach.BATCH:
            imports, body = "import polars as pl\n\nfrom millstream import App", _batch(variable)
    head = _HEAD.format(imports=imports, variable=variable, topic=_quoted(facts.topic), type=type)
    # Batches run when they are told to: from cron, a timer, another program.
    return head + body + _TAIL.format(run='until="now"' if approach is Approach.BATCH else "")


def variable_of(topic: str) -> str:
    """Return a name for a topic that Python takes."""
    name = re.sub(r"\W+", "_", topic).strip("_").lower()
    if not name or name[0].isdigit() or keyword.iskeyword(name) or name in ("app", "count", "tumbling", "pl"):
        name = f"topic_{name}".rstrip("_")
    return name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _queue(variable: str, facts: Facts, workers: int | None) -> str:
    options = [f"workers={workers if workers is not None else '(1, 8)'}", "retry=Retry(attempts=5)"]
    if facts.order is Order.ALL:
        options[0] = "workers=1"
    elif facts.order is Order.KEY:
        # Without a key field the records' own keys count, of each of which one is handled at a time.
        options.append(f"order_by={_quoted(facts.key_field)}" if facts.key_field else "concurrency=1")
    value = "value: bytes" if facts.raw else "value: dict"
    return f"""\
@app.queue({variable}, {", ".join(options)})
def work({value}) -> None:
    print("working on", value)  # what raises is tried again, and set aside after five attempts
"""


def _stream(variable: str, facts: Facts) -> str:
    key = facts.key_field if facts.key_field in facts.fields else None
    by = f", by={_quoted(key)}" if key else ""
    return f"""\
@app.stream({variable})
def per_minute(s):
    return s.window(tumbling(minutes=1){by}).agg(records=count()).to({_quoted(facts.topic + "_per_minute")})
"""


def _batch(variable: str) -> str:
    return f"""\
@app.batch({variable})
def report(frame: pl.LazyFrame) -> None:
    print(frame.select(pl.len()).collect().item(), "records since the last run")
"""
