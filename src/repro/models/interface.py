"""What training and evaluation may ask of a loaded model: losses and predictions of a batch, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from repro.methods.base import Injection
from repro.models.attention.packing import Site
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Batch
from repro.models.encoding.encoding import Encode
from repro.models.prompt_positions import PromptPositions


@dataclass(frozen=True)
class RowLoss:
    """Cross-entropy of each row, in nats: `total` [N] summed over its labels, `count` [N] how many there are."""

    total: Tensor
    count: Tensor


@dataclass(frozen=True)
class LabelPositions:
    """Where packed sequences say their labels."""

    said_at: Tensor
    """[M] place in the row of tokens of the state that says each label"""
    ids: Tensor
    """[M]"""
    rows: Tensor
    """[M] row of the batch"""
    count: Tensor
    """[N] labels of each row"""


@dataclass(frozen=True)
class Reading:
    """How a pass reads a batch: everything about it that depends on the values of tensors, and so must be known to the
    host. For training it is made on the CPU; on a GPU, while that still works on the step before.

    A fixed reading has only shapes that all batches have whose tensors have the same shapes (`training.graphs`).
    """

    batch: Batch
    prompt: PromptPositions | None = None
    """Of the prompt; None without one at the input."""
    sites: Mapping[str, Site] | None = None
    """None: the batch is read as a padded rectangle."""
    labels: LabelPositions | None = None
    """Generating models, packed."""

    @property
    def mask(self) -> Tensor:
        """[N, T] 1 on real tokens and on the prompt"""
        return self.batch.mask if self.prompt is None else self.prompt.mask


class ModelAdapter(Protocol):
    """A backbone in the role of one kind of model."""

    backbone: Backbone
    encode: Encode
    pad_left: bool
    """Evaluation batches are padded on the left (decoder-only generation)."""

    def reading(self, batch: Batch, injection: Injection, fixed: bool = False) -> Reading:
        """How a training pass over the batch reads it; `fixed` as in `Reading`."""
        ...

    def losses(
        self, batch: Batch, injection: Injection, z_loss: float = 0.0, reading: Reading | None = None
    ) -> RowLoss:
        """Training loss of every row; models that generate can add a z-loss (`generation.label_losses`).

        Args:
            reading: made before, of the same batch; nothing is then looked up in the values of a tensor.
        """
        ...

    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[Any]:
        """One output an example: a class id, a list of tag ids, or a string."""
        ...
