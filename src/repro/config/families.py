"""What the rules must know about a model family before torch is loaded. Its structure is in `repro.models.families`."""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ConfigError


@dataclass(frozen=True)
class FamilyFacts:
    """Facts of a model family; the defaults are those of most."""

    name: str
    """`model.family`"""
    title: str
    """Its name in sentences."""
    biases: bool = True
    """Its linear layers or norms have bias terms."""
    embeds_twice: bool = False
    """Its embedding module can be applied again behind an input-level prompt."""
    sentinels: bool = False
    """Its vocabulary has `<extra_id_0>`."""
    shared_dropout: bool = False
    """Hidden dropout masks a table that all rows of a batch share: with dropout trials cannot train jointly."""


_FAMILIES: dict[str, FamilyFacts] = {}


def register(facts: FamilyFacts) -> None:
    """Make a family known to the rules; its module in `repro.models.families` has the rest."""
    _FAMILIES[facts.name] = facts


for _facts in (
    FamilyFacts("bart", "BART"),
    FamilyFacts("bert", "BERT", embeds_twice=True),
    FamilyFacts("deberta", "DeBERTa", shared_dropout=True),
    FamilyFacts("deberta_v2", "DeBERTa v2", shared_dropout=True),
    FamilyFacts("glm", "GLM"),
    FamilyFacts("gpt2", "GPT-2"),
    FamilyFacts("llama", "Llama"),
    FamilyFacts("roberta", "RoBERTa", embeds_twice=True),
    FamilyFacts("t5", "T5", biases=False, sentinels=True),
):
    register(_facts)


def family_facts(name: str) -> FamilyFacts:
    """The facts of the family with that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _FAMILIES:
        raise ConfigError(
            f"model.family={name}: must be one of {', '.join(sorted(_FAMILIES))}. Set model.family to one of these."
        )
    return _FAMILIES[name]
