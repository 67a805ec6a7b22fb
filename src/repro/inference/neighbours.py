"""The words nearest to a trained prompt (`repro neighbours`; Lester et al. section 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.errors import ConfigError
from repro.inference.restore import Finished, backbone_of, method_of, task_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of the embedding table to each prompt row, by cosine."""

    words: list[list[str]]
    """[P][top]"""
    cosines: list[list[float]]
    """[P][top]"""
    control: float
    """Mean cosine of the nearest word to random vectors as long as the prompt's rows."""
    persisting: dict[str, bool | None]
    """{class label: whether it is among the neighbours of any row; None for several tokens, which have no row}"""

    def table(self) -> str:
        """Lines to print."""
        rows = [
            f"{row:4}  " + "  ".join(f"{word!r} {cosine:.3f}" for word, cosine in zip(words, cosines, strict=True))
            for row, (words, cosines) in enumerate(zip(self.words, self.cosines, strict=True))
        ]
        nearest = sum(cosines[0] for cosines in self.cosines) / len(self.cosines)
        rows.append(f"mean cosine of the nearest word {nearest:.3f}; of random vectors {self.control:.3f}")
        answers = {True: "yes", False: "no", None: "several tokens, no row of its own"}
        rows += [f"label {label!r} among the neighbours: {answers[near]}" for label, near in self.persisting.items()]
        return "\n".join(rows)


def neighbours(trial: Finished, top: int, device: torch.device) -> Neighbours:
    """The prompt of a finished trial against the frozen vocabulary.

    Raises:
        ConfigError: a method without a prompt at the input.
    """
    task = task_of(trial)
    backbone = backbone_of(trial, device)
    embeds = method_of(trial, backbone, task).injection(training=False).embeds
    if embeds is None:
        raise ConfigError(
            f"{trial.name}: its prompt is keys and values inside the model, which no word has. Choose a trial of a "
            "method with a prompt at the input, such as prompt_tuning."
        )
    table = next(backbone.model.get_input_embeddings().parameters()).detach().float()  # [V, D]
    labels = {label: backbone.tokenizer(label, add_special_tokens=False)["input_ids"] for label in task.labels}

    def to_words(ids: list[int]) -> list[str]:
        return list(backbone.tokenizer.convert_ids_to_tokens(ids))

    return nearest(embeds[0].detach().float(), table, to_words, labels, top)


def nearest(
    prompt: Tensor,
    table: Tensor,
    to_words: Callable[[list[int]], list[str]],
    labels: Mapping[str, Sequence[int]],
    top: int,
) -> Neighbours:
    """Rows [P, D] against a table [V, D]; `control` draws P Gaussian vectors with a fixed seed."""
    import torch

    unit_table = torch.nn.functional.normalize(table, dim=1)

    def best(rows: Tensor) -> tuple[Tensor, Tensor]:
        similarities = torch.nn.functional.normalize(rows, dim=1) @ unit_table.T
        values, ids = similarities.topk(min(top, len(table)))
        return values, ids

    values, ids = best(prompt)
    random = torch.randn(prompt.shape, generator=torch.Generator().manual_seed(0)).to(prompt.device)
    control = float(best(random)[0][:, 0].mean())
    near = set(ids.flatten().tolist())
    persisting = {label: None if len(tokens) != 1 else tokens[0] in near for label, tokens in labels.items()}
    return Neighbours([to_words(row) for row in ids.tolist()], values.tolist(), control, persisting)
