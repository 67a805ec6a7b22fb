"""How a prefix is made from trainable tensors: directly, or through an MLP while training.

Both papers' code lays one position's numbers out as [2L, H, Dh], keys of layer l at index 2l and values at 2l + 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from repro.methods.base import Context, KeyValue, ModelSpec
from repro.methods.parts.initialisers import linear_default, normal, stack, uniform


def layer_indices(layers: str, total: int) -> tuple[int, ...]:
    """`all`, `first:k` or `last:k` as indices into a site's layers (Liu et al. Figure 3: ascending and descending)."""
    which, _, count = layers.partition(":")
    if which == "all":
        return tuple(range(total))
    return tuple(range(total))[: int(count)] if which == "first" else tuple(range(total))[-int(count) :]


def split_layers(flat: Tensor, spec: ModelSpec, site: str, layers: tuple[int, ...] | None = None) -> KeyValue:
    """[K, P, 2 x L x H x Dh] to keys and values [K, L, H, P, Dh], L counting `layers` (None: all of the site)."""
    trials, length, _ = flat.shape
    count = spec.sites[site] if layers is None else len(layers)
    parts = flat.view(trials, length, count, 2, spec.heads, spec.head_dim)  # K P L 2 H Dh
    keys, values = parts.permute(3, 0, 2, 4, 1, 5)  # each K L H P Dh
    return KeyValue(keys, values, layers)


def join_layers(kv: KeyValue) -> Tensor:
    """The inverse of `split_layers`."""
    parts = torch.stack([kv.keys, kv.values])  # 2 K L H P Dh
    return parts.permute(1, 4, 2, 0, 3, 5).flatten(2)  # K P (L 2 H Dh)


def mlp(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """tanh(E W1' + b1) W2' + b2 for every trial, or one more tanh layer between: [K, P, D] -> [K, P, outputs].

    Li and Liang section 4.3 (`control_trans` of the official code, `use_deep` the deeper one); Liu et al. section 3.3
    (`prefix_projection`).
    """
    layers = sum(f"{name}.w{i}" in tensors for i in (1, 2, 3))
    states = tensors[f"{name}.embedding"]
    for i in range(1, layers + 1):
        states = torch.baddbmm(tensors[f"{name}.b{i}"][:, None], states, tensors[f"{name}.w{i}"].mT)
        states = states.tanh() if i < layers else states
    return states


class Starts(Protocol):
    """Draws the MLP's starting values of one trial."""

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor: ...

    def linear(self, generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]: ...


class TorchDefaults:
    """`nn.Embedding` N(0, 1), `nn.Linear` uniform: Li and Liang's code, where `init_weights` is never called."""

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor:
        """[length, width]"""
        return normal(generator, length, width)

    def linear(self, generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs]."""
        return linear_default(generator, outputs, inputs)


class UniformEmbedding(TorchDefaults):
    """U[0, 1) in place of N(0, 1): the random start of Li and Liang's appendix A.5, which their code has not."""

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor:
        """[length, width]"""
        return uniform(generator, length, width, low=0.0, high=1.0)


class Gaussian:
    """N(0, std^2), zero biases: what `from_pretrained` makes of P-Tuning v2's modules (papers/liu2022 section (a))."""

    def __init__(self, std: float):
        self.std = std

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor:
        """[length, width]"""
        return normal(generator, length, width, std=self.std)

    def linear(self, generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs]."""
        return normal(generator, outputs, inputs, std=self.std), torch.zeros(outputs)


def build_mlp(
    context: Context,
    name: str,
    length: int,
    hidden: Sequence[int],
    outputs: int,
    starts: Starts,
    columns: int | None = None,
) -> dict[str, Tensor]:
    """`<name>.embedding` [K, P, E]; weights `w1` [K, k, E] ... and biases `b1` [K, k] ... of the layers, in order.

    Args:
        columns: E; None is the model's width D.
    """
    columns = columns or context.spec.width
    widths = [columns, *hidden, outputs]
    drawn = []
    for generator in context.generators:
        trial = {"embedding": starts.embedding(generator, length, columns)}
        for i, (inputs, units) in enumerate(itertools.pairwise(widths), 1):
            trial[f"w{i}"], trial[f"b{i}"] = starts.linear(generator, units, inputs)
        drawn.append(trial)
    return {f"{name}.{part}": torch.stack([d[part] for d in drawn]).requires_grad_() for part in drawn[0]}


def build_direct(context: Context, name: str, length: int, width: int, starts: Starts) -> dict[str, Tensor]:
    """`<name>` [K, P, width]: the rows themselves are trained."""
    return {name: stack(lambda g: starts.embedding(g, length, width), context.generators)}


def fit_mlp(tensors: Mapping[str, Tensor], name: str, target: Tensor, steps: int) -> None:
    """Train an MLP's layers, not its embedding, until its output is near `target` [P, outputs].

    Adam at 1e-4 on the mean squared error: `lowdata_init_train3` of Li and Liang's code (liliang2021 section (a)).
    """
    layers = [tensor for part, tensor in tensors.items() if part.startswith(f"{name}.") and "embedding" not in part]
    optimiser = torch.optim.Adam(layers, lr=1e-4)
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            (mlp(tensors, name) - target).square().flatten(1).mean(1).sum().backward()
            optimiser.step()
    for tensor in tensors.values():
        tensor.grad = None  # the embedding's too, which the fit leaves alone


def started(
    parameters: Mapping[str, Tensor], exported: Mapping[str, Tensor], reparameterisation: str
) -> dict[str, Tensor]:
    """`parameters` with the values of an exported prompt; a head of another shape (another task's) stays as drawn.

    Args:
        reparameterisation: what to set where an MLP is in the way, for the error.

    Raises:
        ValueError: the file has no such tensor, or one of another shape.
    """
    out = dict(parameters)
    for name, tensor in parameters.items():
        found = exported.get(name)
        fits = found is not None and found.shape[1:] == tensor.shape[1:]
        if fits and found is not None:
            out[name] = found.to(tensor.dtype).expand_as(tensor).clone().requires_grad_()
        elif name.startswith("head."):
            continue
        elif name.endswith((".embedding", ".w1")):
            raise ValueError(
                f"a stored prompt cannot start the layers that make one. Set method.{reparameterisation}, which trains "
                "the prompt itself."
            )
        elif found is None:
            raise ValueError(f"it has no tensor {name}, only {', '.join(sorted(exported)) or 'none'}.")
        else:
            raise ValueError(
                f"{name} is {tuple(found.shape[1:])} there and {tuple(tensor.shape[1:])} here: length, layers, sites "
                "and model must agree."
            )
    return out


def prefix_of(tensors: Mapping[str, Tensor], site: str) -> Tensor:
    """The prefix [K, P, 2 x L x H x Dh] of a site, through its MLP if it has one."""
    return tensors[f"{site}.prefix"] if f"{site}.prefix" in tensors else mlp(tensors, site)
