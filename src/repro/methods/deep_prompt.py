"""What prefix-tuning and P-Tuning v2 share: a prefix of keys and values at every layer of the chosen sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from repro.methods.base import Context, Injection, ModelSpec
from repro.methods.heads import build_head, head_of, per_trial
from repro.methods.reparameterisation import Starts, build_direct, build_mlp, prefix_of, split_layers


class DeepPrompt:
    """P positions of trainable keys and values in front of the real ones, at every layer.

    Args:
        name: of the method, for records.
        length: P.
        use_mlp: train an embedding [P, D] and an MLP that makes the prefix; folded away on export.
        hidden: the MLP's hidden width k.
        starts: how starting values are drawn.
        dropout: on the prefix, drawn anew for every example of a batch while training.
        sites: empty means every site of the model, each with tensors of its own.
        shift_positions: real tokens start at position P, as `past_key_values` did in the official code.
    """

    tuning = None

    def __init__(
        self,
        name: str,
        length: int,
        use_mlp: bool,
        hidden: int,
        starts: Starts,
        dropout: float,
        sites: Sequence[str],
        shift_positions: bool,
    ):
        self.name, self.length, self.use_mlp, self.hidden = name, length, use_mlp, hidden
        self.starts, self.dropout, self.sites, self.shift_positions = starts, dropout, tuple(sites), shift_positions
        self.parameters: dict[str, Tensor] = {}
        self._spec: ModelSpec | None = None

    def build(self, context: Context) -> None:
        """Tensors of every site, then the head (encoders)."""
        self._spec = context.spec
        self.parameters = {}
        for site in self.sites or tuple(context.spec.sites):
            if self.use_mlp:
                self.parameters |= build_mlp(context, site, self.length, self.hidden, self.starts)
            else:
                self.parameters |= build_direct(context, site, self.length, self.starts)
        self.parameters |= build_head(context)

    def _prefixes(self) -> dict[str, Tensor]:
        """{site: [K, P, 2 x L x H x Dh]}"""
        assert self._spec is not None, "build() comes first"
        return {site: prefix_of(self.parameters, site) for site in self.sites or tuple(self._spec.sites)}

    def injection(self, training: bool) -> Injection:
        """Keys and values of every site, made once a call."""
        assert self._spec is not None, "build() comes first"
        return Injection(
            kv={site: split_layers(flat, self._spec, site) for site, flat in self._prefixes().items()},
            kv_dropout=self.dropout if training else 0.0,
            position_shift=self.length if self.shift_positions else 0,
            head=head_of(self.parameters),
        )

    def export(self) -> dict[str, Tensor]:
        """`<site>.prefix` [K, P, 2 x L x H x Dh] whether it came through an MLP or not, and the head."""
        head = {name: t.detach().clone() for name, t in self.parameters.items() if name.startswith("head.")}
        return {f"{site}.prefix": flat.detach().clone() for site, flat in self._prefixes().items()} | head

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Takes what `export` gave; the MLP, if there was one, is gone and the prefix itself becomes the parameter."""
        self.parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in exported.items()}

    def parameter_counts(self) -> dict[str, int]:
        """`prompt` is P x 2 x L x H x Dh over all sites; an MLP trains more than is stored (Li and Liang, issue 17)."""
        assert self._spec is not None, "build() comes first"
        sites = self.sites or tuple(self._spec.sites)
        prompt = sum(self.length * self._spec.kv_width(site) for site in sites)
        head = per_trial(self.parameters, "head.")
        return {"trained": per_trial(self.parameters), "stored": prompt + head, "prompt": prompt, "head": head}
