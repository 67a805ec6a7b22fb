"""Weights from the hub, a folder, an installed package or (tests) a random draw; facts checked against the config."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
import transformers
from torch import nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from repro.config.schema import ModelConfig, TrainerConfig
from repro.errors import ModelError, WeightsUnavailable
from repro.models.attention.prefix_attention import use
from repro.models.backbone import Backbone, spec_of, token_table
from repro.models.checkpoint_checks import check_facts, check_finite, check_folder, check_missing, check_tokenizer
from repro.models.decoder import DecoderAdapter
from repro.models.encoder import EncoderAdapter
from repro.models.encoder_decoder import EncoderDecoderAdapter, texts
from repro.models.encoding.encoding import decoder_encoding, encoder_decoder_encoding, encoder_encoding
from repro.models.encoding.span_encoding import SpanOptions
from repro.models.encoding.vocabulary import token_ids
from repro.models.families.family import Family, family
from repro.models.interface import ModelAdapter
from repro.models.untrained.random_model import random_model
from repro.models.weights import checkpoint_hash, module_hash

PACKING: Mapping[str, bool | str] = {"auto": "auto", "true": True, "false": False}
SENTINEL = "<extra_id_0>"
"""What a task with `sentinel` begins its targets with (`tasks.wording`)."""

MASKED = "AutoModelForMaskedLM"

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def package_file(location: str) -> Path:
    """`package:path/in/it` to a path of the installed package.

    Raises:
        ModelError: the package is not installed.
    """
    package, _, inner = location.partition(":")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise WeightsUnavailable(
            f"model.location={location}: the Python package '{package}' is not installed. "
            "Install the packaged models with: make offline-models"
        )
    return Path(next(iter(found.submodule_search_locations))) / inner


@dataclass(frozen=True)
class LoadOptions:
    """How a backbone is loaded: settings of the trainer."""

    dtype: str = "float32"
    """Storage and compute: a key of DTYPES."""
    attention: str = "sdpa"
    packing: str = "auto"
    """auto | true | false"""
    backbone_dropout: float | None = None
    """None: the hidden layers have none."""
    attention_dropout: float | None = None
    """None: as `backbone_dropout`."""
    dropout_masks: str = "each_position"
    """each_position | whole_sequence"""

    @classmethod
    def of(cls, trainer: TrainerConfig) -> LoadOptions:
        """The trainer's."""
        dropouts = trainer.backbone_dropout, trainer.attention_dropout, trainer.dropout_masks
        return cls(trainer.dtype, trainer.attention, trainer.packing, *dropouts)

    def dropouts(self, kind: Family) -> dict[str, float]:
        """Values of the model's config: off unless asked for, so that train mode alone draws nothing."""
        hidden = self.backbone_dropout or 0.0
        attention = hidden if self.attention_dropout is None else self.attention_dropout
        return dict.fromkeys(kind.attention_dropout, attention) | dict.fromkeys(kind.hidden_dropout, hidden)


@dataclass(frozen=True)
class Location:
    """Where `from_pretrained` finds a checkpoint."""

    place: str
    """A folder, or a hub id."""
    options: Mapping[str, str] = field(default_factory=dict)
    """`revision` of a hub id, or `gguf_file` in the folder."""

    @classmethod
    def of(cls, model: ModelConfig) -> Location:
        """The model's.

        Raises:
            ModelError: no such file.
        """
        if model.source == "hub":
            return cls(model.location, {"revision": model.revision or "main"})
        path = package_file(model.location) if model.source == "package" else Path(model.location).expanduser()
        if not path.exists():
            raise WeightsUnavailable(
                f"model.location={path}: no such file or folder. Set model.location to the folder of the checkpoint."
            )
        if path.suffix == ".gguf":
            return cls(str(path.parent), {"gguf_file": path.name})
        return cls(str(path))

    def files(self) -> Path:
        """The folder with the weights, or the GGUF file, once they were loaded."""
        if "revision" in self.options:
            from huggingface_hub import snapshot_download

            patterns = ["*.safetensors", "*.safetensors.index.json"]
            revision = self.options["revision"]
            found = snapshot_download(self.place, revision=revision, allow_patterns=patterns, local_files_only=True)
            return Path(found)
        return Path(self.place) / self.options.get("gguf_file", "")


def _pretrained(
    model: ModelConfig, kind: Family, options: LoadOptions, auto_class: str, format: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
    """Model, tokenizer, and the names of weights that the checkpoint lacks."""
    transformers.logging.set_verbosity_error()  # what a checkpoint lacks goes into the record's deviations instead
    transformers.logging.disable_progress_bar()
    # Else transformers asks a bot on the hub, from a thread of its own, to convert a checkpoint that is a pickle.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    at = Location.of(model)
    if not at.options:
        check_folder(model, Path(at.place))
    # P-Tuning v2's code asks for the space in tagging alone (tasks/{ner,srl}/get_trainer.py).
    words = kind.word_tokenizer_options if format == "tagging" else {}
    kind.configuration()  # a family of our own is known to the Auto classes once its module is there
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(at.place, trust_remote_code=False, **words, **at.options)
        config = transformers.AutoConfig.from_pretrained(at.place, trust_remote_code=False, **at.options)
        check_facts(model, kind, config)
        for name, value in options.dropouts(kind).items():
            setattr(config, name, value)
        auto = getattr(transformers, auto_class)
        safe = {} if "gguf_file" in at.options else {"use_safetensors": True}  # never a pickle; GGUF is none
        loaded, info = auto.from_pretrained(
            at.place,
            config=config,
            dtype=DTYPES[options.dtype],
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, with their names
            trust_remote_code=False,
            **safe,
            **at.options,
        )
    except ModelError:
        raise
    except Exception as error:  # tokenizers and safetensors raise Exception itself
        raise WeightsUnavailable(_explain(model, error)) from error
    missing = sorted(info.get("missing_keys", []))
    # What a cloze's head lacks is refused later, in words of its own.
    inside = f"{loaded.base_model_prefix}." if auto_class == MASKED else ""
    backbone = [name for name in missing if name.startswith(inside)]
    check_missing(model, backbone, list(info.get("mismatched_keys", [])))
    check_tokenizer(model, kind, tokenizer, len(token_table(loaded.base_model).weight))
    check_finite(model, dict(loaded.named_parameters()))
    return loaded, tokenizer, missing


def _explain(model: ModelConfig, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, OSError) and "safetensors" in first:
        return (
            f"model.location={model.location}: there are no safetensors weights, and pickled ones are not read. "
            "Convert them once: python scripts/convert_checkpoint.py ID_OR_FOLDER NEW_FOLDER, then "
            "model.source=folder model.location=NEW_FOLDER."
        )
    if model.source == "hub":
        return (
            f"model.location={model.location}: this hub model cannot be loaded ({first}). Check the id; without a "
            "network put the checkpoint into the hub cache (HF_HOME) and set HF_HUB_OFFLINE=1, or use "
            "model.source=folder model.location=<folder>."
        )
    fix = "Check that it is a transformers checkpoint in safetensors."
    return f"model.location={model.location}: cannot be loaded ({first}). {fix}"


def _fill_missing(loaded: PreTrainedModel, missing: list[str], std: float = 0.02) -> None:
    """Draw modules that the checkpoint lacks (a pooler) from N(0, 0.02^2), biases 0, always the same for all trials."""
    generator = torch.Generator().manual_seed(0)
    tensors = dict(loaded.named_parameters())
    for name in missing:
        if name not in tensors:
            continue
        with torch.no_grad():
            if name.endswith("bias"):
                tensors[name].zero_()
            else:
                tensors[name].copy_(torch.randn(tensors[name].shape, generator=generator) * std)


def _check_facts(model: ModelConfig, loaded: PreTrainedModel, kind: Family) -> None:
    """The yaml's facts decide shapes of prompts and validation, so they must be the weights' own."""
    vocabulary, width = token_table(loaded).weight.shape
    layers = len(next(iter(kind.sites(loaded).values())))
    stated = {"vocabulary": model.vocabulary, "width": model.width, "layers": model.layers}
    for name, value in {"vocabulary": vocabulary, "width": width, "layers": layers}.items():
        if stated[name] != value:
            raise ModelError(
                f"model.{name}={stated[name]}, but the weights of {model.location} have {value}: correct conf/model."
            )
    if problem := kind.check(loaded, model):
        raise ModelError(f"{model.location}: {problem}")


def content_of(model: ModelConfig, loaded: nn.Module) -> str:
    """The content hash of the checkpoint that a model was loaded from; of a random model, that of its weights.

    Raises:
        ModelError: files that cannot be read.
    """
    if model.source == "random":
        return module_hash(loaded)
    return checkpoint_hash(Location.of(model).files(), model.location)


def _check_content(model: ModelConfig, loaded: nn.Module) -> None:
    """`model.weights` must be the hash of what was loaded: trials are told apart by it."""
    if model.weights is not None and (content := content_of(model, loaded)) != model.weights:
        raise ModelError(
            f"model.weights={model.weights}: the checkpoint {model.location} has the content {content}, so it is "
            "another model. Give the checkpoint that is meant, or set model.weights=null and give this one a "
            "model.name of its own."
        )


def load_backbone(
    model: ModelConfig, options: LoadOptions, device: torch.device, format: str = "text_to_text"
) -> tuple[Backbone, list[str]]:
    """The frozen backbone on its device, and the deviations that loading causes.

    Args:
        format: `cloze` keeps an encoder's language-model head, which the other formats do without; `tagging` reads
            words one by one.

    Raises:
        ModelError: weights that cannot be had or do not match the config; the sentence says what to do.
    """
    kind, dtype, cloze = family(model.family), DTYPES[options.dtype], format == "cloze"
    missing: list[str] = []
    auto_class = MASKED if cloze else kind.auto_class
    if cloze and kind.lm_head is None:
        raise ModelError(
            f"task.format=cloze: models of the family {kind.name} have no language-model head. Set task.format=auto."
        )
    if model.source == "random":
        whole, tokenizer = random_model(model, kind, dtype, options.dropouts(kind), auto_class, device)
    else:
        whole, tokenizer, missing = _pretrained(model, kind, options, auto_class, format)
    if cloze:
        _refuse_missing_head(model, whole, missing)
    loaded = cast(PreTrainedModel, whole.base_model) if cloze else whole
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    module: nn.Module = whole
    if token_table(loaded).weight.dtype != dtype:
        module.to(dtype)  # a GGUF file comes in the type it was stored in
    _fill_missing(whole, missing)
    _check_facts(model, loaded, kind)
    _check_content(model, whole)
    use(whole, options.attention)
    prepared = kind.prepare(loaded)
    if kind.kind != "encoder":
        # `generate` fills whatever our settings leave open from here, and bart-large asks for n-gram blocks.
        loaded.generation_config = GenerationConfig()
    whole.requires_grad_(False)
    whole.eval()
    drawn = [
        f"the checkpoint has no {name}: drawn from N(0, 0.02^2) and kept frozen" for name in missing if "weight" in name
    ]
    module.to(device)
    backbone = Backbone(loaded, tokenizer, kind, spec_of(model), whole if cloze else None)
    backbone.packing = PACKING[options.packing.lower()]
    backbone.dropout.whole_sequence = options.dropout_masks == "whole_sequence"
    return backbone, drawn + prepared


@dataclass(frozen=True)
class Loaded:
    """A backbone with what is said of it: trials that train jointly share it."""

    backbone: Backbone
    deviations: tuple[str, ...]
    """That loading caused."""
    weights: str
    """Content hash of the checkpoint."""
    frozen: int
    """Its weights, before a method adds any."""

    @classmethod
    def of(cls, model: ModelConfig, options: LoadOptions, device: torch.device, format: str) -> Loaded:
        """Load it; as `load_backbone`."""
        backbone, deviations = load_backbone(model, options, device, format)
        frozen = sum(parameter.numel() for parameter in backbone.whole.parameters())
        return cls(backbone, tuple(deviations), model.weights or content_of(model, backbone.whole), frozen)


def _refuse_missing_head(model: ModelConfig, whole: PreTrainedModel, missing: list[str]) -> None:
    """A language-model head drawn at random would answer the cloze with noise."""
    head = [name for name in missing if not name.startswith(whole.base_model_prefix + ".")]
    if head:
        raise ModelError(
            f"task.format=cloze: the checkpoint {model.location} has no language-model head ({head[0]} is missing). "
            "Choose a model with one (model=bert-large-cased), or set task.format=auto."
        )


def verbaliser_ids(tokenizer: PreTrainedTokenizerBase, words: Mapping[str, str], labels: Sequence[str]) -> list[int]:
    """Token id of each class's word, in the order of the labels.

    Raises:
        ModelError: a word is missing, or is more than one token for this model.
    """
    ids = []
    for label in labels:
        word = words.get(label)
        if word is None:
            raise ModelError(
                f"task.verbaliser: no word for the class {label}. Give one for each of {', '.join(labels)}."
            )
        found = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(found) != 1:
            raise ModelError(
                f"task.verbaliser: the word {word!r} of the class {label} is {len(found)} tokens for this model; the "
                "cloze format fills one. Choose another word."
            )
        ids.append(found[0])
    return ids


def check_labels(tokenizer: PreTrainedTokenizerBase, kind: str, labels: Sequence[str], longest: int) -> None:
    """A label that comes back from the tokenizer as another text could be trained, and never be right.

    Raises:
        ModelError: a label that is cut, that decodes to another text, or to that of another label.
    """
    for label in labels:
        text = label if kind == "encoder_decoder" else f" {label} "
        ids = tokenizer(text_target=text)["input_ids"] if kind == "encoder_decoder" else tokenizer(text)["input_ids"]
        needed = len(ids) + (kind != "encoder_decoder")
        if needed > longest:
            raise ModelError(
                f"task.max_target_length={longest}: the label {label!r} takes {needed} tokens of this model and would "
                f"be cut. Set task.max_target_length={needed} or more, and task.decoding.max_new_tokens."
            )
        (written,) = texts(tokenizer, torch.tensor([ids]))
        if written.strip() != label.strip():
            raise ModelError(
                f"task.labels: this model's tokenizer writes the label {label!r} as {written!r}, so no answer could be "
                "right. Rename the label in task.labels and in the data."
            )


def adapt(
    backbone: Backbone,
    format: str,
    *,
    max_input_length: int,
    max_target_length: int,
    max_evaluation_input_length: int | None = None,
    labels: Sequence[str] = (),
    verbaliser: Mapping[str, str] | None = None,
    sentinel: bool = False,
    spans: SpanOptions | None = None,
    head_dropout: float = 0.0,
    vocabulary: Sequence[str] = (),
) -> ModelAdapter:
    """The backbone in the role its kind has for this format.

    Args:
        max_evaluation_input_length: as in `TaskConfig`.
        labels: class names.
        verbaliser: {class: its word}, of a cloze.
        sentinel: targets begin with T5's first sentinel.
        spans: how contexts are cut and answers found.
        vocabulary: the tokens that may fill the gap of a cloze without classes.
    """
    tokenizer = backbone.tokenizer
    if backbone.spec.kind == "encoder":
        ids = verbaliser_ids(tokenizer, verbaliser or {}, labels) if format == "cloze" else ()
        encode = encoder_encoding(tokenizer, max_input_length, spans)
        return EncoderAdapter(backbone, encode, format, head_dropout, ids, spans, token_ids(tokenizer, vocabulary))
    targets = [f"{SENTINEL} {label}" if sentinel else label for label in labels]
    lengths = max_input_length, max_target_length, max_evaluation_input_length
    if backbone.spec.kind == "decoder":
        return DecoderAdapter(backbone, decoder_encoding(tokenizer, *lengths), targets)
    encode = encoder_decoder_encoding(tokenizer, *lengths)
    return EncoderDecoderAdapter(backbone, encode, targets)
