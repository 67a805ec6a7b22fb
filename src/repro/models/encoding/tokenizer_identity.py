"""What a tokenizer and our encoding of examples are made of, as a hash: equal hash, equal token ids."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from functools import cache
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_STATE = ("truncation", "padding")
"""Parts of a tokenizer's description that every call sets anew."""
_LIBRARIES = ("tokenizers", "transformers")


@cache
def encoding_code() -> str:
    """sha256 (hex) over the modules of `repro.models` and the versions of the libraries behind them.

    Other code may turn an example into other token ids."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {importlib.metadata.version(library)}".encode())
    return digest.hexdigest()


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """sha256 (hex) of all that decides which ids a text becomes; None for a tokenizer that cannot be described.

    A fast tokenizer describes itself whole (vocabulary, merges, normaliser, special tokens), wherever its files came
    from; one written in Python does not.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    for name in _STATE:
        described.pop(name, None)
    about = {
        "backend": described,
        "class": type(tokenizer).__name__,
        "special": {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())},
        "inputs": list(tokenizer.model_input_names),
        "sides": [tokenizer.truncation_side, tokenizer.padding_side],
        "add_prefix_space": getattr(tokenizer, "add_prefix_space", None),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
