"""`repro ensemble`: several prompts of one cell answer in one batch and vote (Lester et al. section 6, Table 3).

The vote goes to the most frequent answer after parsing; of several equally frequent ones to that of the earliest member
in the order given. (The paper does not state its rule.) Tagged sentences vote word by word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro.config.run_key import run_key
from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.inference.restore import SHARED, Finished, backbone_of, method_of, refuse_others, refuse_tuned, task_of
from repro.store.record import Provenance, Record, Selection
from repro.tasks.clusters import cluster_numbers
from repro.trials.provenance import provenance


def vote(answers: Sequence[Any]) -> Any:
    """The majority's answer; on a tie the earliest member's among the tied."""
    if isinstance(answers[0], list):
        return [vote(words) for words in zip(*answers, strict=True)]
    counts = Counter(map(repr, answers))
    most = max(counts.values())
    return next(answer for answer in answers if counts[repr(answer)] == most)


def ensemble(trials: Sequence[Finished], data_root: Path, batch_size: int, device: Any, command: list[str]) -> Record:
    """A record of the vote: its scores, and under `selection` each member's, their mean and their best.

    Raises:
        ConfigError: fewer than two members, or members of different cells.
    """
    if len(trials) < 2:
        raise ConfigError("repro ensemble needs at least two run keys: trials that differ in their seed, say.")
    keys = [trial.record.key for trial in trials]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"repro ensemble: a run key stands twice in {', '.join(keys)}. Give each once.")
    refuse_others(trials, (*SHARED, "method.name", "task.name", "task.format", "task.limit", "task.decoding"))
    refuse_tuned(trials)
    first = trials[0]
    task = task_of(first, data_root)
    split = first.plain["task"]["report_split"]
    examples = task.examples(split)
    answers = _answers(trials, task, examples, batch_size, device)
    return _record(trials, task, split, examples, answers, provenance(command, device.type))


def _answers(
    trials: Sequence[Finished], task: Any, examples: Sequence[Any], batch_size: int, device: Any
) -> list[list[Any]]:
    """Parsed answers [member][example]: every example stands in the batch once for each member."""
    from repro.evaluation.decoding import decoded
    from repro.methods.parts.joining import joined
    from repro.trials.prepared import adapted

    backbone = backbone_of(trials[0], device)
    try:
        injection = joined([method_of(trial, backbone, task).injection(training=False) for trial in trials])
    except ValueError as error:
        raise ConfigError(f"these trials cannot share a batch: {error}. Choose trials of one method.") from error
    count = len(trials)
    adapter = adapted(backbone, task, TrialConfig.from_dict(trials[0].plain).task)
    encoded = [items for example in examples for items in [adapter.encode(task.render(example), False)] * count]
    rows = list(range(count)) * len(examples)
    decoding = trials[0].plain["task"]["decoding"]
    said = decoded(adapter, encoded, task.format, injection, decoding, batch_size, rows)
    members = (said[member::count] for member in range(count))
    return [[task.parse(output, example) for output, example in zip(own, examples, strict=True)] for own in members]


def _record(
    trials: Sequence[Finished],
    task: Any,
    split: str,
    examples: Sequence[Any],
    answers: Sequence[Sequence[Any]],
    circumstances: Provenance,
) -> Record:
    from repro.evaluation.scoring import higher_is_better, score

    voted = score(task, examples, [vote(one) for one in zip(*answers, strict=True)])
    members = [score(task, examples, own).values for own in answers]
    config = dict(trials[0].plain)
    config["method"] = config["method"] | {
        "name": "prompt_ensemble",
        "members": [trial.record.key for trial in trials],
        "member_method": config["method"]["name"],
    }
    selection: Selection = {
        "rule": "majority vote, ties to the earliest member",
        "split": split,
        "members": [{"key": t.record.key, "seed": t.record.seed, **v} for t, v in zip(trials, members, strict=True)],
        "mean": {name: sum(one[name] for one in members) / len(members) for name in voted.values},
        "best": {
            name: (max if higher_is_better(task, name) else min)(one[name] for one in members) for name in voted.values
        },
    }
    counts = trials[0].record.parameters
    return replace(
        Record(run_key(config), "collapsed" if voted.collapsed else "done", config, trials[0].record.seed),
        reason=voted.collapsed,
        metrics={split: voted.values},
        statistics={split: voted.statistics},
        clusters={split: numbers} if (numbers := cluster_numbers(examples)) else {},
        missing={split: voted.missing} if voted.missing else {},
        selection=selection,
        parameters=counts | {k: sum(t.record.parameters[k] for t in trials) for k in ("trained", "stored", "prompt")},
        provenance={
            **circumstances,
            "data": task.fingerprint(),
            "weights": trials[0].record.provenance.get("weights"),
        },
        deviations=[*trials[0].record.deviations, "the paper does not state how ties are broken"],
    )


def shown(record: Record) -> str:
    """The table that the command prints: members, mean, best, vote."""
    names = list(record.metrics[record.selection["split"]])
    rows = [
        [f"{one['key']} (seed {one['seed']})", *(one[name] for name in names)] for one in record.selection["members"]
    ]
    rows += [["mean", *(record.selection["mean"][name] for name in names)]]
    rows += [["best", *(record.selection["best"][name] for name in names)]]
    rows += [["vote", *(record.metrics[record.selection["split"]][name] for name in names)]]
    lines = [f"{'':28}" + "".join(f"{name:>16}" for name in names)]
    lines += [f"{row[0]:28}" + "".join(f"{value:16.2f}" for value in row[1:]) for row in rows]
    return "\n".join([*lines, f"recorded as {record.key}"])
