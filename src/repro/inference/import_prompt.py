"""Prompts from elsewhere as files for `method.start_from` (`repro import`): numpy arrays and peft checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ConfigError, DataError
from repro.methods import registry
from repro.store.files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor


def import_prompt(source: Path, method: str, out: Path, site: str) -> dict[str, tuple[int, ...]]:
    """Write `out`, a safetensors file with `prompt` [1, P, D] or `<site>.prefix` [1, P, 2 x L x H x Dh].

    Args:
        source: a `.npy` file ([P, D], as the authors of prompt tuning released theirs), a peft checkpoint's folder, or
            its adapter_model.safetensors.
        site: of a prefix: decoder (GPT-2, Llama) or encoder (BERT).

    Returns:
        Names and shapes.

    Raises:
        ConfigError: a method that cannot start from such a file, or `out` is there already.
        DataError: a file that is not such a prompt; a pickle is never read.
    """
    from safetensors.torch import save

    wanted = registry.method(method).capabilities.imports
    if wanted is None:
        able = [name for name in registry.names() if registry.method(name).capabilities.imports]
        raise ConfigError(f"--method={method}: must be one of {', '.join(able)}.")
    if out.exists():
        raise ConfigError(f"--out={out}: this file is there already. Name another.")
    rows = _numpy(source) if source.suffix == ".npy" else _peft(source, method, wanted)
    tensors = {"prompt" if wanted == "PROMPT_TUNING" else f"{site}.prefix": rows[None].contiguous()}
    write_atomic(out, save(tensors))
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _numpy(source: Path) -> Tensor:
    import numpy as np
    import torch

    try:
        array = np.load(source, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: not a plain numpy array ({error}). Save it with numpy.save, no objects.") from error
    if array.ndim != 2 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise DataError(
            f"{source}: shape {array.shape} and type {array.dtype}: a prompt is finite numbers [length, width]."
        )
    return torch.from_numpy(array.astype("float32"))


def _peft(source: Path, method: str, wanted: str) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = source / "adapter_model.safetensors" if source.is_dir() else source
    try:
        tensors = load_file(str(file))
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{file}: no safetensors file ({error}). Give a .npy file, or a peft checkpoint saved as safetensors."
        ) from error
    prompts = [tensor for name, tensor in tensors.items() if name.endswith("prompt_embeddings")]
    if len(prompts) != 1 or prompts[0].dim() != 2:
        raise DataError(f"{file}: its tensors are {', '.join(tensors)}: a peft prompt has prompt_embeddings [P, D].")
    rows = prompts[0].float()
    about = _config_beside(file)
    # peft stores what its encoders make (the MLP of prefix_projection, P_TUNING's): the rows that enter the model.
    alike = (None, wanted, "P_TUNING" if wanted == "PROMPT_TUNING" else wanted)
    if about.get("peft_type") not in alike:
        raise DataError(f"{file}: its peft_type is {about['peft_type']}, for {method} it must be {wanted}.")
    twice = about.get("task_type") == "SEQ_2_SEQ_LM" and about.get("num_transformer_submodules", 2) == 2
    return rows[: len(rows) // 2] if twice and wanted == "PROMPT_TUNING" else rows  # the rest is never read


def _config_beside(file: Path) -> dict[str, object]:
    path = file.parent / "adapter_config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}).") from error
    return content if isinstance(content, dict) else {}
