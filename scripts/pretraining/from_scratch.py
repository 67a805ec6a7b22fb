"""Models to pre-train: built at the shapes of `conf/model` with drawn weights, given a loss, written to a folder."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.config.schema import ModelConfig
from repro.errors import ModelError
from repro.methods.base import Injection
from repro.models.attention.prefix_attention import use
from repro.models.backbone import Backbone, spec_of
from repro.models.decoder import DecoderAdapter
from repro.models.encoder_decoder import EncoderDecoderAdapter
from repro.models.encoding.batch import IGNORE, Batch
from repro.models.families.family import Family, family
from repro.models.generation import label_losses
from repro.models.interface import RowLoss
from repro.models.untrained.random_model import transformers_config

GELU = "gelu_pytorch_tanh"
"""T5 1.1's and GPT-2's activation as one operation of torch; transformers' own name for it is six."""


def new_model(facts: Mapping[str, Any], tokenizer: Any, seed: int) -> Any:
    """A model of `conf/model`'s facts with its language-model head, weights drawn as transformers draws them.

    Raises:
        ModelError: a vocabulary that is not the tokenizer's.
    """
    import transformers

    if facts["vocabulary"] != len(tokenizer):
        raise ModelError(f"model.vocabulary={facts['vocabulary']}, but the tokenizer has {len(tokenizer)} tokens.")
    kind = family(facts["family"])
    config = transformers_config(
        ModelConfig(**facts), kind, dict.fromkeys((*kind.hidden_dropout, *kind.attention_dropout), 0.0)
    )
    _adjust(config, kind, tokenizer)
    auto = transformers.AutoModelForPreTraining if kind.kind == "encoder" else getattr(transformers, kind.auto_class)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = auto.from_config(config, dtype=torch.float32)
    use(made, "sdpa")
    return made


def _adjust(config: Any, kind: Family, tokenizer: Any) -> None:
    """The tokenizer's ids, and activations that are one operation."""
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    ids["bos_token_id"] = tokenizer.bos_token_id
    if kind.name == "t5":
        ids |= {"decoder_start_token_id": tokenizer.pad_token_id}
        config.feed_forward_proj, config.dense_act_fn = f"gated-{GELU}", GELU
    elif kind.name == "bart":
        ids |= {"decoder_start_token_id": tokenizer.eos_token_id, "forced_eos_token_id": tokenizer.eos_token_id}
    elif kind.name == "gpt2":
        config.activation_function = GELU
    for name, value in ids.items():
        setattr(config, name, value)


class Pretrained:
    """A model in training with the loss of its kind: of the targets, the next tokens, or the masked ones."""

    def __init__(self, facts: Mapping[str, Any], model: Any, tokenizer: Any, packed: bool = False):
        self.model, self.tokenizer, self.kind = model, tokenizer, facts["kind"]
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self._adapter: Any = None
        if self.kind != "encoder":
            backbone = Backbone(model, tokenizer, family(facts["family"]), spec_of(ModelConfig(**facts)))
            backbone.packing = "auto" if packed else False
            adapter = EncoderDecoderAdapter if self.kind == "encoder_decoder" else DecoderAdapter
            self._adapter = adapter(backbone, _not_encoding)

    def losses(self, batch: Batch) -> RowLoss:
        """Cross-entropy of each row: `losses` of the adapters, without an injection, or BERT's."""
        return masked_losses(self.model, batch) if self._adapter is None else self._adapter.losses(batch, Injection())

    def continued(self, text: str, tokens: int) -> str:
        """What the model says after a text, greedily."""
        self._adapter.backbone.inject(Injection(), None)  # the last batch's rows may have been packed
        ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
        made = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, num_beams=1,
            pad_token_id=self.pad_id,
        )  # fmt: skip
        own = made[0] if self.kind == "encoder_decoder" else made[0, ids.shape[1] :]
        said: str = self.tokenizer.decode(own, skip_special_tokens=True)
        return said


def _not_encoding(rendered: Any, training: bool) -> Any:
    raise NotImplementedError("pre-training makes its rows from token ids, not from a task's examples")


def masked_losses(model: Any, batch: Batch) -> RowLoss:
    """BERT's two losses, summed: the masked tokens, and whether the second segment follows the first.

    The second counts as much as the mean masked token does: it is added to a row's total as its number of masked tokens
    times the batch's mean. Rows of one segment have none.
    """
    hidden = model.bert(
        input_ids=batch.ids, attention_mask=batch.mask, token_type_ids=batch.token_types
    ).last_hidden_state
    assert batch.token_labels is not None
    words = label_losses(hidden, batch.token_labels, model.cls.predictions)
    if batch.labels is None:
        return words
    logits = model.cls.seq_relationship(model.bert.pooler(hidden)).float()
    follows = F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="sum")
    mean = follows / (batch.labels != IGNORE).sum().clamp(min=1)
    return RowLoss(words.total + mean * words.count, words.count)


@torch.no_grad()
def next_accuracy(model: Any, batch: Batch) -> tuple[int, int]:
    """Of how many pairs of segments the second is rightly said to follow the first or not; and how many there are."""
    assert batch.labels is not None
    hidden = model.bert(
        input_ids=batch.ids, attention_mask=batch.mask, token_type_ids=batch.token_types
    ).last_hidden_state
    said = model.cls.seq_relationship(model.bert.pooler(hidden)).argmax(-1)
    known = batch.labels != IGNORE
    return int((said[known] == batch.labels[known]).sum()), int(known.sum())


def write_checkpoint(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """config.json, model.safetensors in half precision and the tokenizer's files, all of them or none.

    Raises:
        ModelError: a weight is too large for the type.
    """
    import transformers

    transformers.logging.disable_progress_bar()
    half = copy.deepcopy(model).to(dtype)
    for name, tensor in half.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{folder.name}: {name} does not fit into {dtype}. Train at a lower learning rate.")
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    half.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def tokens_of(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of texts without special tokens."""
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return found


def state_of(model: Any) -> dict[str, Tensor]:
    """Parameters by name, a tied one once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}
