"""A method's tensors beside a loaded model, and the views of tuned weights that the optimiser takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from repro.errors import ConfigError
from repro.methods.base import Context, Method
from repro.models.backbone import Backbone
from repro.models.prefix_activations import activations
from repro.tasks.base import Task
from repro.training.batching import mixed_seed

_INITIAL = 0x1217
"""Stream of the seed that draws the method's starting values."""


def build_tensors(
    method: Method, backbone: Backbone, task: Task, seeds: Sequence[int], start_from: str | None = None
) -> None:
    """Draw the method's starting values, each trial's from its own seed, and move them beside the model.

    Args:
        start_from: file of an exported prompt that takes the place of the drawn values.

    Raises:
        ConfigError: the file holds another method's tensors, or tensors of other shapes.
    """
    outputs = None
    if backbone.spec.kind == "encoder" and task.format != "cloze":  # the cloze's head is the language model's own
        several = len(task.parts) or 1  # data sets of a mixture, each with a start and an end
        outputs = {"choice": 1, "ranking": 2, "span": 2 * several}.get(task.format, len(task.labels))
    context = Context(
        spec=backbone.spec,
        embeddings=backbone.model.get_input_embeddings().weight.detach().float(),
        tokenize=lambda text: backbone.tokenizer(text, add_special_tokens=False)["input_ids"],
        labels=task.labels,
        outputs=outputs,
        activations=lambda ids: activations(backbone, ids),
        generators=[torch.Generator().manual_seed(mixed_seed(seed, _INITIAL)) for seed in seeds],
    )
    method.build(context)
    if start_from is not None:
        _start(method, start_from)
    method.parameters = {
        name: tensor.detach().to(backbone.device, torch.promote_types(backbone.dtype, torch.float32)).requires_grad_()
        for name, tensor in method.parameters.items()
    }


def _start(method: Method, file: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        method.start(load_file(str(Path(file).expanduser())))
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"method.start_from={file}: {error}") from error


def tuned_weights(own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Views [1, ...] of tuned weights of the backbone, for the optimiser, and what copies their gradients over."""
    views = {f"backbone.{name}": parameter.detach()[None] for name, parameter in own.items()}

    def sync() -> None:
        for name, parameter in own.items():
            gradient, parameter.grad = parameter.grad, None
            views[f"backbone.{name}"].grad = None if gradient is None else gradient[None]

    return views, sync
