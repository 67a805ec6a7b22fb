"""The same work in peft, the way its examples do it: a plain loop, or transformers' Trainer.

Batches are padded to their longest; the frozen weights are those of `ours`, and so is the starting prompt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import peft
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from benchmarks.workloads import Workload
from repro.methods.base import Method
from repro.methods.parts.reparameterisation import join_layers
from repro.models.encoding.batch import Encoded, collate
from repro.models.families.family import family
from repro.models.untrained.random_model import random_model


class Classifier(nn.Module):
    """peft's prefix around an encoder, its pooler, and a linear head: what P-Tuning v2 trains."""

    def __init__(self, encoder: Any, width: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean cross-entropy and the logits [N, C]."""
        pooled = self.encoder(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        logits = self.head(pooled.to(self.head.weight.dtype))
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def wrapped(workload: Workload, device: torch.device) -> Any:
    """A fresh model of the workload inside peft, trainable where the method is."""
    kind = family(workload.model.family)
    dropouts = dict.fromkeys((*kind.hidden_dropout, *kind.attention_dropout), 0.0)
    model, _ = random_model(workload.model, kind, torch.float32, dropouts, device=device)
    for part in model.modules():
        if isinstance(part, transformers.PreTrainedModel):
            part.config._attn_implementation = "sdpa"
    rows = workload.prompt
    if kind.kind == "encoder_decoder":
        return peft.get_peft_model(model, peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=rows))
    if kind.kind == "decoder":
        return peft.get_peft_model(model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=rows))
    prefix = peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=rows)
    return Classifier(peft.get_peft_model(model, prefix), workload.model.width)


@torch.no_grad()
def take_prompt(model: Any, method: Method) -> None:
    """Start peft at our prompt and head; peft's table for an encoder-decoder has a second half that nothing reads."""
    injection = method.injection(training=False)
    inner = model.encoder if isinstance(model, Classifier) else model
    table = inner.prompt_encoder["default"].embedding.weight
    rows = injection.embeds[0] if injection.embeds is not None else join_layers(next(iter(injection.kv.values())))[0]
    table[: len(rows)] = rows.to(table.device, table.dtype)
    if injection.head is not None:
        model.head.weight.copy_(injection.head.weight[0])
        model.head.bias.copy_(injection.head.bias[0])


class Theirs:
    """peft with torch's AdamW.

    Args:
        method: whose prompt it starts at; None: peft's own.
        autocast: compute in bfloat16 over float32 weights.
        pad_to: a fixed length; None: each batch to its longest.
        trainer: transformers' Trainer runs the loop.
    """

    def __init__(
        self,
        workload: Workload,
        device: torch.device,
        method: Method | None,
        autocast: bool = False,
        pad_to: int | None = None,
        trainer: bool = False,
    ):
        self.workload, self.device, self.autocast, self.pad_to = workload, device, autocast, pad_to
        self.model = wrapped(workload, device).to(device)
        if method is not None:
            take_prompt(self.model, method)
        self.model.train()
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=1e-3, weight_decay=0.0)
        size, examples = workload.batch_size, workload.examples()
        self.examples = [examples[start : start + size] for start in range(0, len(examples), size)]
        self.trainer = trainer
        self.seconds = 0.0
        """Of the last pass inside the Trainer, from the first step's beginning to the last step's end."""

    def batch(self, examples: list[Encoded]) -> dict[str, Tensor]:
        """What the library's model is called with."""
        batch = collate(examples, 0)
        more = max(0, (self.pad_to or 0) - batch.ids.shape[1])
        labels = batch.labels if batch.target_ids is None else batch.target_ids
        if batch.token_labels is not None:
            labels = F.pad(batch.token_labels, (0, more), value=-100)
        assert labels is not None
        tensors = {"input_ids": F.pad(batch.ids, (0, more)), "attention_mask": F.pad(batch.mask, (0, more))}
        return {name: tensor.to(self.device) for name, tensor in (tensors | {"labels": labels}).items()}

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss: Tensor = self.model(**batch)["loss"]
        return loss

    @torch.no_grad()
    def losses(self) -> list[float]:
        """Of every batch, with the starting prompt."""
        return [float(self._loss(self.batch(examples))) for examples in self.examples]

    def forward_backward(self, index: int) -> None:
        """The gradient of one batch and nothing else."""
        self._loss(self.batch(self.examples[index])).backward()

    def one_pass(self) -> None:
        """A step on every batch."""
        if self.trainer:
            self.seconds = trained_by_trainer(self)
            return
        for index in range(len(self.examples)):
            self.forward_backward(index)
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)


class _Stream(torch.utils.data.IterableDataset[Encoded]):
    """Examples in their order: the Trainer must see the batches that everyone sees."""

    def __init__(self, examples: list[Encoded]):
        self.examples = examples

    def __iter__(self) -> Iterator[Encoded]:
        return iter(self.examples)


class _Clock(transformers.TrainerCallback):  # type: ignore[misc]
    """Wall-clock seconds of the steps alone: loading, optimiser set-up and the final save are left out."""

    started, ended = None, 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first step's beginning."""
        self.started = self.started or time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last step's end."""
        self.ended = time.perf_counter()


def trained_by_trainer(theirs: Theirs) -> float:
    """One pass under transformers' Trainer; returns the seconds of its steps."""
    flat = [example for examples in theirs.examples for example in examples]
    arguments = transformers.TrainingArguments(
        output_dir="/tmp/repro-bench",
        max_steps=len(theirs.examples),
        per_device_train_batch_size=theirs.workload.batch_size,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        bf16=theirs.autocast,
        use_cpu=theirs.device.type == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    clock = _Clock()
    trainer = transformers.Trainer(
        theirs.model, arguments, data_collator=theirs.batch, train_dataset=_Stream(flat), callbacks=[clock]
    )
    trainer.train()
    assert clock.started is not None
    return clock.ended - clock.started
