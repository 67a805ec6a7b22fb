"""Where a paper's numbers contradict each other or cannot be: recomputed from the registry, never typed.

Six rules: counts that follow from a formula, averages of the rows above them, differences of two cells, shares that sum
to 100, accuracies that no number of right answers gives, and scores of a model that always says the same. Errata stay
in the registry as printed; a finding puts the arithmetic value beside.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repro.papers import registry
from repro.papers.registry import Reported, Yaml, cells, printed_decimals

KINDS = {
    "erratum": "the value that the formula or the other cells give is another one",
    "truncated": "cut off instead of rounded",
    "unreachable": "no number of right answers in one run gives this accuracy",
    "constant": "the score of a model that always gives the commonest answer",
}
_NEAR_CONSTANT = 0.15
"""Points: one example more or less on BoolQ, WSC's rounding, and 15 of SQuAD 2.0's 11,873."""


@dataclass(frozen=True)
class Finding:
    """One cell that its paper's arithmetic contradicts, or explains away."""

    cell: Reported
    kind: str
    arithmetic: float
    """The value that arithmetic gives; for an unreachable accuracy the nearest one that can be."""
    why: str


@cache
def findings(paper: str) -> tuple[Finding, ...]:
    """All findings in one paper, in the order of the rules and of the registry.

    Raises:
        DataError: an unknown paper.
    """
    registry.load(paper)
    rules: tuple[Callable[[str], Iterable[Finding]], ...]
    rules = (_counts, _averages, _differences, _shares, _unreachable, _constant)
    return tuple(finding for rule in rules for finding in rule(paper))


def page(paper: str) -> str:
    """The findings as a Markdown table."""
    from repro.papers.rendering import printed

    found = findings(paper)
    if not found:
        return f"Nothing in {paper} contradicts its own arithmetic.\n"
    lines = ["| cell | where | printed | arithmetic | what | why |\n", "| --- | --- | ---: | ---: | --- | --- |\n"]
    for one in found:
        value = f"{one.arithmetic:,.0f}" if one.arithmetic >= 1000 else f"{one.arithmetic:.5f}".rstrip("0").rstrip(".")
        texts = (one.cell.id, one.cell.at, printed(one.cell), value, f"{one.kind}: {KINDS[one.kind]}", one.why)
        lines.append(f"| {' | '.join(texts)} |\n")
    return "".join(lines)


@cache
def _facts() -> Yaml:
    facts: Yaml = registry.read_yaml(Path(__file__).with_suffix(".yaml"))
    return facts


def _half_digit(cell: Reported) -> float:
    """Half a unit of the last printed digit, in the printed unit, and what binary fractions add."""
    return 0.5 * 10.0 ** -printed_decimals(cell) + 1e-9


def _counts(paper: str) -> Iterator[Finding]:
    """Lester et al., Table 4: trained = length x width, total = trained + frozen, and their quotient in percent."""
    for cell in cells(paper=paper, kind="parameters", method="prompt_tuning"):
        size = _facts()["t5"][cell.model]
        trained = cell.vars["prompt_length"] * size["width"]
        total = trained + size["frozen"]
        exact = {
            "trainable_parameters": trained,
            "total_parameters": total,
            # Printed with five decimals in every row.
            "percent_trainable": round(100 * trained / total, 5),
        }[cell.metric]
        if abs(cell.number - exact) < 1e-9:
            continue
        cut = cell.metric == "percent_trainable" and math.floor(1e7 * trained / total) / 1e5 == cell.number
        why = f"{cell.vars['prompt_length']} x {size['width']}, frozen {size['frozen']:,}"
        yield Finding(cell, "truncated" if cut else "erratum", exact, why)


def _averages(paper: str) -> Iterator[Finding]:
    """Means over tasks, a task with two metrics counting once as their mean."""
    averaged = [c for c in cells(paper=paper, kind="result", precision="exact") if _is_average(c)]
    for cell in averaged:
        rows = [c for c in cells(paper=paper, kind="result", at=cell.at, model=cell.model) if _averaged_by(cell, c)]
        by_task: dict[str, list[Reported]] = defaultdict(list)
        for row in rows:
            by_task[str(row.task)].append(row)
        means = [sum(row.number for row in own) / len(own) for own in by_task.values()]
        if not means:
            continue
        exact = sum(means) / len(means)
        # Each row is rounded too, so the mean of the rows is that far from the mean of the exact values at most.
        if abs(cell.number - exact) > _half_digit(cell) + max(_half_digit(row) for row in rows):
            yield Finding(cell, "erratum", round(exact, 3), f"mean over {len(means)} tasks of the same row")


def _is_average(cell: Reported) -> bool:
    return cell.metric == "average" or (cell.metric == "superglue_score" and cell.at == "Table 3")


def _averaged_by(mean: Reported, cell: Reported) -> bool:
    """Whether a cell is one of the rows of an average: same method and variables, or (v1, Table 7) the same pattern."""
    return not _is_average(cell) and (cell.method, cell.vars) == (mean.method, mean.vars)


def _differences(paper: str) -> Iterator[Finding]:
    """Prompt tuning minus model tuning (Lester et al., Table 1 and text), and the mean gain that Li and Liang state."""
    for cell in cells(paper=paper, method="prompt_minus_fine_tuning"):
        metric = cell.metric.removesuffix("_difference")
        places = {"kind": "result", "paper": paper, "task": cell.task, "metric": metric}
        pair = [cells(**places, method=method) for method in ("prompt_tuning", "fine_tuning")]
        exact = pair[0][0].number - pair[1][0].number
        if abs(cell.number - exact) > 3 * _half_digit(cell):
            yield Finding(cell, "erratum", round(exact, 3), f"{pair[0][0].value} - {pair[1][0].value}")
    if paper == "liliang2021":
        yield from _mean_gain()


def _mean_gain() -> Iterator[Finding]:
    """The gain of the prefix over the small adapter, 4.1 BLEU on average over three sets: in which edition it holds."""
    stated = registry.cell("liliang2021/both-text-avg-gain-over-adapter01")
    for edition in ("acl", "v1"):
        gains = []
        for place in (("e2e", "test"), ("webnlg", "test-all"), ("dart", "test")):
            pair = [_main_bleu(edition, method, *place) for method in ("prefix_tuning", "adapter")]
            gains.append(pair[0].number - pair[1].number)
        exact = sum(gains) / 3
        if abs(stated.number - exact) > 0.1:
            yield Finding(stated, "erratum", round(exact, 2), f"mean over the cells of edition {edition}")


def _main_bleu(edition: str, method: str, task: str, split: str) -> Reported:
    where = {"acl": "ACL Table 2", "v1": "arXiv-v1 Table 1"}[edition]
    found = cells(paper="liliang2021", model="gpt2-medium", method=method, task=task, split=split, metric="bleu")
    return next(c for c in found if where in c.at.split(" = ") and c.vars.get("stored_percent") == 0.1)


def _shares(paper: str) -> Iterator[Finding]:
    """Shares of the labels of one split sum to 100, up to the rounding of each."""
    by_split: dict[tuple[str | None, str | None], list[Reported]] = defaultdict(list)
    for cell in cells(paper=paper, metric="label_share_percent"):
        by_split[cell.task, cell.split].append(cell)
    for own in by_split.values():
        total = sum(cell.number for cell in own)
        if abs(total - 100) > sum(_half_digit(cell) for cell in own):
            for cell in own:
                others = total - cell.number
                yield Finding(cell, "erratum", round(100 - others, 3), f"the shares of the split sum to {total:g}")


@cache
def validation_rows(task: str | None) -> int | None:
    """Number of validation examples of a task (Lester et al., Table 7); None where no paper states it."""
    found = cells(paper="lester2021", at="Table 7", task=task, split="validation")
    return int(found[0].number) if found else None


def nearest_accuracies(value: float, rows: int) -> tuple[float, float]:
    """The accuracies of `rows` examples just below (or at) and above a value, in percent."""
    below = math.floor(value * rows / 100 + 1e-9)
    return 100 * below / rows, 100 * (below + 1) / rows


def _unreachable(paper: str) -> Iterator[Finding]:
    """Accuracies of one run that are not k of N, rounded to the printed digits."""
    for cell in cells(paper=paper, kind=("result", "author_rerun"), precision="exact", our_metric="accuracy"):
        rows = validation_rows(cell.task)
        if rows is None or cell.our_split != "validation" or not _one_run(cell):
            continue
        near: Sequence[float] = nearest_accuracies(cell.number, rows)
        if min(abs(cell.number - one) for one in near) <= _half_digit(cell):
            continue
        unit = 10 ** -printed_decimals(cell)
        cut = cell.number <= near[1] < cell.number + unit
        best = min(near, key=lambda one: abs(cell.number - one))
        text = f"{rows} validation examples allow {near[0]:.2f} and {near[1]:.2f}"
        yield Finding(cell, "truncated" if cut else "unreachable", round(near[1] if cut else best, 2), text)


def _one_run(cell: Reported) -> bool:
    """A mean over runs, or a score with a spread, may be any number."""
    return cell.std is None and cell.plus_minus is None and cell.n_runs in (None, 1)


def _constant(paper: str) -> Iterator[Finding]:
    """Scores that a constant answer gives too: they say nothing about the method."""
    for cell in cells(paper=paper, kind=("result", "author_rerun"), precision="exact"):
        known = _facts()["constant"].get(cell.task)
        if known is None or cell.our_split != "validation" or cell.our_metric not in ("accuracy", "exact_match", "f1"):
            continue
        share = 100 * known["correct"] / known["examples"]
        if abs(cell.number - share) <= _NEAR_CONSTANT:
            why = f"always `{known['answer']}` is right {known['correct']:,} of {known['examples']:,} times"
            yield Finding(cell, "constant", round(share, 2), why)
