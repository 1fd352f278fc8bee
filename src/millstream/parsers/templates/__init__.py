"""What kinds of lines a log has, found without knowing its format: templates and their parameters.

General layout:
    masks    numbers, addresses, paths and the like become one sign, a column at once
    group    a template that is still learned, and how a line differs from it
    place    the templates that a line may be of, found by their words
    miner    lines of one shape are of one template; bounded, deterministic, its state a few bytes
    listing  the templates of some lines as a frame; the parameters of lines of one template

Source: He, Zhu, Zheng, Lyu: "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017. What
differs from it is said in `miner`.
"""

from __future__ import annotations

from millstream.parsers.templates.listing import parameters, templates
from millstream.parsers.templates.miner import Template, TemplateMiner

__all__ = ["Template", "TemplateMiner", "parameters", "templates"]
