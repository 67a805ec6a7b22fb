"""The loop: learns, is a function of its config, goes on where it stood, writes what the phases keep."""

from pathlib import Path

import pytest
import torch

from repro.errors import ConfigError, ModelError, TrialFailed
from scripts.pretraining.byte_pair import family_tokenizer, learnt_pairs, tokenizer_facts
from scripts.pretraining.from_scratch import Pretrained, new_model
from scripts.pretraining.settings import OBJECTIVES, Phase, composed, facts_of, named
from scripts.pretraining.training import Run, kept_after, rate
from tests.scripts.pretraining.worded import documents, settings

MODELS = {"span_corruption": "mini-t5-xs", "infilling": "mini-bart", "causal_lm": "mini-gpt2", "masked_lm": "mini-bert"}


def run(objective: str, folder: Path, keep=lambda *_: None, seed: int = 1, **changed) -> Run:
    """A run of the model of that objective, shrunk, on the made-up documents."""
    name = MODELS.get(objective, "mini-t5-xs")
    phases = changed.pop("phases", [Phase(objective=objective, steps=12, learning_rate=5e-3, warmup_steps=2)])
    made = settings(name, *phases, seed=seed, **changed)
    facts = facts_of(name)
    stream = documents(0)
    pairs = learnt_pairs((next(stream) for _ in range(200)), made.pieces, facts["family"])
    tokenizer = family_tokenizer(pairs, facts["family"], made.context)
    facts |= {"vocabulary": len(tokenizer), "layers": 1, "width": 16, "heads": 2, "head_dim": 8, "feed_forward": 16}
    facts["decoder_layers"] = 1 if facts["kind"] == "encoder_decoder" else None
    model = Pretrained(facts, new_model(facts, tokenizer, made.seed), tokenizer)
    return Run(made, model, documents, folder, keep, quiet=True)


def weights(made: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in made.model.model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_is_learnt(objective, tmp_path):
    phase = Phase(objective=objective, steps=60, learning_rate=1e-2, warmup_steps=5)
    made = run(objective, tmp_path, phases=[phase], evaluate_every=30)
    curve = made.train().curve
    assert [point["step"] for point in curve] == [0, 30, 60]
    first, last = curve[0]["held_out_loss"], curve[-1]["held_out_loss"]
    assert last < first - 1.0, "a nat better than drawn weights"
    assert made.held_out_loss(objective) == last, "the noise of the held-out documents stays the same"
    assert made.progress.tokens > 60 * 100 and made.progress.padded_tokens >= made.progress.tokens


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    made = [run("span_corruption", tmp_path / str(number), seed=seed) for number, seed in enumerate((1, 1, 2))]
    curves = [one.train().curve for one in made]
    losses = [[point["held_out_loss"] for point in curve] for curve in curves]
    assert losses[0] == losses[1] != losses[2]
    assert same(weights(made[0]), weights(made[1])) and not same(weights(made[0]), weights(made[2]))


TWO = [
    Phase(objective="span_corruption", steps=8, learning_rate=5e-3, warmup_steps=2),
    Phase(objective="prefix_lm", steps=6, learning_rate=3e-3, warmup_steps=1),
]


@pytest.mark.parametrize("until", [4, 8, 11])
def test_an_interrupted_run_ends_as_one_that_was_not(until, tmp_path):
    """Stopped at a checkpoint within a phase, between two, and behind one (at 11 the last checkpoint is of step 8)."""
    whole = run("span_corruption", tmp_path / "whole", phases=TWO)
    whole.train()
    run("span_corruption", tmp_path / "parts", phases=TWO).train(until)
    rest = run("span_corruption", tmp_path / "parts", phases=TWO)
    rest.train()
    assert rest.progress.step == 14 and same(weights(whole), weights(rest))
    plain = [{key: value for key, value in point.items() if key != "seconds"} for point in whole.progress.curve]
    assert [{key: value for key, value in point.items() if key != "seconds"} for point in rest.progress.curve] == plain
    assert rest.progress.tokens == whole.progress.tokens


def test_checkpoints_are_kept_at_their_steps(tmp_path):
    phases = [TWO[0], Phase(objective="prefix_lm", steps=10, learning_rate=3e-3)]
    phases[1].keep = {0: "none", 10: "some", 50: "half", 100: "all"}
    seen: dict[str, int] = {}
    run("span_corruption", tmp_path, lambda name, now: seen.update({name: now.step}), phases=phases).train()
    assert seen == {"none": 8, "some": 9, "half": 13, "all": 18}
    assert [kept_after(phases[1], done) for done in (0, 1, 2, 5, 10)] == [["none"], ["some"], [], ["half"], ["all"]]


def test_the_rate_rises_stays_and_falls():
    phase = Phase(objective="prefix_lm", steps=100, learning_rate=2.0, warmup_steps=9, decay_share=0.4)
    rates = [rate(phase, step) for step in range(100)]
    assert rates[:10] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)])
    assert rates[10:60] == [2.0] * 50
    assert rates[60:] == pytest.approx([2.0 * (100 - step) / 40 for step in range(60, 100)])
    assert rate(phase, 99) > 0


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(tmp_path):
    made = run("span_corruption", tmp_path)
    with torch.no_grad():
        next(made.model.model.parameters()).fill_(float("nan"))
    with pytest.raises(TrialFailed, match=r"NaN at step 1.*learning_rate"):
        made.train()


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_muon_takes_the_matrices_between_embedding_and_head(objective, tmp_path):
    made = run(objective, tmp_path)
    names = {parameter: name for name, parameter in made.model.model.named_parameters()}
    adamw, muon = ([names[p] for group in o.param_groups for p in group["params"]] for o in made._optimisers)
    assert sorted([*adamw, *muon]) == sorted(names.values()), "every parameter once"
    blocks = ("block", "layer", ".h.")
    matrices = {name for parameter, name in names.items() if parameter.dim() == 2}
    inside = {name for name in matrices if any(part in name for part in blocks)}
    assert set(muon) == {name for name in inside if "relative_attention_bias" not in name and "embed" not in name}
    [one] = run(objective, tmp_path / "adamw", optimiser="adamw")._optimisers
    assert sum(len(group["params"]) for group in one.param_groups) == len(names)


@pytest.mark.parametrize("objective", ["span_corruption", "infilling", "causal_lm"])
def test_packed_rows_have_the_same_loss_and_a_model_goes_on_with_a_text(objective, tmp_path):
    plain, packed = run(objective, tmp_path / "a"), run(objective, tmp_path / "b")
    packed.model._adapter.backbone.packing = True
    [batch, *_] = plain._held_out[objective]
    with torch.no_grad():
        assert torch.allclose(plain.model.losses(batch).total, packed.model.losses(batch).total, atol=1e-3)
    packed.train(3)
    text = packed.model.continued("anna lives in", 5)
    assert isinstance(text, str) and text == packed.model.continued("anna lives in", 5)


def test_a_vocabulary_that_is_not_the_tokenizers_is_refused():
    facts = facts_of("mini-t5-xs") | {"vocabulary": 7}
    tokenizer = family_tokenizer(learnt_pairs(["a b"], 256, "t5"), "t5", 16)
    with pytest.raises(ModelError, match=r"model\.vocabulary=7"):
        new_model(facts, tokenizer, 0)


def test_a_family_without_facts_of_its_own_has_those_of_its_kind():
    assert tokenizer_facts("llama") == tokenizer_facts("gpt2") and tokenizer_facts("roberta").encoder


@pytest.mark.parametrize("name", named())
def test_every_config_is_of_a_model_and_keeps_it(name):
    made = composed(name)
    assert made.model == name and made.phases[-1].keep[100] == name
    special = len(tokenizer_facts(facts_of(name)["family"]).special)
    assert facts_of(name)["vocabulary"] == made.pieces + special
    assert all(phase.steps > phase.warmup_steps for phase in made.phases)


def phase(objective: str = "prefix_lm", steps: int = 3, keep: str = "{}") -> list[str]:
    return [f"phases=[{{objective: {objective}, steps: {steps}, learning_rate: 1.0, keep: {keep}}}]"]


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("nothing", [], r"choose one of .*mini-t5-xs"),
        ("mini-t5-xs", ["sedd=2"], r"sedd"),
        ("mini-t5-xs", ["seed=two"], r"two"),
        ("mini-t5-xs", ["context=4"], r"context is at least 8"),
        ("mini-t5-xs", ["batch_tokens=100"], r"batch_tokens at least context"),
        ("mini-t5-xs", ["optimiser=sgd"], r"adamw or muon"),
        ("mini-t5-xs", phase("causal_lm"), r"span_corruption or prefix_lm"),
        ("mini-t5-xs", phase(steps=0), r"steps >= 1"),
        ("mini-t5-xs", phase(keep="{101: mini-t5-xs}"), r"0 to 100"),
        ("mini-t5-xs", phase(keep="{100: mini-t5-l}"), r"other facts"),
        ("mini-t5-xs", phase(keep="{100: mini-none}"), r"no mini-none"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(name, overrides, said):
    with pytest.raises(ConfigError, match=said):
        composed(name, overrides)
