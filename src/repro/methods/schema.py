"""What every method's settings have in common, and what the runner may ask of them. Imports no torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NoReturn

from repro.errors import ConfigError
from repro.methods.base import Injection, Method
from repro.methods.facts import FamilyFacts, ModelFacts, prefix_numbers, sites_of
from repro.methods.fields import facts_of, setting


class Entry(StrEnum):
    """Where a method's tensors enter the model."""

    INPUT = "input"
    """Among the input embeddings."""
    KEYS_VALUES = "keys_values"
    """In front of the keys and values of attention."""
    INFIX = "infix"
    """At the input, and added to the keys and values at the same positions."""
    BLOCKS = "blocks"
    """Layers behind the blocks."""
    BACKBONE = "backbone"
    """Weights of the backbone, or low-rank layers beside them."""


_KINDS = {
    "decoder": ("a decoder-only model", "gpt2-medium"),
    "encoder": ("an encoder", "bert-large-cased"),
    "encoder_decoder": ("an encoder-decoder", "t5-base-lm-adapt"),
}
"""A kind of model in words, and an example."""


@dataclass(frozen=True)
class Capabilities:
    """What a method can do, whatever its settings. The defaults are those of a plain new method."""

    enters: tuple[Entry, ...] = ()
    size: str | None = None
    """The setting that makes the method larger or smaller: what it stores grows linearly with it."""
    kinds: tuple[str, ...] = ("encoder", "decoder", "encoder_decoder")
    """Kinds of model it serves."""
    why_not_others: str = ""
    """Why it does not serve the other kinds."""
    no_size: str = ""
    """Where there is no such setting: what to choose instead, as a sentence."""
    trains: bool = True
    """False: nothing is trained, `trainer.steps` must be 0."""
    words: bool = False
    """It is words in front of the input (`text` and `shots` of its settings), so it needs a model that generates."""
    no_label_scoring: str | None = None
    """Why labels cannot be scored without generation, where that is so."""
    peft_type: str | None = None
    """`peft_type` of an export to the peft library: PROMPT_TUNING, PREFIX_TUNING, or LORA and IA3 where peft's own
    layers are in the backbone. None: peft has no such forward pass."""
    imports: str | None = None
    """`peft_type` of the prompts from elsewhere that it can start from."""

    @property
    def tunes_backbone(self) -> bool:
        """Weights inside the backbone are trained, with any settings."""
        return Entry.BACKBONE in self.enters


@dataclass(kw_only=True)
class MethodConfig:
    """Settings of a method. A subclass adds the method's own fields, its `capabilities` and its `build`."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    name: str = setting()
    """The name under which the method is registered."""
    paper_section: str = setting("", changes_result=False)
    """Where the method is described, for docs and records."""
    equation: str = setting("", changes_result=False)
    """What it computes, for docs."""
    stored_formula: str = setting("", changes_result=False)
    """Numbers kept after training, without head and tuned backbone: in the letters of `repro.cli.methods_page`."""
    trained_formula: str = setting("", changes_result=False)
    """Numbers trained, where they differ from the stored ones."""
    tuned_formula: str = setting("", changes_result=False)
    """Numbers trained inside the backbone or beside its matrices, where the method does that."""
    deviations: list[str] = setting(factory=list, changes_result=False)
    """Known differences from the paper: copied into every record."""
    start_from: str | None = setting(None, changes_result=False)
    """A prompt.safetensors (of a finished trial, or imported) whose prompt is the starting value."""
    start_sha256: str | None = setting(None)
    """Hash of that file, filled in at composition: the run key counts the content, not the file's location."""
    start_task: str | None = setting(None, changes_result=False)
    """The task that the starting prompt was trained on, for records: `mpt_...` makes it the paper's MPT-2."""

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """The method with these settings; its tensors are made later, by `Method.build`.

        Args:
            init_words: the task's words for initialisation, where the settings name none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build")

    def tunes_backbone(self) -> bool:
        """Whether weights inside the backbone are trained."""
        return self.capabilities.tunes_backbone

    def joint_key(self) -> dict[str, object] | None:
        """Trials with equal keys can train jointly, as far as the method is concerned; None: this one trains alone.

        The key is where the tensors enter, and the settings declared `shared_jointly`. A value that is the default of
        an `Injection` is left out, so that a method without the setting can join one that has it.
        """
        if not self.capabilities.enters or not self.capabilities.trains or self.tunes_backbone():
            return None
        plain = {field.name: field.default for field in dataclasses.fields(Injection)}
        values = dataclasses.asdict(self)
        shared = {f.name: values[f.name] for f in dataclasses.fields(self) if facts_of(f).shared_jointly}
        key: dict[str, object] = {"enters": [str(entry) for entry in self.capabilities.enters]}
        return key | {name: value for name, value in shared.items() if name not in plain or plain[name] != value}

    def positions_taken(self, site: str, kind: str) -> int:
        """Position ids that the prompt takes from the real tokens of a site (encoder or decoder)."""
        return 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """About how many numbers are trained, without heads; for estimates of memory."""
        return 0.0

    def without_fitting(self) -> MethodConfig:
        """The same settings for a method whose tensors are restored: no starting values are fitted."""
        return self

    def beyond_peft(self, kind: str) -> str | None:
        """Why the peft library has no checkpoint that computes the same on this kind of model; None where it has."""
        if kind == "encoder":
            return "its classifiers have heads of their own (RoBERTa's with a hidden layer) and no frozen pooler"
        if self.capabilities.peft_type is None:
            return f"it has no {self.name} with this forward pass"
        return None

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """Refuse settings that cannot work on a model.

        Raises:
            ConfigError: with the key, the value, what is allowed and the fix.
        """
        self._check_kind(model)

    def _check_kind(self, model: ModelFacts) -> None:
        if model.kind not in self.capabilities.kinds:
            needed, example = _KINDS[self.capabilities.kinds[0]]
            raise ConfigError(
                f"method={self.name} with model={model.name} ({model.kind}): {self.capabilities.why_not_others}, so it "
                f"needs {needed}. Choose one (model={example}), or method=prompt_tuning."
            )


def refuse(key: str, value: object, allowed: str, fix: str) -> NoReturn:
    """Raise ConfigError: the method's setting with its value, what is allowed, and the fix."""
    raise ConfigError(f"method.{key}={value}: {allowed}. {fix}")


@dataclass
class PrefixConfig(MethodConfig):
    """Settings of methods that put keys and values in front of the real ones at the layers of the model."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.KEYS_VALUES,), size="length", peft_type="PREFIX_TUNING", imports="PREFIX_TUNING"
    )

    length: int = setting(20, at_least=1)
    hidden: int = setting(512, at_least=1)
    """Width of the MLP's hidden layers; Li and Liang's k (`mid_dim`)."""
    layers: str = setting("all", shared_jointly=True)
    """all | first:k | last:k of each site's layers (Liu et al. Figure 3)"""
    prefix_dropout: float = setting(0.0, at_least=0, below=1)
    sites: list[str] = setting(factory=list, shared_jointly=True)
    """encoder, decoder, cross; empty means every site the model has."""
    shift_positions: bool = True
    """Real tokens start at position `length`: Li and Liang's code for GPT-2. In their BART they start at 0: false."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))
    """linear | verbaliser (Liu et al. Table 4)"""

    def positions_taken(self, site: str, kind: str) -> int:
        """The prefix's length at its sites, where it shifts the real tokens."""
        return self.length if self.shift_positions and site in (self.sites or (site,)) else 0

    def hidden_layers(self) -> tuple[int, ...]:
        """Widths of the hidden layers of the MLP that makes the prefix; empty: the prefix itself is trained."""
        raise NotImplementedError

    def trained_numbers(self, model: ModelFacts) -> float:
        """The MLP's weights, or the prefix itself."""
        return prefix_numbers(model, self.length, model.width, self.hidden_layers(), self.sites, self.layers)

    def beyond_peft(self, kind: str) -> str | None:
        """Prefixes of encoder-decoders, of some layers, or without shifted positions."""
        if reason := super().beyond_peft(kind):
            return reason
        if kind == "encoder_decoder":
            return "its prefix on an encoder-decoder reaches the decoder's self-attention only, not encoder and cross"
        if self.layers != "all":
            return "its prefixes are in every layer"
        return None if self.shift_positions else "its prefixes shift the position ids"

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """Sites must be the model's own; `layers` is all, first:k or last:k with 1 <= k <= the layers of every site."""
        super().check(model, family, task_format)
        sites = sites_of(model)
        if not set(self.sites) <= set(sites):
            fix = f"Set method.sites=[{next(iter(sites))}] or [] for all."
            refuse("sites", list(self.sites), f"{model.name} has {', '.join(sites)}", fix)
        most = min(sites.values())
        match = re.fullmatch(r"(?:first|last):(\d+)", self.layers)
        if self.layers != "all" and not (match and 1 <= int(match.group(1)) <= most):
            allowed = f"must be all, first:k or last:k with k from 1 to {most} ({model.name})"
            refuse("layers", self.layers, allowed, f"Set method.layers=last:{most}, say.")


def check_placement(placement: str, task_format: str) -> None:
    """Only the cloze format has a template.

    Raises:
        ConfigError: `template` in another format.
    """
    if placement == "template" and task_format != "cloze":
        allowed = "only a task in the cloze format has a template with positions for the prompt"
        refuse("placement", placement, allowed, "Set task.format=cloze, or method.placement=before.")


def settings_from(schema: type[MethodConfig], values: Mapping[str, object]) -> MethodConfig:
    """An instance of a schema from a mapping.

    Raises:
        ConfigError: a key that the schema does not have.
    """
    known = [field.name for field in dataclasses.fields(schema)]
    for key in values:
        if key not in known:
            allowed = f"{schema.__name__} has no such key, only {', '.join(known)}"
            refuse(key, values[key], allowed, "Correct its name, or leave it out.")
    return schema(**values)  # type: ignore[arg-type]
