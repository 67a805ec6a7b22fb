"""Several prompts of one cell answer in one batch and vote (`repro ensemble`; Lester et al. section 6, Table 3).

The vote goes to the most frequent answer after parsing; of several equally frequent ones to that of the earliest member
in the order given. (The paper does not state its rule.) Tagged sentences vote word by word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.run_key import run_key
from repro.errors import ConfigError
from repro.inference.restore import (
    SHARED,
    Finished,
    adapter_of,
    backbone_of,
    method_of,
    refuse_others,
    refuse_tuned,
    task_of,
)
from repro.store.record import DataFacts, Provenance, Record, Selection
from repro.tasks.base import Example, Task
from repro.tasks.clusters import cluster_numbers
from repro.trials.provenance import provenance

if TYPE_CHECKING:
    import torch

CELL = ("method.name", "task.name", "task.format", "task.limit", "task.decoding")
"""Values of the config in which members must agree, beside those of the backbone."""


def vote(answers: Sequence[object]) -> object:
    """The majority's answer; on a tie the earliest member's among the tied."""
    if isinstance(answers[0], list):
        return [vote(words) for words in zip(*(words for words in answers if isinstance(words, list)), strict=True)]
    counts = Counter(map(repr, answers))
    most = max(counts.values())
    return next(answer for answer in answers if counts[repr(answer)] == most)


def ensemble(
    trials: Sequence[Finished], data_root: Path, batch_size: int, device: torch.device, command: list[str]
) -> Record:
    """A record of the vote: its scores, and under `selection` each member's, their mean and their best.

    Raises:
        ConfigError: fewer than two members, or members of different cells.
    """
    if len(trials) < 2:
        raise ConfigError("repro ensemble needs at least two run keys: trials that differ in their seed, say.")
    keys = [trial.record.key for trial in trials]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"repro ensemble: a run key stands twice in {', '.join(keys)}. Give each once.")
    refuse_others(trials, (*SHARED, *CELL))
    refuse_tuned(trials)
    task = task_of(trials[0], data_root)
    examples = task.examples(trials[0].config.task.report_split)
    _refuse_other_data(trials[0], task)
    answers = _answers(trials, task, examples, batch_size, device)
    return _record(trials, task, examples, answers, provenance(command, device.type))


def _refuse_other_data(trial: Finished, task: Task) -> None:
    """Raises ConfigError: the split that is voted on is not what the trial was scored on."""
    split = trial.config.task.report_split
    known, now = (trial.record.provenance.get("data") or {}).get(split), task.fingerprint().get(split)
    if known is not None and now is not None and dict(known) != dict(now):
        raise ConfigError(
            f"{trial.name}: the {split} split of {task.name} has changed since it was scored. Put the old file back, "
            "or name the folder that has it with --data."
        )


def _answers(
    trials: Sequence[Finished], task: Task, examples: Sequence[Example], batch_size: int, device: torch.device
) -> list[list[object]]:
    """Parsed answers [member][example]: every example stands in the batch once for each member."""
    from repro.evaluation.decoding import decoded, decoding_settings
    from repro.methods.parts.joining import joined

    backbone = backbone_of(trials[0], device)
    try:
        injection = joined([method_of(trial, backbone, task).injection(training=False) for trial in trials])
    except ValueError as error:
        raise ConfigError(f"these trials cannot share a batch: {error}. Choose trials of one method.") from error
    count = len(trials)
    adapter = adapter_of(trials[0], backbone, task)
    encoded = [items for example in examples for items in [adapter.encode(task.render(example), False)] * count]
    rows = list(range(count)) * len(examples)
    decoding = decoding_settings(trials[0].config.task.decoding, adapter, task, examples)
    outputs = decoded(adapter, encoded, task.format, injection, decoding, batch_size, rows)
    return [
        [task.parse(output, example) for output, example in zip(outputs[member::count], examples, strict=True)]
        for member in range(count)
    ]


def _record(
    trials: Sequence[Finished],
    task: Task,
    examples: Sequence[Example],
    answers: Sequence[Sequence[object]],
    circumstances: Provenance,
) -> Record:
    from repro.evaluation.scoring import higher_is_better, score

    first, split = trials[0].record, trials[0].config.task.report_split
    voted = score(task, examples, [vote(votes) for votes in zip(*answers, strict=True)])
    members = [score(task, examples, answered).values for answered in answers]
    own = {
        "name": "prompt_ensemble",
        "members": [trial.record.key for trial in trials],
        "member_method": trials[0].config.method.name,
    }
    config = first.config | {"method": first.config["method"] | own}
    values = {name: [member[name] for member in members] for name in voted.values}
    selection: Selection = {
        "rule": "majority vote, ties to the earliest member",
        "split": split,
        "members": [{"key": t.record.key, "seed": t.record.seed, **v} for t, v in zip(trials, members, strict=True)],
        "mean": {name: sum(column) / len(column) for name, column in values.items()},
        "best": {n: max(column) if higher_is_better(task, n) else min(column) for n, column in values.items()},
    }
    weights = first.provenance.get("weights")
    data = {name: DataFacts(rows=read["rows"], sha256=read["sha256"]) for name, read in task.fingerprint().items()}
    return replace(
        Record(run_key(config), "collapsed" if voted.collapsed else "done", config, first.seed),
        reason=voted.collapsed,
        metrics={split: voted.values},
        statistics={split: voted.statistics},
        clusters={split: numbers} if (numbers := cluster_numbers(examples)) else {},
        missing={split: voted.missing} if voted.missing else {},
        selection=selection,
        parameters=first.parameters
        | {name: sum(t.record.parameters[name] for t in trials) for name in ("trained", "stored", "prompt")},
        provenance={
            **circumstances,
            "data": data,
            "weights": weights,
        },
        deviations=[*first.deviations, "the paper does not state how ties are broken"],
    )


def shown(record: Record) -> str:
    """The table that the command prints: members, mean, best, vote."""
    selection = record.selection
    vote_values = record.metrics[selection["split"]]
    rows = [(f"{member['key']} (seed {member['seed']})", member) for member in selection["members"]]
    rows += [("mean", selection["mean"]), ("best", selection["best"]), ("vote", vote_values)]
    lines = [f"{'':28}" + "".join(f"{name:>16}" for name in vote_values)]
    lines += [f"{title:28}" + "".join(f"{values[name]:16.2f}" for name in vote_values) for title, values in rows]
    return "\n".join([*lines, f"recorded as {record.key}"])
