"""The papers' claims as predicates over cells: `claims/<paper>.yaml`, evaluated on the paper's numbers or on ours.

Format:

    paper: liu2022
    editions: [acl, v1]           # optional: the predicates are evaluated on each
    sets: {models: [...]}         # what generators run over
    cells:                        # families: what `name[key, ...]` stands for
      v: "liu2022/t2.{0}.{1}.{2}"                               # ids of the registry, filled with the keys
      f: {exhibit: figure3a, row: "{0}", column: "{1}"}         # a place of an exhibit (an unprinted one too)
      s: {cell: "lester2021/F1.prompt_tuning.{0}", field: std}  # the spread instead of the value
      g: {cell: "lester2021/F1.gpt3_few_shot.{0}", given: true} # quoted by the paper: its value, on ours as well
      d: {values: {small: 512}}                                 # plain numbers (widths), not results
    claims:
      - id: C1
        sentence: ...             # the claim in our words
        source: Table 2           # where the paper makes it
        reading: ...              # optional: how words without a number were made a number
        holds: "all(v[m, t, 'pt-2'] > v[m, t, pt] for m in models for t in tasks)"   # see papers/expressions.py
        shows: {comparisons that hold: "count(...)"}            # optional: numbers printed beside the verdict
      - {id: C13, sentence: ..., source: ..., unmeasured: why no cell can decide it}

Nothing is typed that can be computed: a verdict is always the predicate's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from repro.errors import DataError
from repro.papers import exhibits, registry
from repro.papers.exhibits import UNPRINTED
from repro.papers.expressions import Evaluation, Key, Number, Truth
from repro.papers.registry import Reported, Yaml

if TYPE_CHECKING:
    from repro.papers.statistics import Floats

    Source = Callable[[Reported, str], Floats | float | None]
    """(cell, `value` or `std`) to a number or draws [D]; None where it is missing."""

HOLDS, FAILS, NOT_PRINTED = "holds", "fails", "not printed"
_FIELDS = {"id", "sentence", "source", "reading", "holds", "shows", "unmeasured"}
_SHOWN_EXCEPTIONS = 6


@dataclass(frozen=True)
class Claim:
    """One claim of a paper."""

    paper: str
    id: str
    sentence: str
    source: str
    holds: str | None
    """The predicate; None: no cell can decide it, `unmeasured` says why."""
    reading: str | None = None
    shows: Mapping[str, str] = field(default_factory=dict, hash=False)
    unmeasured: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a predicate gives on one source of numbers."""

    truth: Truth
    shown: dict[str, str]
    """The claim's numbers as text."""
    exceptions: tuple[str, ...]
    """Cases in which an `all` is false."""
    used: tuple[Reported, ...]
    """Cells that the predicate reads, quoted constants left out."""
    missing: tuple[Reported, ...]


@cache
def claims(paper: str) -> tuple[Claim, ...]:
    """All claims of a paper, in order.

    Raises:
        DataError: an unknown paper, or a file that breaks the format.
    """
    found = []
    for raw in _file(paper)["claims"]:
        unknown = sorted(set(raw) - _FIELDS)
        if unknown or not {"id", "sentence", "source"} <= set(raw) or ("holds" in raw) == ("unmeasured" in raw):
            raise DataError(
                f"claims of {paper}, {raw.get('id')}: unknown {unknown}, or not one of holds and unmeasured."
            )
        found.append(Claim(paper=paper, **{"holds": None, **raw}))
    if len({claim.id for claim in found}) < len(found):
        raise DataError(f"claims of {paper}: an id is used twice.")
    return tuple(found)


def editions(paper: str) -> tuple[str | None, ...]:
    """The editions on which a paper's claims are evaluated."""
    return tuple(_file(paper).get("editions") or (None,))


def evaluate(claim: Claim, source: Source, edition: str | None = None, draws: int = 1) -> Outcome:
    """A claim's predicate on numbers from anywhere.

    Args:
        claim: one that has a predicate.
        source: gives the number of a cell.
        edition: whose cells the exhibits give; None: the only one.
        draws: D, how many values the source gives a cell.

    Raises:
        DataError: an expression that cannot be read, or a cell that does not exist.
    """
    used: dict[str, Reported] = {}
    missing: dict[str, Reported] = {}

    def number(family: str, keys: tuple[Key, ...]) -> Floats | float | None:
        cell, wanted, is_quoted = _resolved(claim.paper, family, keys, edition)
        if not isinstance(cell, Reported):
            return cell
        if is_quoted:
            return printed(cell, wanted)
        value = source(cell, wanted)
        used[cell.id] = cell
        if value is None:
            missing[cell.id] = cell
        return value

    if claim.holds is None:
        raise DataError(f"{claim.paper} {claim.id} has no predicate: {claim.unmeasured}")
    sets = _file(claim.paper).get("sets") or {}
    evaluation = Evaluation(number, sets, draws)
    truth = evaluation.truth(claim.holds)
    cases = [", ".join(map(str, bound.values())) for bound in evaluation.exceptions]
    shown = {label: shown_text(evaluation.value(text)) for label, text in claim.shows.items()}
    return Outcome(truth, shown, tuple(cases), tuple(used.values()), tuple(missing.values()))


def printed(cell: Reported, wanted: str) -> float | None:
    """The paper's own number of a cell: its value or its spread, in our unit; None where none is printed."""
    if wanted == "std":
        return cell.spread
    return None if cell.kind == UNPRINTED else cell.number


def on_paper(claim: Claim) -> dict[str | None, tuple[str, str]]:
    """{edition: (verdict, why)} on the paper's own numbers."""
    if claim.holds is None:
        return {None: (NOT_PRINTED, str(claim.unmeasured))}
    found = {}
    for edition in editions(claim.paper):
        outcome = evaluate(claim, printed, edition)
        verdict = HOLDS if outcome.truth.true[0] else FAILS if outcome.truth.false[0] else NOT_PRINTED
        found[edition] = (verdict, explained(outcome, verdict))
    return found


def explained(outcome: Outcome, verdict: str) -> str:
    """Numbers and exceptions of an outcome, in a few words."""
    parts = [f"{label}: {text}" for label, text in outcome.shown.items()]
    if verdict == FAILS and outcome.exceptions:
        more = len(outcome.exceptions) - _SHOWN_EXCEPTIONS
        cases = "; ".join(outcome.exceptions[:_SHOWN_EXCEPTIONS]) + (f"; and {more} more" if more > 0 else "")
        parts.append(f"not for {cases}")
    if verdict == NOT_PRINTED:
        parts.append(f"the paper prints {len(outcome.used) - len(outcome.missing)} of {len(outcome.used)} numbers")
    return ". ".join(parts)


# ---- files and families


@cache
def _file(paper: str) -> Yaml:
    return registry.data_file("claims", paper, "claims", list)


def _resolved(
    paper: str, family: str, keys: tuple[Key, ...], edition: str | None
) -> tuple[Reported | float, str, bool]:
    """What `family[keys]` stands for: a cell or a plain number, which field of the cell, and whether it is given."""
    families = _file(paper).get("cells") or {}
    if family not in families:
        raise DataError(f"claims of {paper}: there is no family {family!r}; there are {', '.join(families)}.")
    entry = families[family]
    spec: Yaml = {"cell": entry} if isinstance(entry, str) else entry
    if "values" in spec:
        if len(keys) != 1 or keys[0] not in spec["values"]:
            raise DataError(f"claims of {paper}: {family} has no value for {keys}.")
        return float(spec["values"][keys[0]]), "value", True
    wanted, given = spec.get("field", "value"), bool(spec.get("given"))
    if "cell" in spec:
        return registry.cell(spec["cell"].format(*keys)), wanted, given
    place = (spec["row"].format(*keys), spec["column"].format(*keys))
    printed_in = spec.get("edition") or edition
    found = exhibits.exhibit(paper, spec["exhibit"])
    if printed_in in found.editions:
        found = exhibits.exhibit(paper, spec["exhibit"], printed_in)
    if place not in found.cells:
        raise DataError(f"claims of {paper}: {spec['exhibit']} has no cell at {place}.")
    return found.cells[place], wanted, given


def shown_text(value: object) -> str:
    """A number, or a list of (key, number), as text; with the central 95 % of the draws where they differ."""
    if isinstance(value, Number):
        return _number_text(value)
    if isinstance(value, tuple):
        *keys, last = value
        return f"{' '.join(str(key) for key in keys)} {shown_text(last)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown_text(one) for one in value)
    return str(value)


def _number_text(value: Number) -> str:
    import numpy as np

    if not (np.isfinite(value.low).all() and np.isfinite(value.high).all()):
        return "unknown"
    if (value.low != value.high).any():
        return f"{value.low.min():.4g} to {value.high.max():.4g}"
    mean = float(np.mean(value.low))
    middle = f"{mean:.2g}" if 1e-9 < abs(mean) < 0.1 else f"{round(mean, 2) + 0.0:g}"
    if float(np.ptp(value.low)) < 1e-9:
        return middle
    low, high = np.quantile(value.low, [0.025, 0.975])
    return f"{middle} [{low:.2f}, {high:.2f}]"
