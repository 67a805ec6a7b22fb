"""A trained prompt as safetensors or for peft, or a tuned model as a transformers folder (`repro export`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ConfigError
from repro.inference.restore import Finished, backbone_of, method_of, task_of
from repro.store.files import write_atomic

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TASK_TYPES = {"decoder": "CAUSAL_LM", "encoder_decoder": "SEQ_2_SEQ_LM"}
"""peft's names for kinds of model."""


def export(trial: Finished, format: str, out: Path, device: torch.device) -> list[Path]:
    """Write the trial's tensors into the folder `out`; the paths of the files.

    Raises:
        ConfigError: the folder has files already, or the format cannot express what was trained (with the reason).
    """
    if format not in FORMATS:
        raise ConfigError(f"--format={format}: must be one of {', '.join(FORMATS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out={out}: there is something already. Name a new folder.")
    return FORMATS[format](trial, out, device)


def _safetensors(trial: Finished, out: Path, device: torch.device) -> list[Path]:
    """The folded tensors, without the trial axis, and what they are."""
    from safetensors.torch import save

    tensors = {name: tensor[0].contiguous() for name, tensor in trial.tensors().items()}
    tensors |= {f"backbone.{name}": tensor.contiguous() for name, tensor in trial.backbone_tensors().items()}
    model, task = trial.config.model, trial.config.task
    about = {
        "run_key": trial.record.key,
        "method": asdict(trial.config.method),
        "model": {
            "name": model.name,
            "source": model.source,
            "location": model.location,
            "revision": model.revision,
        },
        "task": {"name": task.name, "labels": task.labels},
        "seed": trial.record.seed,
        "metrics": trial.record.metrics,
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
    }
    return _written(out, {"prompt.safetensors": save(tensors), "prompt.json": json.dumps(about, indent=2) + "\n"})


def _written(out: Path, files: Mapping[str, bytes | str]) -> list[Path]:
    for name, content in files.items():
        write_atomic(out / name, content)
    return [out / name for name in files]


def _peft(trial: Finished, out: Path, device: torch.device) -> list[Path]:
    """`adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` reads."""
    method, model = trial.config.method, trial.config.model
    reason = method.beyond_peft(model.kind)
    if reason:
        raise ConfigError(f"{trial.name}: peft cannot express this: {reason}. Use --format safetensors.")
    kind = method.capabilities.peft_type
    about: dict[str, object] = {
        "base_model_name_or_path": model.location,
        "task_type": TASK_TYPES[model.kind],
        "inference_mode": True,
    }
    if method.capabilities.tunes_backbone:  # by layers that peft itself put into the model
        layers, weights = _added_layers(trial, device)
        return _peft_files(out, {**layers, **about}, weights)
    about |= {"peft_type": kind, "num_layers": model.layers, "num_transformer_submodules": 1}
    if kind == "PROMPT_TUNING":
        prompt = trial.tensors()["prompt"][0]
        about |= {"prompt_tuning_init": "RANDOM", "num_attention_heads": model.heads, "token_dim": model.width}
    else:  # [P, L, 2, H, Dh] is peft's layout too
        prompt = trial.tensors()["decoder.prefix"][0]
        heads = model.kv_heads or model.heads
        width = heads * model.head_dim  # peft cuts a row into layers of this width, and it into heads
        about |= {"prefix_projection": False, "encoder_hidden_size": width}
        about |= {"num_attention_heads": heads, "token_dim": width}
    return _peft_files(out, about | {"num_virtual_tokens": prompt.shape[0]}, {"prompt_embeddings": prompt})


def _peft_files(out: Path, about: Mapping[str, object], tensors: Mapping[str, Tensor]) -> list[Path]:
    from safetensors.torch import save

    weights = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})
    return _written(
        out, {"adapter_config.json": json.dumps(about, indent=2) + "\n", "adapter_model.safetensors": weights}
    )


def _added_layers(trial: Finished, device: torch.device) -> tuple[Mapping[str, object], Mapping[str, Tensor]]:
    """LoRA's or IA3's config and tensors: peft made these layers, and the model's family decides where they are."""
    from repro.models.tuning import peft_checkpoint

    backbone = backbone_of(trial, device)
    tuning = method_of(trial, backbone, task_of(trial)).tuning
    assert tuning is not None
    return peft_checkpoint(backbone, tuning, trial.backbone_tensors())


def _transformers(trial: Finished, out: Path, device: torch.device) -> list[Path]:
    """A tuned backbone with its tokenizer, loadable as `model.source=folder`."""
    import torch

    from repro.models.tuning import save_tuned, tune

    weights = trial.backbone_tensors()
    if not weights:
        raise ConfigError(
            f"{trial.name}: its backbone is the frozen one, there is nothing to save. Use --format safetensors."
        )
    backbone = backbone_of(trial, device)
    method = method_of(trial, backbone, task_of(trial))
    if method.tuning is None or method.tuning.adds_layers:
        raise ConfigError(f"{trial.name}: its layers are beside the model's own. Use --format safetensors.")
    with torch.no_grad():
        for name, parameter in tune(backbone, method.tuning, seed=0).items():
            parameter.copy_(weights[name])
    save_tuned(backbone, out)
    files = sorted(out.iterdir())
    return files + (_safetensors(trial, out / "head", device) if method.parameters else [])


FORMATS: Mapping[str, Callable[[Finished, Path, torch.device], list[Path]]] = {
    "safetensors": _safetensors,
    "peft": _peft,
    "transformers": _transformers,
}
