"""What a method may ask about a backbone before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from repro.errors import ConfigError
from repro.registry import Registry


class FamilyFacts(Protocol):
    """Facts of a model family (`repro.models.families`)."""

    @property
    def title(self) -> str:
        """Its name in sentences."""
        ...

    @property
    def biases(self) -> bool:
        """Its linear layers or norms have bias terms."""
        ...

    @property
    def embeds_twice(self) -> bool:
        """Its embedding module can be applied again behind an input-level prompt."""
        ...

    @property
    def sentinels(self) -> bool:
        """Its vocabulary has sentinel tokens (`<extra_id_0>`)."""
        ...

    @property
    def shared_dropout(self) -> bool:
        """Hidden dropout masks a table that all rows of a batch share, so that trials cannot train jointly with it."""
        ...


FAMILIES: Registry[FamilyFacts] = Registry("model.family", "repro.models.families", ConfigError)
"""Facts of families by name. A family's module says them; it loads no torch until a model is made."""


class ModelFacts(Protocol):
    """Facts of a backbone (`conf/model`)."""

    name: str
    kind: str
    """encoder | decoder | encoder_decoder"""
    layers: int
    decoder_layers: int | None
    heads: int
    kv_heads: int | None
    head_dim: int
    width: int
    parameters: int | None


def family_facts(name: str) -> FamilyFacts:
    """The facts of the family with that name.

    Raises:
        ConfigError: there is none.
    """
    return FAMILIES.get(name)


def sites_of(model: ModelFacts) -> dict[str, int]:
    """{attention site: its layers}"""
    if model.kind != "encoder_decoder":
        return {model.kind: model.layers}
    decoder = model.decoder_layers or model.layers
    return {"encoder": model.layers, "decoder": decoder, "cross": decoder}


def takes_input_prompt(site: str, kind: str) -> bool:
    """Whether an input-level prompt stands in the sequence of this site: the encoder's, or a decoder-only model's."""
    return site == ("decoder" if kind == "decoder" else "encoder")


def prefix_numbers(
    model: ModelFacts, length: int, columns: int, hidden: Sequence[int], sites: Sequence[str] = (), layers: str = "all"
) -> float:
    """Trained numbers of a prefix of keys and values, without biases.

    Args:
        columns: of the embedding [length, columns] behind an MLP.
        hidden: widths of the MLP's hidden layers; empty: the prefix itself is trained.
        sites: that have a prefix; empty: all.
        layers: `all`, `first:k` or `last:k` of each.
    """
    numbers = 0.0
    for site, total in sites_of(model).items():
        if sites and site not in sites:
            continue
        count = total if layers == "all" else int(layers.partition(":")[2])
        outputs = 2 * count * (model.kv_heads or model.heads) * model.head_dim
        if hidden:
            numbers += length * columns + sum(a * b for a, b in pairwise((columns, *hidden, outputs)))
        else:
            numbers += length * outputs
    return numbers
