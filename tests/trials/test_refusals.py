"""What is refused before a model is trained, and what a resumed trial must not take for its own."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from repro.config.joint import joint_key
from repro.config.run_key import run_key
from repro.config.schema import TrialConfig
from repro.errors import ConfigError, Interrupted, ReproError, TrialFailed
from repro.models.weights import checkpoint_hash
from repro.store.record import Record
from repro.store.store import Store
from repro.sweeps.executors.joint import Joint
from repro.training import progress
from repro.training.checkpoint import Progress
from repro.training.step import TrialBatch
from repro.trials.checks import refuse_other_weights
from repro.trials.spec import trial_spec
from tests.nested import run, validate
from tests.training.tiny_training import make_trial

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("method=p_tuning_v2", "model=tiny-bert", "task=rte")
TAGS = ("method=p_tuning_v2", "model=tiny-bert", "task=conll04")

# Numbers -------------------------------------------------------------------------------------------------------------

NUMBERS = [
    *("trainer.checkpoint_seconds=nan", "trainer.checkpoint_seconds=-1.0", "trainer.optimiser.learning_rate=inf"),
    *("trainer.optimiser.learning_rate=nan", "trainer.optimiser.weight_decay=nan", "trainer.clip_norm=inf"),
    *("trainer.optimiser.beta1=-0.5", "trainer.optimiser.beta2=1.5", "trainer.optimiser.epsilon=-1e-8"),
    *("trainer.optimiser.step_offset=-1", "trainer.optimiser.decay_rate=-0.8", "trainer.z_loss=nan"),
    *(
        "trainer.schedule.gamma=inf",
        "trainer.backbone_dropout=nan",
        "trainer.joint_trials=²",
        "trainer.evaluate_every=²",
    ),
]


@pytest.mark.parametrize("override", NUMBERS)
def test_numbers_out_of_range_and_those_that_are_none(override: str, quick: Any) -> None:
    key, _, value = override.partition("=")
    plain = quick(*CLASSES)
    *groups, name = key.split(".")
    node: Any = plain
    for group in groups:
        node = node[group]
    node[name] = value if "²" in value else int(value) if name == "step_offset" else float(value)
    with pytest.raises(ConfigError, match=rf"^{key}=\S+: must be "):
        validate(plain)


# Metrics -------------------------------------------------------------------------------------------------------------

METRICS: list[tuple[tuple[str, ...], list[dict[str, Any]]]] = [
    (CLASSES, [{"name": "multi_bleu"}]),
    (CLASSES, [{"name": "span_f1"}]),
    (TAGS, [{"name": "accuracy"}, {"name": "rouge"}]),
]


@pytest.mark.parametrize(("trial", "metrics"), METRICS)
def test_a_metric_that_cannot_take_the_answers_is_refused_before_the_model_loads_alone_and_jointly(
    trial: tuple[str, ...], metrics: list[dict[str, Any]], quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repro.trials import lifecycle

    monkeypatch.setattr(lifecycle.Attempt, "prepare", lambda *_, **__: pytest.fail("the model was loaded"))
    plain = quick(*trial)
    plain["task"]["metrics"] = metrics
    with pytest.raises(ConfigError, match=r"^task\.metrics: .* cannot score the answers of ") as alone:
        run(plain)
    results: list[Any] = []
    specs = [trial_spec(TrialConfig.from_dict(plain | {"seed": seed})) for seed in (1, 2)]
    assert joint_key(specs[0].config) is not None
    Joint().run(specs, lambda spec, result: results.append(result))
    assert [(type(result), str(result)) for result in results] == [(ConfigError, str(alone.value))] * 2
    assert not list((tmp_path / "results").rglob("record.json")) and not list(tmp_path.rglob("lock"))


@pytest.mark.parametrize("step", ["evaluation", "scoring"])
def test_an_error_of_a_metric_while_training_is_a_failed_record_alone_and_jointly(
    step: str, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repro.trials import prepared

    def broken(*_: Any) -> Any:
        raise ValueError("no such class")

    def config(seed: int) -> dict[str, Any]:
        rule = ["trainer.selection.metric=loss"] if step == "scoring" else []
        return quick(*CLASSES, f"seed={seed}", *rule)

    monkeypatch.setattr(prepared, "score", broken)
    said = rf"its {step} ended with ValueError: no such class \(test_refusals\.py:\d+\)\."
    with pytest.raises(TrialFailed, match=said):
        run(config(1))
    results: list[Any] = []
    Joint().run([trial_spec(TrialConfig.from_dict(config(seed))) for seed in (2, 3)], lambda _, r: results.append(r))
    assert [type(result) for result in results] == [TrialFailed] * 2
    records = [Store(tmp_path / "results" / "records").get(run_key(config(seed))) for seed in (1, 2, 3)]
    assert {(record.status, record.reason) for record in records if record} == {("failed", str(results[0]))}
    assert len([record for record in records if record]) == 3


# Resuming ------------------------------------------------------------------------------------------------------------


def interrupted(plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a trial after its first step."""

    def stop(self: Any, save: Any) -> None:
        save()
        raise Interrupted("asked to stop")

    with monkeypatch.context() as patch:
        patch.setattr(progress.ProgressReporter, "stop_if_asked", stop)
        with pytest.raises(Interrupted):
            run(plain)


@pytest.mark.parametrize("changed", ["data", "weights"])
def test_a_checkpoint_of_other_data_or_weights_is_not_continued(
    changed: str, quick: Any, own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repro.trials import prepared

    plain = quick(*CLASSES, "trainer.steps=2", "trainer.evaluate_every=1", f"paths.data_root={own_data}")
    plain["task"]["data_dir"] = str(own_data / "superglue" / "RTE")
    interrupted(plain, monkeypatch)
    if changed == "data":
        train = own_data / "superglue" / "RTE" / "train.jsonl"
        train.write_text("".join(train.read_text().splitlines(keepends=True)[:6]))
    else:
        real = prepared.Loaded.of

        def other(*arguments: Any) -> Any:
            loaded = real(*arguments)
            object.__setattr__(loaded, "weights", "0" * 64)
            return loaded

        monkeypatch.setattr(prepared.Loaded, "of", other)
    what = r"data \(train\)" if changed == "data" else "weights"
    with pytest.raises(ConfigError, match=rf"was made with other {what}: .* rerun=true to start anew\.$"):
        run(plain)
    steps: list[int] = []
    record = run(plain | {"rerun": True}, on_step=lambda step, _: steps.append(step)).record
    assert record is not None and record.cost["steps"] == 2 and steps == [1, 2], "it started anew"


def test_the_same_data_and_weights_are_continued(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, steps = quick(*CLASSES, "trainer.steps=2", "trainer.evaluate_every=1"), []
    interrupted(plain, monkeypatch)
    run(plain, on_step=lambda step, _: steps.append(step))
    assert steps == [2]


def test_a_record_of_other_weights_in_the_same_folder_does_not_answer(quick: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": torch.zeros(2, 3)}, folder / "model.safetensors")
    plain = quick(*CLASSES)
    plain["model"] |= {"source": "folder", "location": str(folder), "weights": None}
    config = TrialConfig.from_dict(plain)
    record = Record("0" * 16, "done", {}, 1, provenance={"weights": {"sha256": checkpoint_hash(folder)}})
    refuse_other_weights(record, config)
    save_file({"w": torch.ones(2, 3)}, folder / "model.safetensors")
    with pytest.raises(ConfigError, match=r"was made with other weights: .* another model\.name, or put the old"):
        refuse_other_weights(record, config)
    (folder / "model.safetensors").unlink()
    refuse_other_weights(record, config)


# Progress files, weights, warnings -----------------------------------------------------------------------------------

PROGRESS = ["[]", "null", "[" * 5000, '{"step": "1"}', '{"name": "\\ud800"}']


def test_a_broken_progress_file_never_ends_a_trial(quick: Any) -> None:
    whole = {"step": 1, "steps": 2, "loss": 0.5, "seconds_per_step": 1.0, "phase": "training", "written": 1.0}
    broken = [{"losses_every": 0}, {"losses": "abc"}, {"step": -1}, {"losses": [None] * 10**5}, {"loss": {}}]
    for number, text in enumerate([*PROGRESS, *(json.dumps(whole | change) for change in broken)]):
        plain = quick(*CLASSES, "trainer.steps=1", f"seed={100 + number}")
        spec = trial_spec(TrialConfig.from_dict(plain))
        spec.folder.mkdir(parents=True)
        (spec.folder / "progress.json").write_text(text)
        outcome = run(plain)
        assert outcome.record is not None and outcome.record.status in ("done", "collapsed"), text[:60]


def test_a_frozen_weight_that_is_no_number_is_named() -> None:
    trial = make_trial("tiny-bert", "p_tuning_v2", "pair")
    name, weight = list(trial.adapter.backbone.model.named_parameters())[7]
    weight.data.view(-1)[3] = math.nan
    [failure] = TrialBatch().step([trial], [Progress()])
    assert isinstance(failure, ReproError)
    assert str(failure).startswith(f"the loss became nan at step 1: the frozen weight {name} of the model is NaN")


@pytest.mark.parametrize("checkpointing", ["true", "false"])
def test_a_trial_gives_no_warning(checkpointing: str, quick: Any) -> None:
    run(quick(*CLASSES, "seed=7"))  # what libraries say when they are imported is not ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(quick(*CLASSES, "seed=8", f"trainer.gradient_checkpointing={checkpointing}"))
    assert torch.is_grad_enabled()
