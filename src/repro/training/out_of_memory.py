"""What training does when memory runs out: shorter passes first, then recomputed activations."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from repro.errors import print_line
from repro.models.backbone import recompute
from repro.training.batching import WHOLE
from repro.training.trainable import TrainableTrial


class MemoryPolicy:
    """How much less memory a step must take than usual. The gradient stays the same, up to the order of summation."""

    def __init__(self) -> None:
        self.times_as_many = 1
        """Times the usual number of passes."""

    def use_less(self, trials: Sequence[TrainableTrial], divisible: bool) -> bool:
        """Take the next measure; False if there is none left.

        Args:
            divisible: the step has more examples than passes.
        """
        if trials[0].group.part != WHOLE:  # all processes must make the same passes
            return False
        if divisible:
            self.times_as_many *= 2
            times = f"{self.times_as_many} times as many passes"
            print_line(f"out of memory: from here on a step is cut into {times}.", sys.stderr)
            return True
        backbone = trials[0].adapter.backbone
        if backbone.recomputes or not backbone.model.supports_gradient_checkpointing:
            return False
        setting = "trainer.gradient_checkpointing"
        print_line(f"out of memory: from here on activations are computed twice ({setting}).", sys.stderr)
        recompute(backbone)
        return True
