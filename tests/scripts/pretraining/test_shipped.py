"""The checkpoints that the package brings: what conf/model says, loadable, read by their docs, and trained as said."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from repro.doctor.findings import READY
from repro.doctor.models import models as findings
from repro.store.files import sha256_file
from repro.tasks.microworld.corpus import documents
from scripts.pretraining.accounts import SHIPPED, accounts, last_loss, table
from scripts.pretraining.command import corpus_identity, plain, pretrain
from scripts.pretraining.from_scratch import Pretrained, new_model
from scripts.pretraining.rows import RowMaker, pool_batches
from scripts.pretraining.settings import composed, facts_of, named
from scripts.pretraining.training import HELD_OUT_SEED
from tests.models.loaded import load_backbone

ROOT = Path(__file__).resolve().parents[3]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "model").glob("mini-*.yaml"))
TRAINER = {"dtype": "float32", "attention": "sdpa"}
AGAIN, TOLERANCE = 300, 0.15
"""Steps that the smallest model is trained again, and how far its loss may then be from the documented one, in nats.
The same machine gives the same loss; another processor rounds other sums in bfloat16."""


def test_every_checkpoint_is_shipped_and_no_other():
    assert sorted(accounts()) == NAMES == sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))
    kept = {name for config in named() for phase in composed(config).phases for name in phase.keep.values()}
    assert kept == set(NAMES)
    assert {finding.state for finding in findings(NAMES)} == {READY}


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_half_precision_on_disk_and_float32_in_use(name):
    with safe_open(SHIPPED / name / "model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    facts = facts_of(name)
    backbone, deviations = load_backbone(facts, TRAINER, torch.device("cpu"))
    assert deviations == [] and backbone.dtype == torch.float32  # the facts are checked against the weights
    assert sum(parameter.numel() for parameter in backbone.model.parameters()) == facts["parameters"]
    assert backbone.family.name == facts["family"]
    if facts["kind"] == "encoder":
        whole, missing = load_backbone(facts, TRAINER, torch.device("cpu"), "cloze")
        assert missing == [] and whole.lm_head is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_account_is_of_these_weights_this_config_and_this_text(name):
    account = accounts()[name]
    settings = composed(account["settings"]["model"])
    assert account["settings"] == plain(settings), "conf/pretraining changed: train again"
    assert account["corpus"] == corpus_identity(documents), "the small world changed: train again"
    weights = SHIPPED / name / "model.safetensors"
    assert account["sha256"] == sha256_file(weights) and account["bytes"] == weights.stat().st_size


@pytest.mark.parametrize("config", named())
def test_losses_fall_far_below_those_of_drawn_weights(config):
    curve = accounts()[config]["curve"]
    for phase in composed(config).phases:
        of_phase = [point["held_out_loss"] for point in curve if point["objective"] == phase.objective]
        assert of_phase[-1] < of_phase[0]
    assert curve[0]["held_out_loss"] > 7 and curve[-1]["held_out_loss"] < 4


def test_larger_models_know_the_text_better():
    ladder = [last_loss(accounts()[f"mini-t5-{size}"]) for size in ("xs", "s", "m", "l")]
    assert ladder == sorted(ladder, reverse=True)


@pytest.mark.parametrize("config", named())
def test_shipped_weights_have_the_documented_loss(config):
    """Of the held-out documents, in float32 from the half-precision file, within 0.02 nats of the training's own."""
    account, facts, settings = accounts()[config], facts_of(config), composed(config)
    backbone, _ = load_backbone(
        facts, TRAINER, torch.device("cpu"), "cloze" if facts["kind"] == "encoder" else "text_to_text"
    )
    drawn = new_model(facts, backbone.tokenizer, 0)
    shipped = backbone.whole.state_dict()
    missing = drawn.load_state_dict(shipped, strict=False).missing_keys
    assert all("seq_relationship" in key or "pooler" in key for key in missing)
    model = Pretrained(facts, drawn.eval(), backbone.tokenizer)
    stream = documents(HELD_OUT_SEED)
    texts = [next(stream) for _ in range(settings.held_out_documents)]
    maker = RowMaker(account["objective"], backbone.tokenizer, settings.context)
    total = count = 0.0
    with torch.no_grad():
        for batch in pool_batches(maker, texts, HELD_OUT_SEED, 0, settings.batch_tokens):
            row = model.losses(replace(batch, labels=None))  # the words' loss, without BERT's second one
            total, count = total + float(row.total.sum()), count + int(row.count.sum())
    assert total / count == pytest.approx(last_loss(account), abs=0.02)


def test_the_page_has_the_accounts_table():
    assert table() in (ROOT / "docs" / "mini-models.md").read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.skipif(not os.environ.get("REPRO_LONG_TESTS"), reason="half a minute of training: REPRO_LONG_TESTS=1")
def test_training_the_smallest_again_gives_its_documented_loss(tmp_path):
    documented = {point["step"]: point["held_out_loss"] for point in accounts()["mini-t5-xs"]["curve"]}
    run = pretrain(composed("mini-t5-xs"), documents, tmp_path, until=AGAIN)
    again = {point["step"]: point["held_out_loss"] for point in run.progress.curve}
    assert sorted(again) == [0, AGAIN]
    assert again == pytest.approx({step: documented[step] for step in again}, abs=TOLERANCE)
    assert documented[0] - documented[AGAIN] > 3, "the loss had fallen far by then"
