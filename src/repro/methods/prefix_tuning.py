"""Prefix-tuning (Li and Liang 2021): keys and values at every layer, through an MLP while training (section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from repro.methods.deep_prompt import DeepPrompt
from repro.methods.reparameterisation import TorchDefaults, UniformEmbedding

DEPTH = {"none": 0, "mlp": 1, "deep": 2}
"""Hidden layers of each reparameterisation."""


def prefix_tuning(
    length: int,
    reparameterisation: str = "mlp",
    hidden: int = 512,
    prefix_dropout: float = 0.0,
    sites: Sequence[str] = (),
    shift_positions: bool = True,
    layers: str = "all",
    init_text: str | None = None,
    init_steps: int = 500,
    embedding_width: int | None = None,
    init_distribution: str = "normal",
) -> DeepPrompt:
    """P_theta[i, :] = MLP_theta(P'_theta[i, :]) (equation 3).

    As in the official code P' has D columns and `hidden` is the MLP's inner width; the paper calls k the width of P',
    which `embedding_width` sets. `reparameterisation: none` trains the prefix itself (`init_shallow`); `deep` has two
    hidden layers (`use_deep`). P', or the prefix itself, is drawn from N(0, 1) as in the code, or with
    `init_distribution: uniform` from U[0, 1) as appendix A.5 says. `init_text` starts at the activations of real words
    (section 7.4).
    """
    starts = UniformEmbedding() if init_distribution == "uniform" else TorchDefaults()
    widths = (hidden,) * DEPTH[reparameterisation]
    return DeepPrompt(
        "prefix_tuning",
        length,
        widths,
        starts,
        prefix_dropout,
        sites,
        shift_positions,
        layers,
        init_text,
        init_steps,
        embedding_width,
    )
