"""How much of a padded batch is padding on real data: a task's token ids, its recipe's batch size, an epoch's order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.models.encoding.encoding import decoder_encoding, encoder_decoder_encoding, encoder_encoding
from repro.training.batching import DataOrder

_BERT, _GPT2 = "tokenizers/bert-base-uncased", "tokenizers/gpt2"
SETTINGS: Mapping[str, tuple[list[str], str, str]] = {
    "BoolQ, T5": (["task=boolq", "model=t5-base-lm-adapt", "method=prompt_tuning"], "tokenizers/t5", "T5Tokenizer"),
    "CB, T5": (["task=cb", "model=t5-base-lm-adapt", "method=prompt_tuning"], "tokenizers/t5", "T5Tokenizer"),
    "RTE, BERT": (
        ["task=rte", "model=bert-large-uncased", "method=p_tuning_v2"],
        "tokenizers/bert-base-uncased",
        "BertTokenizer",
    ),
    "CoNLL04, BERT": (
        ["task=conll04", "model=minilm", "method=p_tuning_v2"],
        "tokenizers/bert-base-uncased",
        "BertTokenizer",
    ),
    "E2E, GPT-2": (["task=e2e", "model=gpt2-medium", "method=prefix_tuning"], _GPT2, "GPT2Tokenizer"),
    "WebNLG, GPT-2": (["task=webnlg", "model=gpt2-medium", "method=prefix_tuning"], _GPT2, "GPT2Tokenizer"),
}
"""Name: overrides of `repro run`, the folder of a tokenizer below the data's, and its class (MiniLM's is
that of BERT uncased)."""


def shares(data_root: Path) -> dict[str, dict[str, Any]]:
    """{setting: examples, batch size, share of real tokens}; a setting whose files are missing says so."""
    found = {}
    for name, (overrides, folder, kind) in SETTINGS.items():
        try:
            found[name] = _share(overrides, data_root, data_root / folder, kind)
        except Exception as error:  # a file that is not here: the page says which
            found[name] = {"missing": str(error).splitlines()[0]}
    return found


def _share(overrides: list[str], data_root: Path, folder: Path, tokenizer_class: str) -> dict[str, Any]:
    import transformers

    from repro.config.compose import compose, trial_config
    from repro.trials.build import build_task

    config = trial_config(compose([*overrides, f"paths.data_root={data_root}", "task.check_rows=false"]))
    task = build_task(config)
    tokenizer = getattr(transformers, tokenizer_class).from_pretrained(str(folder), trust_remote_code=False)
    limits = config.task.max_input_length, config.task.max_target_length
    kind = config.model.kind
    if kind == "encoder":
        encode = encoder_encoding(tokenizer, limits[0])
    else:
        encode = (decoder_encoding if kind == "decoder" else encoder_decoder_encoding)(tokenizer, *limits)
    lengths = [len(item.ids) for example in task.examples("train") for item in encode(task.render(example), True)]
    size = config.trainer.batch_size
    order = DataOrder(len(lengths), size, config.seed)
    padded = 0
    for step in range(order.steps_per_epoch):
        chosen = [lengths[index] for index in order.indices(step)]
        padded += max(chosen) * len(chosen)
    longest = max(lengths)
    return {
        "examples": len(lengths),
        "batch_size": size,
        "real": sum(lengths) / padded,
        "real_at_fixed_length": sum(lengths) / (longest * len(lengths)),
        "longest": longest,
    }
