"""Methods, families and formats in pairs: two steps move the method's tensors alone; what was written predicts alike.

Generated from conf/method and the tiny models; a combination that is refused must be one of REFUSED, with its reason.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.nested import run
from tests.pairwise import covering

pytestmark = pytest.mark.smoke

CONF = Path(__file__).resolve().parents[2] / "conf"
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
FAMILIES = sorted(path.stem.removeprefix("tiny-") for path in (CONF / "model").glob("tiny-*.yaml"))
TASKS = {
    "encoder": (
        *(("pair", "rte"), ("choice", "copa"), ("ranking", "record"), ("tagging", "conll04"), ("cloze", "rte")),
        ("span", "squad"),
    ),
    "decoder": (("labels", "cb"), ("text", "e2e")),
    "encoder_decoder": (("labels", "copa"), ("text", "e2e")),
}
"""A task of each format; text_to_text with labels and with free text."""


def kind_of(name: str) -> str:
    import yaml

    return str(yaml.safe_load((CONF / "model" / f"tiny-{name}.yaml").read_text())["kind"])


VARIANTS = ("p_tuning+backbone", "p_tuning_v2+mlp", "p_tuning_v2+layers", "prompt_tuning+after")
"""Switches that change which tensors there are, or where they stand."""
EVERY_CELL = [
    (method, name, format, task)
    for method in (*METHODS, *VARIANTS)
    for name in FAMILIES
    for format, task in TASKS[kind_of(name)]
    if not ("+" in method and name not in ("bert", "gpt2", "t5"))
    if not (format == "cloze" and method in ("embedding_only", "infix_tuning", "prompt_design"))  # always refused
]
CELLS = covering(EVERY_CELL)
"""Every method with every family and every format, and every format with every family that has it."""
FOLDED = ("p_tuning_v2", "prefix_tuning", "lora_prefix", "embedding_only", "infix_tuning", "p_tuning")
"""Methods whose stored prompt came through an MLP here."""
OPTIONS = {
    "prompt_tuning": ["method.length=3", "method.initialisation=sampled_vocabulary"],
    "p_tuning_v2": ["method.length=3"],
    "prefix_tuning": ["method.length=3", "method.hidden=8"],
    "embedding_only": ["method.length=3", "method.hidden=8"],
    "infix_tuning": ["method.length=3", "method.hidden=8"],
    "p_tuning": ["method.length=3", "method.encoder=mlp"],
    "adapter": ["method.bottleneck=3"],
    "lora": ["method.rank=2"],
    "lora_prefix": ["method.length=3", "method.hidden=8", "method.rank=2"],
    "ft_top": ["method.blocks=1"],
    "p_tuning+backbone": [
        "method.length=3",
        "method.tune_backbone=true",
        "trainer.optimiser.backbone_learning_rate=0.01",
    ],
    "p_tuning_v2+mlp": ["method.length=3", "method.reparameterisation=mlp", "method.hidden=8"],
    "p_tuning_v2+layers": ["method.length=3", "method.layers=last:1"],
    "prompt_tuning+after": ["method.length=3", "method.initialisation=uniform", "method.placement=after"],
    "prompt_design": ["method.text=Answer.", "method.shots=1", "trainer.steps=0"],
}


def refused(method: str, name: str, format: str) -> str | None:
    """Part of the sentence that refuses a combination that makes no sense; None where it must run."""
    kind = kind_of(name)
    if method in ("embedding_only", "infix_tuning") and kind != "decoder":
        return "needs a decoder-only model"
    if method == "prompt_design" and kind == "encoder":
        return "words can only ask a model that generates"
    if method == "bitfit" and name in ("t5", "llama"):
        return "no bias"
    if format == "cloze" and name in ("deberta", "deberta-v2"):
        return "no language-model head"
    return None


def overrides(method: str, name: str, format: str, task: str) -> list[str]:
    """A trial of two steps that fits."""
    method, chosen = method.partition("+")[0], OPTIONS.get(method, [])
    found = [f"method={method}", f"model=tiny-{name}", f"task={task}", *chosen]
    if method == "p_tuning" and format != "cloze":
        found += ["method.placement=before", "method.head=linear"]
    if format == "cloze":
        found += ["method.head=verbaliser", "task.verbaliser={entailment: y, not_entailment: n}"]
    return found


@pytest.mark.parametrize(("method", "name", "format", "task"), CELLS, ids=["-".join(cell[:3]) for cell in CELLS])
def test_two_steps(method, name, format, task, quick, monkeypatch):
    from repro.errors import ReproError
    from repro.trials.prepared import Trial

    seen: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []
    real = Trial.prepare.__func__  # type: ignore[attr-defined]

    def prepare(cls: Any, *arguments: Any) -> Any:
        trial = real(cls, *arguments)
        backbone = {n: tensor.clone() for n, tensor in trial.backbone.whole.state_dict().items()}
        seen.append((trial, backbone, {n: t.detach().clone() for n, t in trial.method.parameters.items()}))
        return trial

    monkeypatch.setattr(Trial, "prepare", classmethod(prepare))
    why = refused(method, name, format)
    if why is not None:
        with pytest.raises(ReproError, match=why):
            run(quick(*overrides(method, name, format, task)))
        return
    plain = quick(*overrides(method, name, format, task))
    outcome = run(plain)
    record = outcome.record
    assert record is not None and record.status in ("done", "collapsed")
    assert record.cost["steps"] == (0 if method == "prompt_design" else 2)
    assert all(math.isfinite(value) for row in record.metrics.values() for value in row.values())
    [(trial, before, own)] = seen
    only_its_tensors_moved(trial, before, own, record)
    what_was_written_predicts_the_same(plain, trial, before, outcome)


def only_its_tensors_moved(trial: Any, before: dict[str, Any], own: dict[str, Any], record: Any) -> None:
    """All of the method's tensors, of the backbone those that it tunes, and the record counts them."""
    import torch

    after = trial.backbone.whole.state_dict()
    moved = {n for n, tensor in after.items() if not torch.equal(tensor, before[n])}
    tuned = {after[n].data_ptr() if n in after else None for n in trial.own}
    assert {after[n].data_ptr() for n in moved} <= tuned, "a frozen weight moved"
    # LoRA's A has no gradient while B is zero, but moves on the second step; what no example reaches stays.
    assert bool(moved) == bool(trial.own)
    for n, tensor in trial.method.parameters.items():
        if n.endswith("head.bias") and trial.task.format == "choice":
            continue  # it is the same for all choices: its gradient is nothing
        assert not torch.equal(tensor, own[n]), f"{n} did not move"
    counted = sum(t.numel() for t in own.values()) + sum(p.numel() for p in trial.own.values())
    assert record.parameters["trained"] == counted


def what_was_written_predicts_the_same(plain: dict[str, Any], trial: Any, before: dict[str, Any], outcome: Any) -> None:
    """The exported tensors in a fresh method of another seed: equal predictions and equal losses."""
    import torch
    from safetensors.torch import load_file

    from repro.config.schema import TrialConfig
    from repro.evaluation.decoding import mean_loss, predict
    from repro.trials.build import build_method, build_task
    from repro.trials.checks import load_examples
    from repro.trials.prepared import Trial

    file = outcome.folder / "prompt.safetensors"
    written = load_file(file) if file.is_file() else {}
    assert bool(written) == bool(trial.method.parameters or trial.own)
    config = TrialConfig.from_dict(plain | {"seed": 99})
    task = build_task(config)
    examples = load_examples(config, task)
    arguments = (config, task, examples, trial.selection, torch.device("cpu"), build_method(config))
    fresh = Trial.prepare(*arguments)
    weights = {n: tensor for n, tensor in written.items() if n.startswith("backbone.")}
    assert set(weights) == {f"backbone.{n}" for n in trial.own}
    fresh.method.restore({n: tensor for n, tensor in written.items() if n not in weights})
    for n, parameter in fresh.backbone.whole.named_parameters():
        parameter.data.copy_(weights.get(f"backbone.{n}", before[n]))
    fresh.backbone.whole.eval()
    split, decoding = plain["task"]["report_split"], plain["task"]["decoding"]
    with torch.no_grad():
        injection = fresh.method.injection(training=False)
        outputs = predict(fresh.adapter, task, examples[split], injection, decoding, 16, lambda count: None)
        ours, theirs = (
            mean_loss(t.adapter, task, examples[split], t.method.injection(training=False), 64, lambda count: None)
            for t in (fresh, trial)
        )
    lines = (outcome.folder / f"predictions-{split}.jsonl").read_text().splitlines()
    assert [json.loads(json.dumps(o)) for o in outputs] == [json.loads(line)["prediction"] for line in lines]
    if (
        plain["method"]["name"] in FOLDED and plain["method"].get("reparameterisation") != "embedding"
    ):  # made anew from an MLP in one of them: the last bits may differ
        assert ours == pytest.approx(theirs, rel=1e-5)
    else:
        assert ours == theirs


def test_most_of_the_matrix_runs():
    """The refusals are few: a method that is refused everywhere would pass every test above."""
    run = [cell for cell in CELLS if refused(*cell[:3]) is None]
    assert {cell[0] for cell in run} >= set(METHODS)
    assert {cell[1] for cell in run} == set(FAMILIES)
    assert len(run) > 0.75 * len(CELLS)
