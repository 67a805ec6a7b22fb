"""Make a safetensors checkpoint of one that has only `pytorch_model.bin` (T5 1.1, LM-adapted T5, BART, DeBERTa).

    python scripts/convert_checkpoint.py google/t5-base-lm-adapt checkpoints/t5-base-lm-adapt

The first argument is a folder or a hub id (which is downloaded). Tensors are read with torch's restricted unpickler
(`weights_only`), so that no code in the file can run. Names and values stay as they are.
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

KEEP = ("*.json", "*.model", "*.txt")


def main(source: str, target: str) -> None:
    """Copy tokenizer and config, convert the weights."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source, allow_patterns=[*KEEP, "pytorch_model*.bin"]))
    shards = sorted(folder.glob("pytorch_model*.bin"))
    if not shards:
        raise SystemExit(f"{folder}: no pytorch_model*.bin there, nothing to convert.")
    tensors: dict[str, torch.Tensor] = {}
    for shard in shards:
        tensors |= torch.load(shard, map_location="cpu", weights_only=True)
    out = Path(target)
    out.mkdir(parents=True, exist_ok=True)
    for path in [path for pattern in KEEP for path in folder.glob(pattern) if "index" not in path.name]:
        shutil.copyfile(path, out / path.name)
    # safetensors stores no tensor twice under two names, so tied ones are copied; loading ties them again.
    save_file(
        {name: t.clone().contiguous() for name, t in tensors.items()}, out / "model.safetensors", {"format": "pt"}
    )
    print(f"wrote {out / 'model.safetensors'}: {len(tensors)} tensors")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
