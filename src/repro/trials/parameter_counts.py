"""`repro params`: what a method trains and stores, counted on meta tensors, beside what the papers print.

No weights and no downloads: shapes come from conf/model, and weights inside a backbone from the model built without
storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files

from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.methods import registry
from repro.papers import arithmetic
from repro.papers.registry import Reported

PAPERS = ("lester2021", "liliang2021", "liu2022")


@dataclass(frozen=True)
class Row:
    """One number: ours, the paper's, and whether they agree."""

    paper: str
    what: str
    quantity: str
    ours: float
    theirs: float
    verdict: str
    """equal | differs, or `erratum` where the printed number is not what its own arithmetic gives and ours is."""
    source: str


def counts(config: TrialConfig) -> dict[str, int]:
    """`trained`, `stored`, `prompt`, `head` and `frozen` of a trial, as its record would say."""
    import torch

    from repro.config.rules import format_of, validate
    from repro.methods.base import Context
    from repro.models.backbone import spec_of
    from repro.models.tuning import tuned_numbers
    from repro.trials.build import build_method

    validate(config)
    task, spec, format = config.task, spec_of(config.model), format_of(config)
    outputs = None
    if spec.kind == "encoder" and format != "cloze":
        parts = [task] if task.labels else list(task.parts.values()) or [task]  # a transfer has classes of its own
        sizes = {"choice": 1, "ranking": 2, "span": 2 * len(parts)}
        outputs = sizes.get(format, sum(len(part.labels) for part in parts))
    if "init_text" in vars(config.method):  # there are no activations to start from
        config = config.with_value("method.init_text", None)
    method = build_method(config)
    with torch.device("meta"):
        table = torch.empty(spec.vocabulary, spec.width)
        method.build(Context(spec, table, lambda text: [1], task.labels, outputs, [torch.Generator()]))
    numbers: dict[str, int] = dict(method.parameter_counts())
    if method.tuning is None:
        return numbers | {"frozen": config.model.parameters or 0}
    tuned, before, added = tuned_numbers(config.model, method.tuning)
    return numbers | {k: numbers[k] + tuned for k in ("trained", "stored")} | {"frozen": before - tuned + added}


def of(overrides: Sequence[str]) -> tuple[TrialConfig, dict[str, int]]:
    """A config composed as `repro run` does it, and its counts."""
    from repro.config.compose import compose, explain, trial_config

    try:
        config = trial_config(compose(list(overrides)))
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        raise known from error
    return config, counts(config)


def matched(overrides: Sequence[str], budget: int) -> tuple[str, TrialConfig, dict[str, int]]:
    """The size at which a method stores nearest to `budget` numbers: (override, config, counts).

    What is stored grows by the same number with each position, rank or unit, so two counts give the size.

    Raises:
        ConfigError: the method has no size, or the one that matches is refused.
    """
    method = of(overrides)[0].method
    setting = method.capabilities.size
    if setting is None:
        sized = [name for name in registry.names() if registry.method(name).capabilities.size]
        instead = f" {method.capabilities.no_size}" if method.capabilities.no_size else ""
        raise ConfigError(
            f"--budget={budget}: {method.name} has no size to choose.{instead} Leave --budget out to see its counts, "
            f"and match another method to them ({', '.join(sized)})."
        )
    key = f"method.{setting}"
    one, two = (of([*overrides, f"{key}={size}"])[1]["stored"] for size in (1, 2))
    size = max(1, 1 + round((budget - one) / (two - one)))
    return f"{key}={size}", *of([*overrides, f"{key}={size}"])


def lester_rows(cells: Sequence[Reported]) -> list[Row]:
    """Table 4: trainable and total parameters and their share, for every size and length."""
    found = arithmetic.findings("lester2021")
    errata = {finding.cell.id: str(finding.arithmetic) for finding in found if finding.kind == "erratum"}

    @cache
    def config_of(model: str | None) -> TrialConfig:
        fixed = ["task=rte", "method=prompt_tuning", "method.initialisation=sampled_vocabulary"]
        return of([*fixed, f"model={model}"])[0]

    @cache
    def counts_of(model: str | None, length: int) -> dict[str, int]:
        return counts(config_of(model).with_value("method.length", length))

    rows = []
    for cell in cells:
        length = cell.vars["prompt_length"]
        numbers = counts_of(cell.model, length)
        total = numbers["frozen"] + numbers["stored"]
        share = 100 * numbers["trained"] / total
        ours = {"trainable_parameters": numbers["trained"], "total_parameters": total, "percent_trainable": share}[
            cell.metric
        ]
        what = f"{cell.model} P={length}"
        rows.append(_row("lester2021", what, cell.metric, ours, cell.value, errata.get(cell.id), "Table 4"))
    return rows


def _row(
    paper: str, what: str, quantity: str, ours: float, printed: float | str, erratum: str | None, source: str
) -> Row:
    verdict = "equal" if _agree(ours, str(printed)) else "differs"
    if verdict == "differs" and erratum is not None and _agree(ours, erratum):
        verdict = f"erratum: the paper's own arithmetic gives {erratum}"
    return Row(paper, what, quantity, ours, float(printed), verdict, source)


def _agree(ours: float, printed: str) -> bool:
    """Equal, or a share that is the printed one when it is rounded or cut to as many digits: the table has both."""
    if isinstance(ours, int):
        return ours == float(printed)
    unit = Decimal(1).scaleb(int(Decimal(printed).as_tuple().exponent))  # 4e-05 has five decimals
    return Decimal(printed) in {Decimal(ours).quantize(unit, rounding) for rounding in (ROUND_HALF_UP, ROUND_DOWN)}


def other_rows(paper: str | None = None) -> list[Row]:
    """What Li and Liang, Liu et al. and others (or one of them) state, from `papers/parameter_counts.yaml`."""
    import yaml

    text = files("repro.papers").joinpath("parameter_counts.yaml").read_text(encoding="utf-8")
    rows = []
    for item in [item for item in yaml.safe_load(text) if paper in (None, item["paper"])]:
        config, numbers = of(item["overrides"])
        share = 100 * numbers["prompt"] / (config.model.parameters or 1)
        ours = share if item["quantity"] == "percent" else numbers[item["quantity"]]
        agree = abs(ours - item["value"]) <= item["within"] * item["value"]
        what = f"{config.model.name}: {item['what']}"
        if length := vars(config.method).get("length"):
            what += f", P={length}"
        verdict = ("equal" if not item["within"] else f"within {100 * item['within']:g} %") if agree else "differs"
        rows.append(Row(item["paper"], what, item["quantity"], ours, item["value"], verdict, item["source"]))
    return rows


def rows_of(paper: str | None) -> list[Row]:
    """All rows, or a paper's."""
    from repro.papers import registry

    rows = lester_rows(registry.cells(paper="lester2021", kind="parameters")) if paper in (None, "lester2021") else []
    return rows + other_rows(paper)


def table(rows: Sequence[Row], csv: bool) -> str:
    """Lines to print."""
    head = ("paper", "what", "quantity", "ours", "paper's", "verdict", "source")
    cells = [(r.paper, r.what, r.quantity, _shown(r.ours), _shown(r.theirs), r.verdict, r.source) for r in rows]
    if csv:
        import csv as writer
        import io

        out = io.StringIO()
        writer.writer(out, lineterminator="\n").writerows([head, *cells])
        return out.getvalue().rstrip("\n")
    widths = [max(len(row[i]) for row in (head, *cells)) for i in range(len(head))]
    lines = [zip(row, widths, strict=True) for row in (head, *cells)]
    return "\n".join("  ".join(text.ljust(width) for text, width in line).rstrip() for line in lines)


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) and number >= 10 else f"{number:.5g}"
