"""What each method may be configured with: one schema a file of `conf/method`. Part of `repro.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class MethodConfig:
    """What every method says of itself. A method's own fields are in a subclass, named `<Name>Config`."""

    _target_: str = MISSING
    name: str = MISSING
    paper_section: str = MISSING
    """Where the method is described, for docs and records."""
    equation: str = ""
    """What it computes, for docs."""
    stored_formula: str = ""
    """Numbers kept after training, head and tuned backbone apart: in the letters of `repro.cli.methods_page`."""
    trained_formula: str = ""
    """Numbers trained, where they differ from the stored ones."""
    tuned_formula: str = ""
    """Numbers trained inside the backbone or beside its matrices, where the method does that."""
    deviations: list[str] = field(default_factory=list)
    """Known differences from the paper: copied into every record."""
    start_from: str | None = None
    """A prompt.safetensors (of a finished trial, or imported) whose prompt is the starting value."""
    start_sha256: str | None = None
    """Hash of that file, filled in by us: the run key counts the content, not the place."""
    start_task: str | None = None
    """The task that the starting prompt was trained on, for records: `mpt_...` makes it the paper's MPT-2."""


@dataclass
class FineTuningConfig(MethodConfig):
    head: str = "linear"
    """Encoder models: `linear` on the pooled or token output. Generating models ignore it."""


@dataclass
class PromptDesignConfig(MethodConfig):
    text: str = ""
    """In front of the input; with {source} in it, around it."""
    shots: int = 0
    """Training examples shown, drawn with the seed."""


@dataclass
class FtTopConfig(MethodConfig):
    blocks: int = 2
    """Blocks from the top that are trained, with the norm behind them."""
    head: str = "linear"


@dataclass
class BitFitConfig(MethodConfig):
    head: str = "linear"


@dataclass
class AdapterConfig(MethodConfig):
    bottleneck: int = 6
    init_std: float = 0.02
    head: str = "linear"


@dataclass
class LoraConfig(MethodConfig):
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: list[str] = field(default_factory=list)
    """Names of the modules that get a low-rank layer; empty: peft's choice for the family."""
    head: str = "linear"


@dataclass
class Ia3Config(MethodConfig):
    targets: list[str] = field(default_factory=list)
    head: str = "linear"


@dataclass
class LoraPrefixConfig(MethodConfig):
    length: int = 5
    reparameterisation: str = "mlp"
    """mlp | none | deep"""
    hidden: int = 512
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: list[str] = field(default_factory=list)
    head: str = "linear"


@dataclass
class PromptTuningConfig(MethodConfig):
    length: int = 100
    initialisation: str = "class_label"
    """uniform | sampled_vocabulary | class_label"""
    uniform_low: float = -0.5
    uniform_high: float = 0.5
    vocabulary_size: int = 5000
    """Rows of the embedding table, from id 0, among which `sampled_vocabulary` draws without replacement."""
    init_words: list[str] = field(default_factory=list)
    """`class_label`: words instead of the task's label names (Lester et al., footnote 7); empty means the labels."""
    placement: str = "before"
    """before | after (the input) | after_bos"""
    embedded_twice: bool = False
    """Encoders: the text gets position and type embeddings and their norm before the prompt is put in front, and again
    after (the official "PT" of P-Tuning v2)."""
    pooled_at_prompt: bool = False
    """Encoders: the pooler reads position 0, a prompt row (the official "PT" on COPA)."""
    head: str = "linear"
    """linear | verbaliser (the language-model head at a mask token; sets task.format=cloze)"""


@dataclass
class PrefixTuningConfig(MethodConfig):
    length: int = 5
    reparameterisation: str = "mlp"
    """mlp | none | deep (two hidden layers)"""
    hidden: int = 512
    """Width k of the MLP's hidden layer (`mid_dim`)."""
    embedding_width: int | None = None
    """Columns of P'; null: the model's width, as in the code (the paper's k is this one)."""
    init_distribution: str = "normal"
    """normal (N(0, 1), the code) | uniform (U[0, 1), appendix A.5): of P', or of the prefix itself without an MLP"""
    layers: str = "all"
    """all | first:k | last:k of each site's layers"""
    init_text: str | None = None
    """Words whose activations in the frozen model are the starting prefix; `length` is their number of tokens."""
    init_steps: int = 500
    """Updates that fit the MLP to the activations of `init_text`."""
    prefix_dropout: float = 0.0
    sites: list[str] = field(default_factory=list)
    """encoder, decoder, cross; empty means every site the model has."""
    shift_positions: bool = True
    """Real tokens start at position `length`: Li and Liang's code for GPT-2. In their BART they start at 0: false."""
    head: str = "linear"


@dataclass
class PTuningV2Config(MethodConfig):
    length: int = 20
    reparameterisation: str = "embedding"
    """embedding | mlp"""
    hidden: int = 512
    prefix_dropout: float = 0.1
    init_std: float = 0.02
    shift_positions: bool = True
    sites: list[str] = field(default_factory=list)
    layers: str = "all"
    """all | first:k | last:k of the layers (Figure 3)"""
    head: str = "linear"
    """linear | verbaliser (Table 4)"""


@dataclass
class EmbeddingOnlyConfig(MethodConfig):
    length: int = 10
    reparameterisation: str = "mlp"
    """mlp | none"""
    hidden: int = 512


@dataclass
class InfixTuningConfig(MethodConfig):
    length: int = 10
    reparameterisation: str = "mlp"
    """mlp | none"""
    hidden: int = 512


@dataclass
class PTuningConfig(MethodConfig):
    length: int = 3
    """Prompt rows of the task's template."""
    encoder: str = "lstm"
    """lstm | mlp | embedding"""
    lstm_hidden: int | None = None
    """Units of each direction; null: the model's width."""
    lstm_dropout: float = 0.0
    """Between the LSTM's layers while training (the LAMA code has the switch, the few-shot code none)."""
    tune_backbone: bool = False
    placement: str = "template"
    """template | before"""
    head: str = "verbaliser"
    """linear | verbaliser"""


METHOD_SCHEMAS = {
    "prompt_design": PromptDesignConfig,
    "fine_tuning": FineTuningConfig,
    "ft_top": FtTopConfig,
    "bitfit": BitFitConfig,
    "adapter": AdapterConfig,
    "lora": LoraConfig,
    "ia3": Ia3Config,
    "lora_prefix": LoraPrefixConfig,
    "prompt_tuning": PromptTuningConfig,
    "prefix_tuning": PrefixTuningConfig,
    "p_tuning_v2": PTuningV2Config,
    "embedding_only": EmbeddingOnlyConfig,
    "infix_tuning": InfixTuningConfig,
    "p_tuning": PTuningConfig,
}
