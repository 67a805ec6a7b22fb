"""Our runs against the papers' cells: which numbers may be compared, and what the comparison says.

Two numbers are compared only when model, method, task, split, metric and every variable of the paper's cell agree with
our config, and our run saw all of the data. Anything else is `not comparable`, with the reason in one sentence and the
paper's nearest cells as context. A run of a stand-in model (no `paper_name`) therefore never gets a paper's number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from repro.papers import registry
from repro.papers.registry import PAPERS, Reported, canonical_metric, decimals, split_key
from repro.report.compare.groups import Group, plain_text
from repro.report.compare.tolerance import tolerance

if TYPE_CHECKING:
    from repro.papers.statistics import Summary

VERDICTS = ("reproduced", "close", "above", "below", "not comparable", "not run")
COMPARABLE_KINDS = registry.SCORE_KINDS
"""Best first. Where the paper prints nothing, a re-run by its authors or by another paper stands in, and is named."""

COUNTERPARTS = {
    "prompt_length": "method.length",
    "init": "method.initialisation",
    "reparameterization": "method.reparameterisation",
    "head": "method.head",
    "train_steps": "trainer.steps",
    "epochs": "trainer.epochs",
    "total_epochs": "trainer.epochs",
    "target_sentinel": "task.sentinel",
    "train_size": "task.low_data.size",
    "train_fraction": "task.fraction",
}
"""Variable of a cell: the field of our config that corresponds to it. A variable that is neither here nor in `DERIVED`
or `DESCRIPTIVE` makes the cell not comparable."""
RESTRICTING = ("train_size", "train_fraction")
"""Variables whose absence means something: a cell without them is of the whole training set."""
DESCRIPTIVE = {
    "domain": "of the test set, which the task names",
    "shift": "follows from train_task and the task",
    "lm_adapt_steps": "always 100,000, which the model key (-lm-adapt) says",
    "trained_as": "follows from the method: prefix and infix train activations, embedding_only embeddings",
    "n_prompt_layers": "follows from prompt_layers",
    "order": "follows from prompt_layers",
    "hardware": "does not define the trial",
    "topology": "does not define the trial",
    "eval_batch_size": "does not define the trial",
    "script": "names the file of the recipe",
    "best_epoch": "an outcome",
}
"""Variable of a cell: why it is not checked."""

_SAME = {
    "cls & linear head": "linear",
    "verbalizer & lm head": "lm_head",
    "verbalizer": "lm_head",
    "verbaliser": "lm_head",
    "squad_v1.1": "squad_v1",
}
"""Spellings of one value, in lower case."""
_EDITIONS = ("acl", "both", None, "v1", "code")
"""Best first: the proceedings, then what both editions print."""


@dataclass(frozen=True)
class Comparison:
    """One of our scores against a paper's cell."""

    verdict: str
    reported: Reported | None
    """The cell compared with; None when not comparable."""
    difference: float | None
    """Our mean minus the paper's value, in our unit."""
    reason: str
    summary: Summary | None = None
    """n, mean, std and interval of our runs (None: not run)."""
    tolerance: float | None = None
    """Half width of the region that counts as equal, in our unit."""
    also: tuple[Reported, ...] = ()
    """Other cells that agree in everything (another edition, another table)."""
    nearest: tuple[Reported, ...] = ()
    """Not comparable: the cells with the same method, task and metric, one a model, as context."""


def compare(group: Group, cells: Sequence[Reported], split: str | None = None, metric: str | None = None) -> Comparison:
    """The verdict on one score of a group.

    Args:
        group: our runs.
        cells: the papers' cells (`repro.papers.registry.cells()`).
        split, metric: which score, as named in the record; None: the reported split and the metric of selection.
    """
    from repro.papers import statistics

    fitting = [pair for pair in group.measures if split in (None, pair[0]) and metric in (None, pair[1])]
    split, metric = fitting[0] if fitting else (split or "", metric or "")
    values = group.values(split, metric)
    candidates = _candidates(group, cells, metric)
    same_model = [cell for cell in candidates if cell.model == group.names.model]
    differing = [(cell, mismatches(group, split, cell)) for cell in same_model]
    agreeing = sorted((cell for cell, clauses in differing if not clauses), key=lambda cell: _rank(cell, group))
    if not values:
        return Comparison("not run", agreeing[0] if agreeing else None, None, _why_not_run(group, split, metric))
    summary = statistics.summary(values)
    reasons = [] if agreeing else [_why_not(group, metric, cells, candidates, differing)]
    reasons += [] if (partial := data_limit(group)) is None else [partial]
    if reasons:
        nearest = _nearest(candidates, group, split)
        return Comparison("not comparable", None, None, " ".join(reasons), summary, nearest=nearest)
    theirs, *also = agreeing
    return replace(against(theirs, values, summary, after=_remarks(group, theirs, also, summary.n)), also=tuple(also))


def against(cell: Reported, values: Sequence[float], summary: Summary, before: str = "", after: str = "") -> Comparison:
    """The verdict on values that agree with a cell in everything.

    Args:
        summary: of the values.
        before, after: sentences of the reason, before and after the one about the tolerance.
    """
    from repro.papers import statistics

    within = tolerance(cell, summary)
    verdict = statistics.equivalence(values, cell.number, within.width)
    reason = f"{before}Equal means within {_short(within.width)} ({within.origin}).{after}"
    return Comparison(verdict, cell, round(summary.mean - cell.number, 6), reason, summary, within.width)


def _candidates(group: Group, cells: Sequence[Reported], metric: str) -> list[Reported]:
    """Cells of a comparable kind with the same method, task and metric."""
    ours = (group.names.method, group.names.task, canonical_metric(metric, group.names.task))
    if None in ours:
        return []
    kept = (cell for cell in cells if (cell.method, cell.task, cell.our_metric) == ours)
    return [cell for cell in kept if cell.kind in COMPARABLE_KINDS]


def mismatches(group: Group, split: str, cell: Reported) -> list[str]:
    """Differences between our score and a cell with the same method, task and metric: one clause each."""
    clauses = []
    if cell.model is None or cell.model != group.names.model:
        clauses.append(f"the cell's model is {cell.model}, ours is {group.names.model_name}")
    if cell.our_split is None or cell.our_split != split_key(split):
        clauses.append(f"the cell's split is {cell.split}, ours is {split}")
    restricted = {name: group.value(COUNTERPARTS[name]) for name in RESTRICTING if name not in cell.vars}
    clauses += [
        f"the cell's training set is whole, ours is cut ({COUNTERPARTS[name]}={ours})"
        for name, ours in restricted.items()
        if ours is not None
    ]
    clauses += [clause for name in cell.vars if (clause := _difference(name, cell, group))]
    if group.trial.task.sentinel and "target_sentinel" not in cell.vars:
        clauses.append("our targets begin with a sentinel, the cell's do not")
    # Without a step of training the prompt is only scored: a released one, or one for a second test set.
    started = group.trial.method.start_from and group.trial.steps != 0
    if started and not str(cell.method).endswith("_multitask"):
        clauses.append("our runs go on from a trained prompt, the cell's do not")
    if not cell.usable:
        clauses.append(f"the cell's own caveat rules it out ({cell.caveat})")
    return clauses


def _difference(name: str, cell: Reported, group: Group) -> str | None:
    """How one variable of the cell differs from our runs, as a clause; None where it agrees or only describes."""
    if name in DESCRIPTIVE:
        return None
    theirs = cell.vars[name]
    if name in COUNTERPARTS:
        ours = group.value(COUNTERPARTS[name])
    elif name in DERIVED:
        ours = DERIVED[name](group, cell)
    else:
        return f"the cell depends on {name} ({theirs}), to which nothing in our config answers"
    if ours is None:
        return f"the cell's {name} is {theirs}, our config has none"
    return None if _spelled(theirs) == _spelled(ours) else f"the cell's {name} is {theirs}, ours is {ours}"


def _backbone_frozen(group: Group, cell: Reported) -> bool:
    method = group.trial.method
    return not (method.name == "fine_tuning" or method.tunes_backbone)


def _train_task(group: Group, cell: Reported) -> str | None:
    return group.trial.task.train_task or (group.names.task or "").partition("_to_")[0] or None


def _stored_percent(group: Group, cell: Reported) -> float | None:
    """Stored over frozen parameters, with as many digits as the paper prints (0.1, 2 and 3)."""
    counts = next((record.parameters for record in group.scored if record.parameters.get("frozen")), {})
    if "stored" not in counts:
        return None
    return round(100 * counts["stored"] / counts["frozen"], decimals(cell.vars["stored_percent"]))


def _prompt_layers(group: Group, cell: Reported) -> str | None:
    layers = group.trial.model.layers
    return None if layers is None else _layers(group.trial.method.layers, layers)


DERIVED: Mapping[str, Callable[[Group, Reported], object]] = {
    "backbone_frozen": _backbone_frozen,
    # A group's score is a mean over seeds; `best_of_5` is a maximum, never comparable.
    "aggregate": lambda group, cell: "mean_of_5",
    "init_text": lambda group, cell: group.trial.method.init_text or "random",
    "train_task": _train_task,
    "stored_percent": _stored_percent,
    "prompt_layers": _prompt_layers,
}
"""Variable of a cell: what our runs have for it, where no single field of the config holds it; None: unknown."""


def _layers(chosen: str, layers: int) -> str:
    """`first:4`, `last:4` or `all` as the paper numbers layers: 1-4, 21-24, 1-24."""
    side, _, count = chosen.partition(":")
    if side == "first":
        return f"1-{count}"
    return f"{layers - int(count) + 1}-{layers}" if side == "last" else f"1-{layers}"


def _unstated(cell: Reported, group: Group) -> list[str]:
    """Variables of the method that our config sets and the cell leaves open: `prompt_length (ours: 20)`."""
    silent = [name for name in ("prompt_length", "init", "reparameterization") if name not in cell.vars]
    values = {name: group.value(COUNTERPARTS[name]) for name in silent}
    return [f"{name} (ours: {value})" for name, value in values.items() if value is not None]


def _spelled(value: object) -> object:
    return _SAME.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _why_not(
    group: Group,
    metric: str,
    cells: Sequence[Reported],
    candidates: Sequence[Reported],
    differing: Sequence[tuple[Reported, Sequence[str]]],
) -> str:
    """One sentence: which dimension keeps every cell of the papers away from our score.

    Args:
        group, metric, cells: as for `compare`.
        candidates: the cells with the same method, task and metric.
        differing: those with the same model too, each with its `mismatches`.
    """
    names = group.names
    if not candidates:
        return _nothing_like_it(group, metric, cells)
    if not differing:
        keys = sorted({cell.paper for cell in candidates}, key=PAPERS.index)
        whose = f"paper ({keys[0]})" if len(keys) == 1 else f"papers ({', '.join(keys)})"
        verb = "never ran" if names.model is None else "printed no such number for"
        rows = ", ".join(dict.fromkeys(str(cell.model) for cell in candidates))
        return f"The {whose} {verb} the model {names.model_name} (rows there: {rows})."
    closest, clauses = min(differing, key=lambda pair: (len(pair[1]), _rank(pair[0], group)))
    return f"{closest.at} of {closest.paper} differs: {'; '.join(clauses)}."


def _nothing_like_it(group: Group, metric: str, cells: Sequence[Reported]) -> str:
    task, method = group.names.task, group.names.method
    of_task = [cell for cell in cells if task is not None and cell.task == task and cell.kind in COMPARABLE_KINDS]
    if not of_task:
        return f"No paper reports the task {group.names.task_name}."
    of_method = [cell for cell in of_task if cell.method == method]
    if not of_method:
        there = ", ".join(sorted({str(cell.method) for cell in of_task}))
        return f"No paper reports the method {method} on {task} (methods there: {there})."
    there = ", ".join(sorted({cell.metric for cell in of_method}))
    return f"No paper prints the metric {metric} for {method} on {task} (metrics there: {there})."


def data_limit(group: Group) -> str | None:
    """Why the runs' data are not the paper's: a limit, or files of another size that `task.check_rows=false` let in."""
    task = group.trial.task
    other = "" if task.checks_rows else _other_sizes(group)
    reasons = [f"Our runs used other files ({other})."] if other else []
    if task.limit:
        parts = ", ".join(f"{split} {most}" for split, most in task.limit.items())
        reasons.append(f"Our runs used a part of the data only (limit: {parts}).")
    return " ".join(reasons) or None


def _other_sizes(group: Group) -> str:
    """Splits whose rows are not as many as the task states, of any run; a mixture's are `part/split`."""
    stated = group.trial.task.rows
    used = [item for record in group.records for item in record.provenance.get("data", {}).items()]
    texts = [
        f"{split}: {facts['rows']} rows, the original has {stated[split]}"
        for split, facts in used
        if split in stated and facts["rows"] != stated[split]
    ]
    return ", ".join(dict.fromkeys(texts))


def _why_not_run(group: Group, split: str, metric: str) -> str:
    if why := {r.missing[split][metric] for r in group.scored if metric in r.missing.get(split, {})}:
        return f"The value could not be computed: {'; '.join(sorted(why))}"
    if group.scored:
        return "No record of this group holds a finite value of this score."
    reasons = sorted({record.reason or "no reason recorded" for record in group.records})
    return f"All {len(group.records)} runs failed: {'; '.join(reasons)}"


def _remarks(group: Group, cell: Reported, also: Sequence[Reported], n: int) -> str:
    """What a reader must know beside the verdict: sentences, each with a space before it."""
    parts = ["One run: there is no interval."] if n == 1 else []
    if n < len(group.scored):
        parts.append(f"{len(group.scored) - n} of {len(group.scored)} runs have no finite value.")
    if group.trial.recipe.name is None:
        parts.append("Our hyperparameters come from no recipe of a paper.")
    if cell.kind != "result":
        parts.append(f"The reference is {registry.KINDS[cell.kind]}, not the paper's own result.")
    if silent := _unstated(cell, group):
        parts.append(f"The cell does not state {', '.join(silent)}.")
    if cell.our_metric == "ter":
        parts.append("Lower TER is better.")
    if cell.caveat:
        parts.append(f"Caveat: {cell.caveat.rstrip('.')}.")
    others = [f"{describe(other)} {_short(other.number)}" for other in also if other.number != cell.number]
    if others:
        parts.append(f"Other cells that agree in every variable: {', '.join(others)}.")
    return "".join(f" {part}" for part in parts)


def _nearest(candidates: Sequence[Reported], group: Group, split: str) -> tuple[Reported, ...]:
    """One cell a model and paper, the best ranked one, of our split where there is one."""
    best: dict[tuple[str, str | None], Reported] = {}
    ours = split_key(split)
    for cell in sorted(candidates, key=lambda c: (c.our_split != ours, _rank(c, group, context=True))):
        if cell.usable:
            best.setdefault((cell.paper, cell.model), cell)
    return tuple(sorted(best.values(), key=lambda cell: (PAPERS.index(cell.paper), candidates.index(cell))))


def _rank(cell: Reported, group: Group, context: bool = False) -> tuple[object, ...]:
    """Sort key, best first: our exhibit, kind, our paper, most variables that agree, precision, edition, copies.

    Args:
        context: for cells that do not agree: the fewest variables (a headline cell) come first instead.
    """
    paper, exhibit = group.exhibit
    here = paper == cell.paper and bool(exhibit) and any(table.endswith(exhibit) for table in _tables(cell.at))
    # Whether the backbone is frozen follows from the method: it tells no two cells of a method apart.
    checked = sum(name not in DESCRIPTIVE and name != "backbone_frozen" for name in cell.vars)
    return (
        not here,
        COMPARABLE_KINDS.index(cell.kind),
        group.names.paper is not None and cell.paper != group.names.paper,
        (registry.PRECISIONS.index(cell.precision), checked)
        if context
        else (-checked, registry.PRECISIONS.index(cell.precision)),
        _EDITIONS.index(cell.edition) if cell.edition in _EDITIONS else len(_EDITIONS),
        -(cell.independent_sources or 0),
        cell.id,
    )


@cache
def _tables(at: str) -> tuple[str, ...]:
    """The tables and figures in which a cell stands, as `Group.exhibit` spells them."""
    return tuple(plain_text(part) for part in at.split(" = "))


def describe(cell: Reported) -> str:
    """Where a cell is printed: paper, table and edition."""
    return f"{cell.paper}, {cell.at}" + (f" ({cell.edition})" if cell.edition else "")


def _short(number: float) -> str:
    return f"{number:.4f}".rstrip("0").rstrip(".")
