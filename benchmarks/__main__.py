"""Run the benchmarks named on the command line, or all."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import ROOT, RUNS_MIN, Options, machine, markdown

NAMES = ("extend", "append_concurrent", "append_single", "read", "disk_bytes", "memory", "startup")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    parser.add_argument("--data", type=Path, default=ROOT, help="where the files go (default: the repository's folder)")
    parser.add_argument("--runs", type=int, default=RUNS_MIN, help=f"of each measurement (default: {RUNS_MIN})")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of records (default: 1)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/NAME.md")
    arguments = parser.parse_args()
    names = arguments.names or NAMES
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"there is no {', '.join(unknown)}")
    if arguments.save and (arguments.runs < RUNS_MIN or arguments.scale != 1.0):
        parser.error(f"only full results are saved: at least {RUNS_MIN} runs, scale 1")
    options = Options(arguments.data, arguments.runs, arguments.scale)
    about = machine(options)
    for name in names:
        print(f"{name}:", flush=True)
        report = importlib.import_module(f"benchmarks.{name}").measure(options)
        text = markdown(report, options, about, _command(name, options, arguments.save))
        print("\n" + text)
        if arguments.save:
            target = ROOT / "benchmarks" / "results" / f"{name}.md"
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)


def _command(name: str, options: Options, saved: bool) -> list[str]:
    """Return the command that makes this one result; without the data folder, which is this machine's own."""
    command = ["python", "-m", "benchmarks", name]
    if options.runs != RUNS_MIN:
        command += ["--runs", str(options.runs)]
    if options.scale != 1.0:
        command += ["--scale", str(options.scale)]
    return [*command, "--save"] if saved else command


if __name__ == "__main__":
    main()
