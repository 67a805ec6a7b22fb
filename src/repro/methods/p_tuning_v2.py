"""P-Tuning v2 (Liu et al. 2022): deep prompts for understanding tasks, with a linear head (section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from repro.methods.deep_prompt import DeepPrompt
from repro.methods.reparameterisation import Gaussian


def p_tuning_v2(
    length: int,
    reparameterisation: str = "embedding",
    hidden: int = 512,
    prefix_dropout: float = 0.1,
    init_std: float = 0.02,
    sites: Sequence[str] = (),
    shift_positions: bool = True,
    layers: str = "all",
) -> DeepPrompt:
    """Prefixes of keys and values at every layer; `reparameterisation` is `embedding` (none) or `mlp` (section 3.3).

    Starts at N(0, 0.02^2) and zero biases, because `from_pretrained` re-initialises new modules in the official run.
    """
    widths = (hidden,) if reparameterisation == "mlp" else ()
    starts = Gaussian(init_std)
    return DeepPrompt("p_tuning_v2", length, widths, starts, prefix_dropout, sites, shift_positions, layers)
