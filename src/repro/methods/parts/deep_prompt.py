"""What prefix-tuning and P-Tuning v2 share: a prefix of keys and values at the layers of the chosen sites."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from repro.errors import ConfigError
from repro.methods.base import Context, Injection, ModelSpec
from repro.methods.parts.heads import build_head, head_of
from repro.methods.parts.reparameterisation import (
    Starts,
    build_direct,
    build_mlp,
    fit_mlp,
    layer_indices,
    prefix_of,
    split_layers,
)
from repro.methods.parts.tensor_method import TensorMethod


class DeepPrompt(TensorMethod):
    """P positions of trainable keys and values in front of the real ones, at every layer or some of them.

    Args:
        name: of the method, for records.
        length: P.
        widths: of the hidden layers of the MLP that makes the prefix from an embedding [P, D], folded away on export;
            empty: the prefix itself is trained.
        starts: how starting values are drawn.
        dropout: on the prefix, drawn anew for every example of a batch while training.
        sites: empty means every site of the model, each with tensors of its own.
        shift_positions: real tokens start at position P, as `past_key_values` did in the official code.
        layers: `all`, `first:k` or `last:k` of each site (Liu et al. Figure 3).
        init_text: words whose keys and values in the frozen model are the starting prefix (Li and Liang section 7.4).
        init_steps: updates that fit the MLP to them.
        embedding_width: columns of the embedding that the MLP reads; None is D.
        direct: the value of `reparameterisation` that trains the prefix itself, for messages.
    """

    def __init__(
        self,
        name: str,
        length: int,
        widths: Sequence[int],
        starts: Starts,
        dropout: float,
        sites: Sequence[str],
        shift_positions: bool,
        layers: str = "all",
        init_text: str | None = None,
        init_steps: int = 500,
        embedding_width: int | None = None,
        direct: str = "none",
    ):
        self.name, self.length, self.widths = name, length, tuple(widths)
        self.starts, self.dropout, self.sites, self.shift_positions = starts, dropout, tuple(sites), shift_positions
        self.layers, self.init_text, self.init_steps = layers, init_text, init_steps
        self.embedding_width, self.trains_prompt_with = embedding_width, f"reparameterisation={direct}"
        self.parameters: dict[str, Tensor] = {}
        self._spec: ModelSpec | None = None

    def build(self, context: Context) -> None:
        """Tensors of every site, then the head (encoders)."""
        self._spec = context.spec
        self.parameters = {}
        for site in self._sites():
            width = context.spec.kv_width(site, len(self._layers(site)))
            if self.widths:
                columns = self.embedding_width
                self.parameters |= build_mlp(context, site, self.length, self.widths, width, self.starts, columns)
            else:
                self.parameters |= build_direct(context, f"{site}.prefix", self.length, width, self.starts)
        if self.init_text is not None:
            self._start_from_text(context, self.init_text)
        self.parameters |= build_head(context)

    def _sites(self) -> tuple[str, ...]:
        assert self._spec is not None, "build() comes first"
        return self.sites or tuple(self._spec.sites)

    def _layers(self, site: str) -> tuple[int, ...]:
        assert self._spec is not None, "build() comes first"
        return layer_indices(self.layers, self._spec.sites[site])

    def _start_from_text(self, context: Context, text: str) -> None:
        """The prefix starts at the frozen model's own keys and values of the words (`add_prefix_space` as there)."""
        ids = context.tokenize(f" {text}")
        if len(ids) != self.length:
            raise ConfigError(
                f"method.length={self.length}: method.init_text={text!r} is {len(ids)} tokens for this model, and each "
                f"starts one position. Set method.length={len(ids)}."
            )
        if context.activations is None:
            return  # only shapes are wanted
        found = context.activations(ids)
        for site in self._sites():
            target = found[site].unflatten(1, (-1, context.spec.kv_width(site, 1)))[:, list(self._layers(site))]
            if self.widths:
                fit_mlp(self.parameters, site, target.flatten(1), self.init_steps)
            else:
                start = target.flatten(1).expand(context.trials, -1, -1)
                self.parameters[f"{site}.prefix"] = start.clone().requires_grad_()

    def _prefixes(self) -> dict[str, Tensor]:
        """{site: [K, P, 2 x L x H x Dh]}"""
        return {site: prefix_of(self.parameters, site) for site in self._sites()}

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """Keys and values of every site, made once a call."""
        assert self._spec is not None, "build() comes first"
        chosen = None if self.layers == "all" else self._layers
        return Injection(
            kv={
                site: split_layers(flat, self._spec, site, chosen(site) if chosen else None)
                for site, flat in self._prefixes().items()
            },
            kv_dropout=self.dropout if training else 0.0,
            position_shift=self.length if self.shift_positions else 0,
            head=head_of(self.parameters),
        )

    def folded(self) -> dict[str, Tensor]:
        """`<site>.prefix` [K, P, 2 x L x H x Dh] whether it comes through an MLP or not, and the head."""
        return {f"{site}.prefix": flat for site, flat in self._prefixes().items()} | self.head_tensors()
