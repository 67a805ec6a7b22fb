"""Groups of a task's config: decoding, limits and low-data settings. `repro.config.schema` has the rest."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class DecodingConfig:
    beams: int = 1
    max_new_tokens: int = 16
    min_new_tokens: int = 0
    length_penalty: float = 1.0
    bad_words: list[str] = field(default_factory=list)
    """Strings that must not be generated (prefix-tuning's code forbids newlines)."""
    labels: str = "generate"
    """Class tasks as text: generate (as the papers did) | score (the label whose tokens are together likeliest)."""
    batch_size: int = 16


@dataclass
class SplitLimits:
    """At most so many examples of a split, drawn with `seed` (train, validation: a random subset; test: the first)."""

    train: int | None = None
    validation: int | None = None
    test: int | None = None
    seed: int = 0


@dataclass
class LowData:
    """A low-data setting: a small training set, a validation set in proportion (Li and Liang 2021, section 6.3)."""

    size: int | None = None
    """Training examples; null: all."""
    subset: int = 0
    """Which draw: 0 to 4 (E2E); 101, 22 or 8 (XSum). `task.fraction` takes it too."""
    dev_fraction: float | None = 0.3
    """Validation examples as a share of `size`; null: the whole split."""
