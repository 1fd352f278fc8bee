"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT, RUNS_MIN, Options, machine, markdown


def run(package: str, every_name: Sequence[str]) -> None:
    """Run the benchmarks of a package: those named on the command line, or all."""
    parser = argparse.ArgumentParser(prog=f"python -m {package}")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every_name)}; none: all")
    parser.add_argument("--data", type=Path, default=ROOT, help="where the files go (default: the repository's folder)")
    parser.add_argument("--runs", type=int, default=RUNS_MIN, help=f"of each measurement (default: {RUNS_MIN})")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of records (default: 1)")
    parser.add_argument("--save", action="store_true", help="write the tables to benchmarks/results/")
    arguments = parser.parse_args()
    names = arguments.names or every_name
    if unknown := sorted(set(names) - set(every_name)):
        parser.error(f"there is no {', '.join(unknown)}")
    if arguments.save and (arguments.runs < RUNS_MIN or arguments.scale != 1.0):
        parser.error(f"only full results are saved: at least {RUNS_MIN} runs, scale 1")
    options = Options(arguments.data, arguments.runs, arguments.scale)
    about = machine(options)
    for name in names:
        print(f"{name}:", flush=True)
        report = importlib.import_module(f"{package}.{name}").measure(options)
        text = markdown(report, options, about, _command(package, name, options, arguments.save))
        print("\n" + text)
        if arguments.save:
            target = ROOT / "benchmarks" / "results" / f"{report.name}.md"
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)


def _command(package: str, name: str, options: Options, saved: bool) -> list[str]:
    """Return the command that makes this one result; without the data folder, which is this machine's own."""
    command = ["python", "-m", package, name]
    if options.runs != RUNS_MIN:
        command += ["--runs", str(options.runs)]
    if options.scale != 1.0:
        command += ["--scale", str(options.scale)]
    return [*command, "--save"] if saved else command
