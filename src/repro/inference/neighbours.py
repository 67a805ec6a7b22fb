"""`repro neighbours`: which words a trained prompt lies next to (Lester et al. section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro.errors import ConfigError
from repro.inference.restore import Finished, backbone_of, method_of, task_of


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
    """Each class label: is it among the neighbours of any row? None: it is more than one token, which has no row."""

    def table(self) -> str:
        """Lines to print."""
        rows = [
            f"{row:4}  " + "  ".join(f"{word!r} {cosine:.3f}" for word, cosine in zip(words, cosines, strict=True))
            for row, (words, cosines) in enumerate(zip(self.words, self.cosines, strict=True))
        ]
        nearest = sum(cosines[0] for cosines in self.cosines) / len(self.cosines)
        rows.append(f"mean cosine of the nearest word {nearest:.3f}; of random vectors {self.control:.3f}")
        said = {True: "yes", False: "no", None: "several tokens, no row of its own"}
        rows += [f"label {label!r} among the neighbours: {said[found]}" for label, found in self.persisting.items()]
        return "\n".join(rows)


def neighbours(trial: Finished, top: int, device: Any) -> Neighbours:
    """The prompt of a finished trial against the frozen vocabulary.

    Raises:
        ConfigError: a method without a prompt at the input.
    """
    task = task_of(trial)
    backbone = backbone_of(trial, device)
    embeds = method_of(trial, backbone, task).injection(training=False).embeds
    if embeds is None:
        raise ConfigError(
            f"{trial.name}: its prompt is keys and values inside the model, which no word has. Choose a trial of "
            "prompt_tuning, p_tuning or embedding_only."
        )
    table = backbone.model.get_input_embeddings().weight.detach().float()
    labels = {label: backbone.tokenizer(label, add_special_tokens=False)["input_ids"] for label in task.labels}
    return nearest(embeds[0].detach().float(), table, backbone.tokenizer.convert_ids_to_tokens, labels, top)


def nearest(prompt: Any, table: Any, to_words: Any, labels: dict[str, Sequence[int]], top: int) -> Neighbours:
    """Rows [P, D] against a table [V, D]; `control` draws P Gaussian vectors with a fixed seed."""
    import torch

    def best(rows: Any) -> tuple[Any, Any]:
        unit = torch.nn.functional.normalize
        return (unit(rows, dim=1) @ unit(table, dim=1).T).topk(min(top, len(table)))

    values, ids = best(prompt)
    random = torch.randn(prompt.shape, generator=torch.Generator().manual_seed(0)).to(prompt.device)
    control = float(best(random)[0][:, 0].mean())
    seen = set(ids.flatten().tolist())
    persisting = {label: None if len(own) != 1 else own[0] in seen for label, own in labels.items()}
    return Neighbours([to_words(row) for row in ids.tolist()], values.tolist(), control, persisting)
