"""Learning-rate factors against the schedulers that the papers' code used."""

import pytest
import torch

from repro.training.schedules import schedule


def optimiser() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def walked(scheduler: torch.optim.lr_scheduler.LRScheduler, updates: int, every: int = 1) -> list[float]:
    """The rate of each update, the scheduler stepped after every `every` of them."""
    rates = []
    for update in range(updates):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        if (update + 1) % every == 0:
            scheduler.step()
    return rates


@pytest.mark.parity
@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (3, 10), (10, 10), (2, 3), (0, 1)])
def test_linear_equals_transformers(warmup: int, total: int) -> None:
    from transformers import get_linear_schedule_with_warmup

    factor = schedule("linear", warmup, 0.95, total, 4)
    reference = walked(get_linear_schedule_with_warmup(optimiser(), warmup, total), total + 2)
    assert [factor(step) for step in range(total + 2)] == pytest.approx(reference, abs=1e-15)
    assert max(reference) > 0 and reference[total] == 0.0


@pytest.mark.parity
@pytest.mark.parametrize("warmup", [0, 4])
def test_constant_equals_transformers(warmup: int) -> None:
    from transformers import get_constant_schedule_with_warmup

    factor = schedule("constant", warmup, 0.95, 10, 4)
    reference = walked(get_constant_schedule_with_warmup(optimiser(), warmup), 12)
    assert [factor(step) for step in range(12)] == pytest.approx(reference, abs=1e-15)
    assert factor(11) == 1.0 and factor(0) == (0.0 if warmup else 1.0)


@pytest.mark.parity
@pytest.mark.parametrize("per_epoch", [1, 4])
def test_exponential_equals_torch_stepped_once_an_epoch(per_epoch: int) -> None:
    factor = schedule("exponential", 0, 0.95, 20, per_epoch)
    reference = walked(torch.optim.lr_scheduler.ExponentialLR(optimiser(), gamma=0.95), 20, every=per_epoch)
    assert [factor(step) for step in range(20)] == pytest.approx(reference, rel=1e-14)
    assert factor(per_epoch - 1) == 1.0 and factor(per_epoch) == pytest.approx(0.95)


def test_last_of_80_epochs_is_as_small_as_the_paper_code_makes_it() -> None:
    factor = schedule("exponential", 0, 0.95, 80 * 29, 29)
    assert factor(79 * 29) == pytest.approx(0.017, abs=5e-4)  # papers/liu2022 section (a)


@pytest.mark.parametrize("name", ["constant", "linear", "exponential"])
def test_warmup_rises_linearly_from_0(name: str) -> None:
    factor = schedule(name, 4, 0.5, 100, 50)
    assert [factor(step) for step in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert factor(4) == 1.0
