"""Our runs against the papers' cells: which numbers may be compared, and what the comparison says.

Two numbers are compared only when model, method, task, split, metric and every variable of the paper's cell agree with
our config, and our run saw all of the data. Anything else is `not comparable`, with the reason in one sentence and the
paper's nearest cells as context. A run of a stand-in model (no `paper_name`) therefore never gets a paper's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from repro.papers import registry
from repro.papers.registry import PAPERS, Reported, canonical_metric, decimals, split_key
from repro.report.compare.extra_mismatches import beyond
from repro.report.compare.groups import Group, lookup, plain_text
from repro.report.compare.tolerance import band

if TYPE_CHECKING:
    from repro.papers.statistics import Summary

VERDICTS = ("reproduced", "close", "above", "below", "not comparable", "not run")
COMPARABLE_KINDS = ("result", "author_rerun", "other_paper", "released_artifact")
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
"""Variable of a cell: where our config says the same. `_our_value` knows the ones that are derived; a variable that is
neither here nor there nor in `DESCRIPTIVE` makes the cell not comparable."""
RESTRICTING = ("train_size", "train_fraction")
"""Variables whose absence says something: a cell without them is of the whole training set."""
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
    """What one of our scores says about a paper's cell."""

    verdict: str
    reported: Reported | None
    """The cell compared with; None when not comparable."""
    difference: float | None
    """Our mean minus the paper's value, in our unit."""
    reason: str
    summary: Summary | None = None
    """n, mean, std and interval of our runs (None: not run)."""
    band: float | None = None
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
    same_model = [cell for cell in candidates if cell.model == group.names["model"]]
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
    theirs = agreeing[0]
    width, origin = band(theirs, summary)
    verdict = statistics.equivalence(values, theirs.number, width)
    reason = f"Equal means within {_short(width)} ({origin})." + _remarks(group, theirs, agreeing[1:], summary.n)
    gap = round(summary.mean - theirs.number, 6)
    return Comparison(verdict, theirs, gap, reason, summary, width, also=tuple(agreeing[1:]))


def _candidates(group: Group, cells: Sequence[Reported], metric: str) -> list[Reported]:
    """Cells of a comparable kind with the same method, task and metric."""
    ours = (group.names["method"], group.names["task"], canonical_metric(metric, group.names["task"]))
    if None in ours:
        return []
    kept = (cell for cell in cells if (cell.method, cell.task, cell.our_metric) == ours)
    return [cell for cell in kept if cell.kind in COMPARABLE_KINDS]


def mismatches(group: Group, split: str, cell: Reported) -> list[str]:
    """What differs between our score and a cell with the same method, task and metric: one clause each."""
    found = []
    if cell.model is None or cell.model != group.names["model"]:
        found.append(f"the cell's model is {cell.model}, ours is {group.names['model_name']}")
    if cell.our_split is None or cell.our_split != split_key(split):
        found.append(f"the cell's split is {cell.split}, ours is {split}")
    restricted = {name: lookup(group.config, COUNTERPARTS[name]) for name in RESTRICTING if name not in cell.vars}
    found += [
        f"the cell's training set is whole, ours is cut ({COUNTERPARTS[name]}={ours})"
        for name, ours in restricted.items()
        if ours is not None
    ]
    found += [clause for name in cell.vars if (clause := _difference(name, cell, group))]
    found += beyond(group.config, cell)
    if not cell.usable:
        found.append(f"the cell's own caveat rules it out ({cell.caveat})")
    return found


def _difference(name: str, cell: Reported, group: Group) -> str | None:
    """How one variable of the cell differs from our runs, as a clause; None where it agrees or only describes."""
    if name in DESCRIPTIVE:
        return None
    theirs = cell.vars[name]
    try:
        ours = lookup(group.config, COUNTERPARTS[name]) if name in COUNTERPARTS else _our_value(name, cell, group)
    except KeyError:
        return f"the cell depends on {name} ({theirs}), to which nothing in our config answers"
    if ours is None:
        return f"the cell's {name} is {theirs}, our config has none"
    return None if _spelled(theirs) == _spelled(ours) else f"the cell's {name} is {theirs}, ours is {ours}"


def _our_value(name: str, cell: Reported, group: Group) -> Any:
    """What our runs have for a variable that no single field of the config holds; None if that is unknown.

    Raises:
        KeyError: nothing of ours answers to the variable.
    """
    config = group.config
    if name == "backbone_frozen":
        tuned = lookup(config, "method.name") == "fine_tuning" or lookup(config, "method.tune_backbone")
        return not tuned
    if name == "aggregate":
        return "mean_of_5"  # a group's score is a mean over seeds; `best_of_5` is a maximum, never comparable
    if name == "init_text":
        return lookup(config, "method.init_text") or "random"
    if name == "train_task":
        return lookup(config, "task.options.train_task") or (group.names["task"] or "").partition("_to_")[0] or None
    if name == "stored_percent":
        # Stored over frozen parameters, with as many digits as the paper prints (0.1, 2 and 3).
        counts = next((r.parameters for r in group.scored if r.parameters.get("frozen")), {})
        share = 100 * counts["stored"] / counts["frozen"] if "stored" in counts else None
        return None if share is None else round(share, decimals(cell.vars[name]))
    if name == "prompt_layers":
        return _layers(str(lookup(config, "method.layers") or "all"), int(lookup(config, "model.layers")))
    raise KeyError(name)


def _layers(chosen: str, layers: int) -> str:
    """`first:4`, `last:4` or `all` as the paper numbers layers: 1-4, 21-24, 1-24."""
    side, _, count = chosen.partition(":")
    if side == "first":
        return f"1-{count}"
    return f"{layers - int(count) + 1}-{layers}" if side == "last" else f"1-{layers}"


def _unstated(cell: Reported, group: Group) -> list[str]:
    """Variables of the method that our config sets and the cell leaves open: `prompt_length (ours: 20)`."""
    silent = [name for name in ("prompt_length", "init", "reparameterization") if name not in cell.vars]
    values = {name: lookup(group.config, COUNTERPARTS[name]) for name in silent}
    return [f"{name} (ours: {value})" for name, value in values.items() if value is not None]


def _spelled(value: Any) -> Any:
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
        verb = "never ran" if names["model"] is None else "printed no such number for"
        rows = ", ".join(dict.fromkeys(str(cell.model) for cell in candidates))
        return f"The {whose} {verb} the model {names['model_name']} (rows there: {rows})."
    closest, clauses = min(differing, key=lambda pair: (len(pair[1]), _rank(pair[0], group)))
    return f"{closest.at} of {closest.paper} differs: {'; '.join(clauses)}."


def _nothing_like_it(group: Group, metric: str, cells: Sequence[Reported]) -> str:
    task, method = group.names["task"], group.names["method"]
    of_task = [cell for cell in cells if task is not None and cell.task == task and cell.kind in COMPARABLE_KINDS]
    if not of_task:
        return f"No paper reports the task {group.names['task_name']}."
    of_method = [cell for cell in of_task if cell.method == method]
    if not of_method:
        there = ", ".join(sorted({str(cell.method) for cell in of_task}))
        return f"No paper reports the method {method} on {task} (methods there: {there})."
    there = ", ".join(sorted({cell.metric for cell in of_method}))
    return f"No paper prints the metric {metric} for {method} on {task} (metrics there: {there})."


def data_limit(group: Group) -> str | None:
    """Why the runs' data are not the paper's: a limit, or files of another size that `task.check_rows=false` let in."""
    other = _other_sizes(group) if lookup(group.config, "task.check_rows") is False else ""
    said = [f"Our runs used other files ({other})."] if other else []
    limit = lookup(group.config, "task.limit") or {}
    parts = [f"{split} {limit[split]}" for split in ("train", "validation", "test") if limit.get(split) is not None]
    said += [f"Our runs used a part of the data only (limit: {', '.join(parts)})."] if parts else []
    return " ".join(said) or None


def _other_sizes(group: Group) -> str:
    """Splits whose rows are not as many as the task states, of any run; a mixture's are `part/split`."""
    parts = lookup(group.config, "task.parts") or {}
    stated = {
        f"{name}/{split}": rows for name, part in parts.items() for split, rows in (part.get("rows") or {}).items()
    }
    stated |= lookup(group.config, "task.rows") or {}
    found = [item for record in group.records for item in (record.provenance.get("data") or {}).items()]
    said = [
        f"{split}: {facts['rows']} rows, the original has {stated[split]}"
        for split, facts in found
        if split in stated and facts["rows"] != stated[split]
    ]
    return ", ".join(dict.fromkeys(said))


def _why_not_run(group: Group, split: str, metric: str) -> str:
    if why := {r.missing[split][metric] for r in group.scored if metric in r.missing.get(split, {})}:
        return f"The value could not be computed: {'; '.join(sorted(why))}"
    if group.scored:
        return "No record of this group holds a finite value of this score."
    reasons = sorted({record.reason or "no reason recorded" for record in group.records})
    return f"All {len(group.records)} runs failed: {'; '.join(reasons)}"


def _remarks(group: Group, cell: Reported, also: Sequence[Reported], n: int) -> str:
    """What a reader must know beside the verdict, as sentences with a space before each."""
    parts = ["One run: there is no interval."] if n == 1 else []
    if n < len(group.scored):
        parts.append(f"{len(group.scored) - n} of {len(group.scored)} runs have no finite value.")
    if lookup(group.config, "recipe.name") is None:
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


def _rank(cell: Reported, group: Group, context: bool = False) -> tuple[Any, ...]:
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
        group.paper is not None and cell.paper != group.paper,
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
