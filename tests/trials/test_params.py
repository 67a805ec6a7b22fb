"""`repro params`: the papers' counts from the methods' own tensors, errata shown, a wrong number found out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from repro.cli import methods_page
from repro.config.compose import conf_dir, options
from repro.config.conversion import to_plain
from repro.papers import registry
from repro.trials import parameter_counts

WIDTHS = {"small": 512, "base": 768, "large": 1024, "xl": 2048, "xxl": 4096}


@pytest.fixture(scope="module")
def table4() -> list[parameter_counts.Row]:
    return parameter_counts.lester_rows(registry.cells(paper="lester2021", kind="parameters"))


def test_every_row_of_table_4_is_equal_or_one_of_the_errata(table4):
    assert len(table4) == 90
    for row in table4:
        size, length = row.what.split("-")[1], int(row.what.partition("P=")[2])
        if row.quantity == "trainable_parameters":
            assert row.ours == WIDTHS[size] * length
    odd = [(row.what, row.quantity) for row in table4 if row.verdict != "equal"]
    assert all(row.verdict == "equal" or row.verdict.startswith("erratum") for row in table4), odd
    assert sorted(odd) == [
        ("t5-large-lm-adapt P=100", "percent_trainable"),
        ("t5-small-lm-adapt P=20", "total_parameters"),
        ("t5-small-lm-adapt P=20", "trainable_parameters"),
        ("t5-xxl-lm-adapt P=50", "total_parameters"),
    ]


def test_a_wrong_number_differs():
    [cell] = [c for c in registry.cells(kind="parameters") if c.id == "lester2021/T4.base.p100.trainable_parameters"]
    [good], [bad] = (parameter_counts.lester_rows([c]) for c in (cell, replace(cell, value=76_801)))
    assert (good.verdict, good.ours) == ("equal", 76_800) and bad.verdict == "differs"
    [share] = [c for c in registry.cells(kind="parameters") if c.id == "lester2021/T4.xxl.p1.percent_trainable"]
    for value, verdict in ((share.value, "equal"), (float(share.value) * 2, "differs")):
        assert parameter_counts.lester_rows([replace(share, value=value)])[0].verdict == verdict, (
            "a share in 1e-05 notation"
        )


def test_the_other_papers():
    rows = parameter_counts.other_rows()
    numbers = {(row.what, row.quantity): row.ours for row in rows}
    assert numbers[("gpt2-medium: prefix, E2E, P=5", "stored")] == 5 * 2 * 24 * 1024
    assert numbers[("gpt2-medium: FT-top2", "trained")] == 25_194_496
    assert numbers[("gpt2-medium: adapter, 0.1 %", "stored")] == 368_784
    assert numbers[("gpt2-medium: adapter, 3 %", "stored")] == 11_089_152
    assert {row.paper for row in rows} == {"liliang2021", "liu2022"}
    assert not [row for row in rows if row.verdict == "differs"]


def test_one_config(cli):
    done = cli("params", "method=lora", "model=tiny-gpt2", "task=e2e", "method.rank=4")
    assert done.code == 0, done.err
    assert "1,024" in done.out and "trained" in done.out
    full = cli("params", "method=fine_tuning", "model=bert-base-cased", "task=rte")
    assert full.code == 0 and "108,310,272" not in full.out.split("frozen")[1] and "108,311,810" in full.out


def raw(method: str) -> dict[str, Any]:
    """The method's file as it stands: composing all of them took seconds before any test ran."""
    return dict(yaml.safe_load((conf_dir() / "method" / f"{method}.yaml").read_text(encoding="utf-8")))


TUNES = [name for name in options("method") if raw(name).get("tuned_formula")]


@pytest.mark.parametrize("model", ["tiny-bert", "tiny-gpt2", "tiny-t5", "tiny-bart", "tiny-llama"])
@pytest.mark.parametrize("name", TUNES)
def test_formulas_of_what_is_tuned(name, model):
    """The page's expressions, from the modules of the library's model, against what the method would train."""
    from peft.utils import constants

    task = {"tiny-bert": "rte", "tiny-gpt2": "e2e", "tiny-llama": "e2e"}.get(model, "rte")
    if methods_page.refusal(name, model, task, "any") is not None or (name, model) == ("bitfit", "tiny-llama"):
        return
    fixed = [f"method={name}", f"model={model}", f"task={task}", "task.max_input_length=48"]
    fixed += {"ft_top": ["method.blocks=1"], "lora": ["method.rank=3"], "lora_prefix": ["method.rank=3"]}.get(name, [])
    fixed += ["method.hidden=7", "method.length=3"] if name == "lora_prefix" else []
    _, found = parameter_counts.of(fixed)
    made = library_model(model)
    named, family = dict(made.named_modules()), made.config.model_type
    matrices = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[family]
    scaled = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING[family]
    inner = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING[family]

    def chosen(endings: Any) -> list[Any]:
        return [module for key, module in named.items() if any(key == e or key.endswith(f".{e}") for e in endings)]

    def sides(module: Any) -> tuple[int, int]:
        """Inputs and outputs: GPT-2's matrices lie the other way."""
        first, second = module.weight.shape
        return (first, second) if family == "gpt2" else (second, first)

    block, norm = last_block(made, family)
    letters = {
        "W": sum(p.numel() for p in made.parameters()),
        "T": sum(p.numel() for p in block.parameters()),
        "F": 0 if norm is None else sum(p.numel() for p in norm.parameters()),
        "b": sum(p.numel() for key, p in made.named_parameters() if key.endswith("bias")),
        "M": sum(sum(sides(module)) for module in chosen(matrices)),
        "V": sum(sides(module)[1] for module in chosen(set(scaled) - set(inner)))
        + sum(sides(module)[0] for module in chosen(set(scaled) & set(inner))),
        "rank": 3,
        "blocks": 1,
    }
    assert set(letters) == {letter for key in methods_page.TUNED_LETTERS for letter in key.split(", ")}
    tuned = eval(methods_page.settings(name).tuned_formula, {}, letters)
    assert found["stored"] - found["prompt"] - found["head"] == tuned > 0


def library_model(model: str) -> Any:
    """On the meta device."""
    import torch

    from repro.models.families.family import family
    from tests.models.loaded import build

    config, _ = parameter_counts.of(["method=fine_tuning", f"model={model}", "task=cb", "task.max_input_length=48"])
    with torch.device("meta"):
        return build(to_plain(config.model), family(config.model.family), torch.float32, {})


def last_block(made: Any, family: str) -> tuple[Any, Any]:
    """The last block, and the norm behind it if the family has one."""
    if family == "bert":
        return made.encoder.layer[-1], None
    if family == "gpt2":
        return made.transformer.h[-1], made.transformer.ln_f
    if family == "llama":
        return made.model.layers[-1], made.model.norm
    if family == "bart":
        return made.model.decoder.layers[-1], None
    return made.decoder.block[-1], made.decoder.final_layer_norm


@pytest.mark.parametrize(
    ("name", "budget", "said"),
    [
        ("prompt_tuning", 5 * 32 + 3, "method.length=5"),
        ("prefix_tuning", 9 * 2 * 2 * 32 - 40, "method.length=9"),
        ("lora", 4 * 2 * (32 + 96) + 1, "method.rank=4"),
        ("adapter", 1, "method.bottleneck=1"),
    ],
)
def test_a_budget_chooses_the_size(name, budget, said, cli):
    """On GPT-2 of width 32 and two layers; sizes below and above are farther off."""
    fixed = ["model=tiny-gpt2", "task=e2e", f"method={name}", "task.max_input_length=48"]
    fixed += ["method.initialisation=sampled_vocabulary"] if name == "prompt_tuning" else []
    done = cli("params", *fixed, "--budget", str(budget))
    assert done.code == 0 and done.out.startswith(f"{said} stores "), done.err
    key, size = said.split("=")
    off = [
        abs(parameter_counts.of([*fixed, f"{key}={n}"])[1]["stored"] - budget)
        for n in (int(size), int(size) + 1, max(1, int(size) - 1))
    ]
    assert off[0] == min(off)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("method=bitfit model=tiny-gpt2 task=e2e --budget 9", "bitfit has no size to choose"),
        ("method=ia3 model=tiny-gpt2 task=e2e --budget 9", "method.targets"),
        ("method=ft_top model=tiny-gpt2 task=e2e --budget 1000000", "method.blocks"),
        ("--budget 9", "one config with it"),
        ("method=nope", "allowed are"),
        ("--csv method=lora", "for the papers' tables"),
        ("method=infix_tuning model=tiny-bert task=rte", "decoder-only"),
    ],
)
def test_what_cannot_be_counted_is_refused(words, said, cli):
    done = cli("params", *words.split())
    assert done.code == 2 and said in done.err, done.err


@pytest.mark.parametrize(
    ("task", "outputs"), [("mpt_ner_open", 9 + 13), ("mpt_qa", 4), ("mpt_superglue", 2 + 3 + 4 * 2), ("qqp_to_mrpc", 2)]
)
def test_a_mixtures_head_has_the_classes_of_all_parts(task, outputs):
    _, found = parameter_counts.of(["method=p_tuning_v2", "method.length=3", "model=bert-base-cased", f"task={task}"])
    assert found["head"] == outputs * 769


def test_the_table_prints(cli):
    done = cli("params", "--paper", "liu2022", "--csv")
    assert done.code == 0, done.err
    lines = done.out.strip().splitlines()
    assert lines[0] == "paper,what,quantity,ours,paper's,verdict,source" and len(lines) == 5
