"""Learning-rate factors: what the base rate is multiplied by at a step."""

from __future__ import annotations

from collections.abc import Callable


def schedule(
    name: str, warmup_steps: int, gamma: float, total_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """The factor at step t = 0, 1, ... (the first update uses t = 0).

    Args:
        name: constant; linear (to 0 after `total_steps`, as transformers' Trainer); exponential (gamma once per epoch,
            as P-Tuning v2's `ExponentialTrainer`).
        warmup_steps: the factor first rises linearly from 0 over so many steps.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / max(1, warmup_steps)
        if name == "linear":
            return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
        if name == "exponential":
            return gamma ** (step // steps_per_epoch)
        return 1.0

    return factor
