"""`repro export`: a trained prompt as safetensors, as a peft checkpoint, or a tuned model as a transformers folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repro.errors import ConfigError
from repro.inference.restore import Finished, backbone_of, method_of, task_of
from repro.methods import registry
from repro.store.files import write_atomic

FORMATS = ("safetensors", "peft", "transformers")
TASK_TYPES = {"decoder": "CAUSAL_LM", "encoder_decoder": "SEQ_2_SEQ_LM"}


def export(trial: Finished, form: str, out: Path, device: Any) -> list[Path]:
    """Write the trial's tensors into the folder `out`.

    Raises:
        ConfigError: the folder has files already, or the format cannot express what was trained (the reason is said).
    """
    if form not in FORMATS:
        raise ConfigError(f"--format={form}: must be one of {', '.join(FORMATS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out={out}: there is something already. Name a new folder.")
    return {"safetensors": _safetensors, "peft": _peft, "transformers": _transformers}[form](trial, out, device)


def _safetensors(trial: Finished, out: Path, device: Any) -> list[Path]:
    """The folded tensors, without the trial axis, and what they are."""
    from safetensors.torch import save

    tensors = {name: tensor[0].contiguous() for name, tensor in _own(trial).items()}
    tensors |= {n: t.contiguous() for n, t in trial.tensors().items() if n.startswith("backbone.")}
    config = trial.plain
    about = {
        "run_key": trial.record.key,
        "method": config["method"],
        "model": {name: config["model"][name] for name in ("name", "source", "location", "revision")},
        "task": {"name": config["task"]["name"], "labels": config["task"]["labels"]},
        "seed": trial.record.seed,
        "metrics": trial.record.metrics,
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
    }
    return _written(out, {"prompt.safetensors": save(tensors), "prompt.json": json.dumps(about, indent=2) + "\n"})


def _own(trial: Finished) -> dict[str, Any]:
    """Tensors of the method, [1, ...] each; its reparameterisation was folded away when they were stored."""
    return {name: tensor for name, tensor in trial.tensors().items() if not name.startswith("backbone.")}


def _written(out: Path, files: dict[str, bytes | str]) -> list[Path]:
    paths = []
    for name, content in files.items():
        write_atomic(out / name, content)
        paths.append(out / name)
    return paths


def _peft(trial: Finished, out: Path, device: Any) -> list[Path]:
    """`adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` reads."""
    config, tensors = trial.plain, _own(trial)
    why = _beyond_peft(config, tensors)
    if why:
        raise ConfigError(f"{trial.name}: peft cannot express this: {why}. Use --format safetensors.")
    model = config["model"]
    shared: dict[str, Any] = {
        "base_model_name_or_path": model["location"],
        "task_type": TASK_TYPES[model["kind"]],
        "inference_mode": True,
    }
    if registry.method(config["method"]["name"]).capabilities.tunes_backbone:
        about, weights = _added_layers(trial, device)
        return _peft_files(out, about | shared, weights)
    shared |= {
        "num_layers": model["layers"],
        "num_attention_heads": model["heads"],
        "token_dim": model["width"],
        "num_transformer_submodules": 1,
    }
    if "prompt" in tensors:
        prompt = tensors["prompt"][0]
        about = shared | {"peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM"}
    else:  # [P, L, 2, H, Dh] is peft's layout too
        prompt = tensors["decoder.prefix"][0]
        heads = model.get("kv_heads") or model["heads"]
        width = heads * model["head_dim"]  # peft cuts a row into layers of this width, and it into heads
        about = shared | {"peft_type": "PREFIX_TUNING", "prefix_projection": False, "encoder_hidden_size": width}
        about |= {"token_dim": width, "num_attention_heads": heads}
    about["num_virtual_tokens"] = prompt.shape[0]
    return _peft_files(out, about, {"prompt_embeddings": prompt})


def _peft_files(out: Path, about: dict[str, Any], tensors: dict[str, Any]) -> list[Path]:
    from safetensors.torch import save

    weights = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})
    return _written(
        out, {"adapter_config.json": json.dumps(about, indent=2) + "\n", "adapter_model.safetensors": weights}
    )


def _added_layers(trial: Finished, device: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """LoRA's or IA3's config and tensors: peft made these layers, and the model's family decides where they are."""
    from repro.models.tuning import peft_checkpoint

    backbone = backbone_of(trial, device)
    tuning = method_of(trial, backbone, task_of(trial)).tuning
    weights = {n.removeprefix("backbone."): t for n, t in trial.tensors().items() if n.startswith("backbone.")}
    return peft_checkpoint(backbone, tuning, weights)


def _beyond_peft(config: dict[str, Any], tensors: dict[str, Any]) -> str | None:
    """Why peft has no checkpoint that computes the same; None where it has."""
    method, model = config["method"], config["model"]
    if model["kind"] == "encoder":
        return "its classifiers have heads of their own (RoBERTa's with a hidden layer) and no frozen pooler"
    capabilities = registry.method(method["name"]).capabilities
    if capabilities.peft_type is None:
        return f"it has no {method['name']} with this forward pass"
    if capabilities.tunes_backbone:  # by layers that peft itself put into the model
        return None
    if "prompt" in tensors and method.get("placement", "before") != "before":
        return "its prompts stand before the input only"
    if "prompt" not in tensors:
        if model["kind"] == "encoder_decoder":
            return "its prefix on an encoder-decoder reaches the decoder's self-attention only, not encoder and cross"
        if method.get("layers", "all") != "all":
            return "its prefixes are in every layer"
        if not method.get("shift_positions", True):
            return "its prefixes shift the position ids"
    return None


def _transformers(trial: Finished, out: Path, device: Any) -> list[Path]:
    """A tuned backbone with its tokenizer, loadable as `model.source=folder`."""
    import torch

    from repro.models.tuning import tune

    task = task_of(trial)
    weights = {n.removeprefix("backbone."): t for n, t in trial.tensors().items() if n.startswith("backbone.")}
    if not weights:
        raise ConfigError(
            f"{trial.name}: its backbone is the frozen one, there is nothing to save. Use --format safetensors."
        )
    backbone = backbone_of(trial, device)
    method = method_of(trial, backbone, task)
    if method.tuning is None or method.tuning.adds_layers:
        raise ConfigError(f"{trial.name}: its layers are beside the model's own. Use --format safetensors.")
    own = tune(backbone, method.tuning, seed=0)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    for part in backbone.whole.modules():
        if hasattr(getattr(part, "config", None), "_attn_implementation"):
            part.config._attn_implementation = "sdpa"  # the saved folder knows nothing of our attention
    out.mkdir(parents=True, exist_ok=True)
    backbone.whole.save_pretrained(out, safe_serialization=True)
    backbone.tokenizer.save_pretrained(out)
    if method.parameters:
        return sorted(out.iterdir()) + _safetensors(trial, out / "head", device)
    return sorted(out.iterdir())
