"""The schema of a task's config. `repro.config.schema` has the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from repro.methods.fields import setting

TASK_IN_MODEL = {
    "cloze": True,
    "text_to_text": False,
    "pair": False,
    "choice": True,
    "ranking": False,
    "tagging": False,
    "span": True,
}
"""{format: whether the model is adapted to the task (template, answers, windows), so that trials can train jointly with
those of the same task only}"""
FORMATS = ("auto", *TASK_IN_MODEL)


@dataclass(kw_only=True)
class DecodingConfig:
    beams: int = setting(1, at_least=1)
    max_new_tokens: int = setting(16, at_least=1)
    min_new_tokens: int = setting(0, at_least=0)
    length_rule: str = setting("max_new_tokens", allowed=("max_new_tokens", "longest_target"))
    """How long a generated text may be in an evaluation: max_new_tokens | longest_target (as the longest target of the
    split, end included: what T5X evaluates with; `repro predict`, where there are no targets, keeps max_new_tokens)."""
    search: str = setting("library", allowed=("library", "t5x"))
    """library (greedy, or beams) | t5x (T5X's search with one beam, which keeps an end that comes second)"""
    length_penalty: float = 1.0
    length_counts: str = setting("generated", allowed=("generated", "all"))
    """The length in a beam's score: generated (end included) | all (input and generated tokens, without the end: what
    transformers 3.2 did in a decoder, and so prefix-tuning's code)."""
    no_repeat_ngram: int = setting(0, at_least=0)
    """No n-gram of this size twice in a generated text; 0: no such rule."""
    early_stopping: bool = False
    """A beam search ends with as many finished texts as beams, whatever could still come."""
    forced_end: bool = False
    """The last token that may be generated is the end."""
    clean_up_spaces: bool = False
    """Spaces before punctuation and contractions go (transformers' clean_up_tokenization_spaces)."""
    bad_words: list[str] = setting(factory=list)
    """Strings that must not be generated (prefix-tuning's code forbids newlines)."""
    labels: str = setting("generate", allowed=("generate", "score"))
    """Class tasks as text: generate (as the papers did) | score (the label whose tokens are together likeliest)."""
    batch_size: int = setting(16, changes_result=False, at_least=1)


@dataclass(kw_only=True)
class SplitLimits:
    """At most so many examples of a split, drawn with `seed` (train, validation: a random subset; test: the first)."""

    train: int | None = setting(None, at_least=1)
    validation: int | None = setting(None, at_least=1)
    test: int | None = setting(None, at_least=1)
    seed: int = setting(0, at_least=0)


@dataclass(kw_only=True)
class LowData:
    """A low-data setting: a small training set, a validation set in proportion (Li and Liang 2021, section 6.3)."""

    size: int | None = setting(None, at_least=1)
    """Training examples; null: all."""
    subset: int = setting(0, at_least=0)
    """Which draw: 0 to 4 (E2E); 101, 22 or 8 (XSum). `task.fraction` takes it too."""
    dev_fraction: float | None = 0.3
    """Validation examples as a share of `size`; null: the whole split."""


@dataclass(kw_only=True)
class TaskConfig:
    kind: str = setting()
    """The registered kind of task (`repro.tasks.registry`)."""
    name: str = setting()
    paper_name: str | None = setting(None, changes_result=False)
    formats: list[str] = setting()
    """The formats in which the task can be rendered: text_to_text, pair, choice, ranking, tagging, span."""
    format: str = setting("auto", allowed=FORMATS)
    """auto: the head format on an encoder, text_to_text elsewhere."""
    source: str = setting("local", changes_result=False, set_by_mixture=True, allowed=("local", "hub", "microworld"))
    """local (data_dir) | hub (hub_id) | microworld (written on this machine)"""
    data_dir: str = setting(changes_result=False, varies_jointly=True, changes_tokens=False)
    hub_id: str | None = setting(None, changes_result=False)
    hub_config: str | None = setting(None, changes_result=False)
    hub_revision: str | None = setting(None, changes_result=False)
    labels: list[str] = setting(factory=list)
    rows: dict[str, int] = setting(factory=dict, changes_tokens=False)
    """Rows of the original splits: a file with other counts is refused unless check_rows is off."""
    sha256: dict[str, str] = setting(factory=dict, changes_result=False, changes_tokens=False)
    """First digits of each original split's content hash (`repro doctor --fingerprint`): another one is a deviation."""
    check_rows: bool = setting(True, changes_tokens=False, set_by_mixture=True)
    """Off, the files may be others than the task's name says."""
    metrics: list[dict[str, Any]] = setting(changes_tokens=False)
    also_metrics: list[dict[str, Any]] = setting(factory=list, changes_result=False)
    """Metrics beside these, which are no part of the run key: they change neither training nor the other values, and a
    record made before they were asked for is the same trial (`repro metrics --score KEY` adds them to it)."""
    report_split: str = setting("validation", changes_tokens=False, allowed=("validation", "test"))
    """The split whose score is the result (test, where its labels are public and the paper used it)."""
    max_input_length: int = setting(128, at_least=4)
    max_evaluation_input_length: int | None = setting(None, at_least=0)
    """The same in evaluations and predictions: null: as in training; 0: inputs are not cut."""
    max_target_length: int = setting(16, at_least=2)
    limit: SplitLimits = setting(factory=SplitLimits, varies_jointly=True)
    low_data: LowData = setting(factory=LowData, varies_jointly=True)
    fraction: float | None = setting(None, varies_jointly=True)
    """Share of the training examples that is used (data efficiency, Li and Liang 2021, Figure 6); null: all."""
    decoding: DecodingConfig = setting(factory=DecodingConfig, changes_tokens=False)
    options: dict[str, Any] = setting(factory=dict)
    """The task class's own switches (a template id, say)."""
    cloze: list[str] = setting(factory=list)
    """Pieces of the cloze format: [MASK] once, [P:n] positions for prompt rows, texts over the example's fields."""
    verbaliser: dict[str, str] = setting(factory=dict)
    """cloze: {class: its word}."""
    cloze_source: str | None = setting(None, changes_result=False)
    """Whose template and words these are, and how ours differ: said in the record. null: they are ours."""
    sentinel: bool = setting(False, set_by_mixture=True)
    """T5: targets begin with <extra_id_0>, which is taken off predictions (Lester et al. Figure 3c)."""
    task_name_prefix: bool = setting(False, set_by_mixture=True)
    """Text to text: the task's name in front of the source, as in T5's mixtures."""
    parts: dict[str, TaskConfig] = setting(factory=dict)
    """A mixture's tasks, each as its own file has it. Their format and limits are the mixture's."""
    init_words: list[str] = setting(factory=list)
    """Words for class-label initialisation where the labels are free text (Lester et al., footnote 7)."""
