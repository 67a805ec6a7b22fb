"""Finished trials that several tests use; each is trained once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK

SIZES = {"adapter": ("method.bottleneck=3",), "lora": ("method.rank=2",), "ia3": (), "fine_tuning": ()}
SWITCHES = {
    "prompt_tuning": ("method.initialisation=sampled_vocabulary",),
    "prefix_tuning": ("method.reparameterisation=none",),
}
SAME = ("task.max_input_length=64", "task.decoding.max_new_tokens=6", "trainer.optimiser.learning_rate=0.5")


@pytest.fixture(scope="session")
def trained(altered: Callable[..., Any], data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """trained(method, model, *overrides) -> Finished: a two-step trial (RTE unless the overrides name a task)."""
    from repro.config.schema import TrialConfig
    from repro.inference.restore import Finished
    from repro.trials.run import run
    from repro.trials.spec import trial_spec

    root = tmp_path_factory.mktemp("trained")
    places = [f"paths.{name}_root={root / name}" for name in ("results", "runs")]

    @cache
    def make(method: str, model: str, *overrides: str) -> Finished:
        size = SIZES.get(method, ("method.length=4",))
        cell = (f"model={model}", "task=rte", f"method={method}", *size, *SWITCHES.get(method, ()), *SAME)
        config = altered(*places, f"paths.data_root={data_root}", *QUICK, *cell, *overrides)
        outcome = run(trial_spec(TrialConfig.from_dict(config)))
        assert outcome.record is not None
        return Finished(outcome.record, outcome.folder)

    return make


def places_of(trial: Any) -> tuple[str, ...]:
    """Options of a command that works with the trial."""
    return (
        "--results",
        str(trial.folder.parents[1] / "results"),
        "--runs",
        str(trial.folder.parent),
        "--device",
        "cpu",
    )
