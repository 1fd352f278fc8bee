"""`millstream logs check FILE`: a configuration's examples, run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from millstream.cli.output import print_json

if TYPE_CHECKING:
    from millstream.logs.check import ConfigOutcome, Outcome
    from millstream.logs.config import Config

EXIT_EXAMPLES: Final = 1


def check(file: Path | None, sigma: Path | None = None, *, as_json: bool) -> int:
    """Read a configuration, Sigma rules or both, run the examples, say what they lead to; return the exit code.

    Raises:
        UsageError: The file says something that cannot be meant.
    """
    from millstream.logs.check import check_config, check_examples
    from millstream.logs.config import Config, read_config, with_sigma

    config = Config() if file is None else read_config(file)
    if sigma is not None:
        config = with_sigma(config, sigma)
    of_rules, of_all = check_examples(config.rules), check_config(config)
    for one in of_rules:
        print_json({**asdict(one), "right": one.is_right}) if as_json else print(_rule_line(one))
    for example in of_all:
        print_json({**asdict(example), "right": example.is_right}) if as_json else print(_config_line(example))
    for sentence in config.unusable:
        print_json({"unusable": sentence}) if as_json else print(f"not used: {sentence}")
    wrong = sum(not one.is_right for one in of_rules) + sum(not one.is_right for one in of_all)
    if not as_json:
        print(_summary(config, len(of_rules) + len(of_all), wrong))
    return EXIT_EXAMPLES if wrong else 0


def _rule_line(one: Outcome) -> str:
    said = "; ".join(alert.message for alert in one.alerts) or "no alert"
    state = "right" if one.is_right else f"WRONG, {one.wanted} wanted"
    return f"{one.rule}, example {one.example}: {len(one.alerts)} alerts, {state}: {said}"


def _config_line(one: ConfigOutcome) -> str:
    state = "right" if one.is_right else f"WRONG: {'; '.join(one.wrong)}"
    return f"example {one.example}: {len(one.events)} events, {len(one.alerts)} alerts, {state}"


def _summary(config: Config, examples: int, wrong: int) -> str:
    parts = {"sources": len(config.sources), "steps": len(config.steps), "outputs": len(config.outputs)}
    said = [f"{count} {name}" for name, count in parts.items() if count]
    unusable = [f"{len(config.unusable)} not used"] if config.unusable else []
    return ", ".join([*said, f"{len(config.rules)} rules", *unusable, f"{examples} examples", f"{wrong} wrong"])
