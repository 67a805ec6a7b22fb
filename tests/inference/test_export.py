"""Prompts that leave and come back: peft loads what we export with equal logits, and starts from files are exact."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.inference.conftest import SWITCHES, places_of
from tests.nested import run

pytestmark = pytest.mark.smoke

Trained = Callable[..., Any]

EXPRESSED = [
    *(("prompt_tuning", model) for model in ("tiny-gpt2", "tiny-llama", "tiny-t5", "tiny-bart")),
    *(("prefix_tuning", model) for model in ("tiny-gpt2", "tiny-llama")),
]
REFUSED = [
    (("prefix_tuning", "tiny-t5"), (), "reaches the decoder's self-attention only"),
    (("prompt_tuning", "tiny-bert"), (), "heads of their own"),
    (("adapter", "tiny-gpt2"), (), "it has no adapter"),
    (("lora", "tiny-bert"), (), "heads of their own"),
    (("prefix_tuning", "tiny-gpt2"), ("method.layers=first:1",), "in every layer"),
    (("prefix_tuning", "tiny-gpt2"), ("method.shift_positions=false",), "shift the position ids"),
    (("prompt_tuning", "tiny-gpt2"), ("method.placement=after",), "before the input only"),
]


def plain_model(model: str) -> Any:
    """The library's own model with the trial's frozen weights, nothing of ours in its forward pass."""
    import torch
    import yaml

    from repro.models.families.family import family
    from tests.models.loaded import random_model

    facts = yaml.safe_load((Path(__file__).parents[2] / "conf" / "model" / f"{model}.yaml").read_text())
    kind = family(facts["family"])
    made, _ = random_model(
        facts, kind, torch.float32, dict.fromkeys((*kind.hidden_dropout, *kind.attention_dropout), 0.0)
    )
    return made.eval()


@pytest.mark.parametrize(("method", "model"), EXPRESSED)
def test_peft_computes_the_same(method, model, trained, tmp_path, cli):
    import peft
    import torch

    from repro.inference.restore import adapter_of, backbone_of, method_of, task_of
    from repro.models.encoding.batch import Encoded, collate

    trial = trained(method, model)
    out = tmp_path / "peft"
    command = ("export", trial.record.key, "--format", "peft", "--out", str(out), *places_of(trial))
    done = cli(*command)
    assert done.code == 0, done.err
    theirs = peft.PeftModel.from_pretrained(plain_model(model), out).eval()
    backbone = backbone_of(trial, torch.device("cpu"))
    injection = method_of(trial, backbone, task_of(trial)).injection(training=False)
    adapted = adapter_of(trial, backbone, task_of(trial))
    ids, target = torch.tensor([[9, 30, 31, 32, 1]]), torch.tensor([[40, 41, 1]])
    with torch.no_grad():
        if backbone.spec.kind == "decoder":
            given = Encoded(
                (*ids[0].tolist(), *target[0].tolist()), 5, token_labels=(-100,) * 5 + tuple(target[0].tolist())
            )
            ours = adapted.losses(collate([given], 0), injection).total
            whole = torch.cat([ids, target], 1)
            logits = theirs(whole, attention_mask=torch.ones_like(whole)).logits[:, -whole.shape[1] :]
            wanted = torch.nn.functional.cross_entropy(logits[0, 4:-1], target[0], reduction="sum")
        else:
            given = Encoded(tuple(ids[0].tolist()), 5, target_ids=tuple(target[0].tolist()))
            ours = adapted.losses(collate([given], 0), injection).total
            logits = theirs(ids, attention_mask=torch.ones_like(ids), labels=target).logits
            wanted = torch.nn.functional.cross_entropy(logits[0], target[0], reduction="sum")
        bare = adapted.losses(collate([given], 0), type(injection)()).total
    assert float(ours) == pytest.approx(float(wanted), rel=1e-5)
    assert abs(float(ours) - float(bare)) > 2e-4, "the prompt does nothing"
    again = cli(*command)
    assert again.code == 2 and "there is something already" in again.err


@pytest.mark.parametrize(
    ("method", "model"),
    [("lora", "tiny-gpt2"), ("lora", "tiny-t5"), ("lora", "tiny-bart"), ("ia3", "tiny-llama"), ("ia3", "tiny-t5")],
)
def test_layers_that_peft_made_go_back_to_it(method, model, trained, tmp_path):
    """The checkpoint in the library's plain model gives the logits of our tuned backbone."""
    import peft
    import torch

    from repro.inference.export import export
    from repro.inference.restore import backbone_of, method_of, task_of
    from repro.models.tuning import tune

    trial = trained(method, model)
    export(trial, "peft", tmp_path / "out", torch.device("cpu"))
    theirs = peft.PeftModel.from_pretrained(plain_model(model), tmp_path / "out").eval()
    backbone = backbone_of(trial, torch.device("cpu"))
    own = tune(backbone, method_of(trial, backbone, task_of(trial)).tuning, seed=5)
    ids, target = torch.tensor([[9, 30, 31, 32, 1]]), torch.tensor([[40, 41, 1]])
    given = {"input_ids": ids} | ({} if backbone.spec.kind == "decoder" else {"labels": target})
    with torch.no_grad():
        bare = plain_model(model)(**given).logits
        for name, parameter in own.items():
            parameter.copy_(trial.backbone_tensors()[name])
        ours, wanted = backbone.whole(**given).logits, theirs(**given).logits
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-6)
    assert (wanted - bare).abs().max() > 1e-3, "the layers do nothing"


@pytest.mark.parametrize(("cell", "more", "why"), REFUSED)
def test_what_peft_cannot_express_is_said(cell, more, why, trained, tmp_path):
    from repro.errors import ConfigError
    from repro.inference.export import export

    with pytest.raises(ConfigError, match=why):
        export(trained(*cell, *more), "peft", tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["prefix_tuning", "prompt_tuning", "adapter"])
def test_safetensors_hold_the_folded_prompt(method, trained, tmp_path):
    from safetensors.torch import load_file

    from repro.inference.export import export

    more = ("method.reparameterisation=mlp", "method.hidden=8") if method == "prefix_tuning" else ()
    trial = trained(method, "tiny-bert", *more)
    export(trial, "safetensors", tmp_path / "out", None)
    written = load_file(tmp_path / "out" / "prompt.safetensors")
    about = json.loads((tmp_path / "out" / "prompt.json").read_text())
    assert {n: list(t.shape) for n, t in written.items()} == about["tensors"]
    assert sum(t.numel() for t in written.values()) == trial.record.parameters["stored"]
    assert about["run_key"] == trial.record.key and not any("w1" in name for name in written)


def test_a_tuned_model_is_a_folder_that_loads(trained, tmp_path):
    """Fine-tuned weights through `save_pretrained`, then as `model.source=folder`: equal hidden states."""
    import torch
    from safetensors.torch import load_file

    from repro.errors import ConfigError, ModelError
    from repro.inference.export import export
    from repro.inference.restore import Finished, backbone_of

    trial = trained("fine_tuning", "tiny-t5")
    export(trial, "transformers", tmp_path / "out", torch.device("cpu"))
    config = trial.config.with_value("model.source", "folder").with_value("model.location", str(tmp_path / "out"))
    moved = replace(trial.record, config=config.to_dict())
    with pytest.raises(ModelError, match="so it is another model"):  # a prompt is of no use to other weights
        backbone_of(Finished(moved, trial.folder), torch.device("cpu"))
    provenance = {name: value for name, value in moved.provenance.items() if name != "weights"}
    loaded = backbone_of(Finished(replace(moved, provenance=provenance), trial.folder), torch.device("cpu"))
    stored = load_file(trial.folder / "prompt.safetensors")
    named = dict(loaded.model.named_parameters())
    assert len(stored) > 20
    for name, tensor in stored.items():
        assert torch.equal(named[name.removeprefix("backbone.")], tensor), name
    with pytest.raises(ConfigError, match="nothing to save"):
        export(trained("prefix_tuning", "tiny-t5"), "transformers", tmp_path / "other", torch.device("cpu"))


# Import --------------------------------------------------------------------------------------------------------------


def test_a_numpy_prompt_is_scored_as_it_is(quick, tmp_path, cli):
    """import, start_from, no steps: the record's prompt is the array; another array is another run key."""
    import numpy as np
    from safetensors.torch import load_file

    keys = []
    for seed in (0, 1):
        array = np.random.default_rng(seed).normal(size=(4, 32)).astype("float32")
        np.save(tmp_path / f"{seed}.npy", array)
        file = tmp_path / f"{seed}.safetensors"
        done = cli("import", str(tmp_path / f"{seed}.npy"), "--out", str(file))
        assert done.code == 0 and f"method.start_from={file}" in done.out, done.err
        overrides = ("model=tiny-t5", "task=rte", "method=prompt_tuning", "method.length=4", *SWITCHES["prompt_tuning"])
        plain = quick(*overrides, "trainer.steps=0", f"method.start_from={file}")
        outcome = run(plain)
        assert outcome.record is not None and outcome.record.cost["steps"] == 0
        keys.append(outcome.record.key)
        stored = load_file(outcome.folder / "prompt.safetensors")["prompt"]
        assert np.array_equal(stored[0].numpy(), array)
        assert outcome.record.config["method"]["start_from"] == file.name, "the folder is no part of a record"
    assert keys[0] != keys[1]


def test_a_peft_checkpoint_comes_back(trained, tmp_path):
    import torch
    from safetensors.torch import load_file

    from repro.inference.export import export
    from repro.inference.import_prompt import import_prompt

    for method, name in (("prompt_tuning", "prompt"), ("prefix_tuning", "decoder.prefix")):
        trial = trained(method, "tiny-gpt2")
        export(trial, "peft", tmp_path / method, None)
        shapes = import_prompt(tmp_path / method, method, tmp_path / f"{method}.safetensors", "decoder")
        assert list(shapes) == [name]
        back = load_file(tmp_path / f"{method}.safetensors")[name]
        assert torch.equal(back, load_file(trial.folder / "prompt.safetensors")[name])


@pytest.mark.parametrize("what", ["pickle", "objects", "vector", "nan", "text", "missing"])
def test_no_pickle_and_no_nonsense_is_read(what, tmp_path, cli):
    import numpy as np

    file = tmp_path / "prompt.npy"

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "opened"),))

    if what == "pickle":
        file.write_bytes(pickle.dumps(Evil()))
    elif what == "objects":
        np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    elif what != "missing":
        np.save(file, {"vector": np.ones(3), "nan": np.full((2, 2), np.nan), "text": np.array([["a"]])}[what])
    done = cli("import", str(file), "--out", str(tmp_path / "out.safetensors"))
    assert done.code == 2 and str(file) in done.err, done.err
    assert not (tmp_path / "out.safetensors").exists() and not (tmp_path / "opened").exists()


def test_a_start_that_does_not_fit_is_refused(quick, tmp_path):
    """Before anything is written: another length, a prefix for a prompt, an MLP, a file that is not there."""
    import numpy as np

    from repro.errors import ConfigError
    from repro.inference.import_prompt import import_prompt

    np.save(tmp_path / "a.npy", np.ones((4, 32), dtype="float32"))
    file = tmp_path / "a.safetensors"
    import_prompt(tmp_path / "a.npy", "prompt_tuning", file, "decoder")
    base = ("model=tiny-t5", "task=rte", f"method.start_from={file}")
    prompt = ("method=prompt_tuning", *SWITCHES["prompt_tuning"])
    with pytest.raises(ConfigError, match=r"prompt is \(4, 32\) there and \(5, 32\) here"):
        run(quick(*base, *prompt, "method.length=5"))
    with pytest.raises(ConfigError, match=r"it has no tensor encoder\.prefix"):
        run(quick(*base, "method=p_tuning_v2", "method.length=4"))
    with pytest.raises(ConfigError, match=r"method\.reparameterisation=none"):
        run(quick(*base, "method=prefix_tuning", "method.length=4", "method.hidden=8"))
    with pytest.raises(ConfigError, match="has no prompt that could start"):
        run(quick(*base, "method=fine_tuning"))
    with pytest.raises(ConfigError, match="cannot be read"):
        run(quick("model=tiny-t5", "task=rte", *prompt, "method.length=4", f"method.start_from={tmp_path}/none"))


RELEASED = {"sst2": (51.8, 748), "mrpc": (32.3, 225), "rte": (34.5, 330)}
"""lester2021 section (f): standard deviation of the coordinates and the largest, of the authors' released prompts."""


@pytest.mark.parametrize("name", RELEASED)
def test_the_authors_released_prompts(name, tmp_path):
    from safetensors.torch import load_file

    from repro.inference.import_prompt import import_prompt

    folder = (
        Path(os.environ.get("REPRO_DATA_ROOT", Path(__file__).parents[3] / "shared" / "data"))
        / "t5_base_lm100k_prompts"
    )
    files = sorted(folder.glob(f"*{name}*.npy")) if folder.is_dir() else []
    if not files:
        pytest.skip(f"the released prompts are not in {folder}")
    shapes = import_prompt(files[0], "prompt_tuning", tmp_path / "p.safetensors", "decoder")
    assert shapes == {"prompt": (1, 100, 768)}
    prompt = load_file(tmp_path / "p.safetensors")["prompt"]
    std, largest = RELEASED[name]
    assert float(prompt.std()) == pytest.approx(std, abs=0.06) and float(prompt.abs().max()) == pytest.approx(
        largest, abs=0.6
    )


@pytest.mark.parametrize("kind", ["prefix through an MLP", "P_TUNING"])
def test_what_pefts_encoders_make_is_imported(kind, tmp_path, cli):
    """peft stores the folded rows, whatever made them."""
    import peft
    import torch
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=64, n_positions=64))
    shared = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3, "encoder_hidden_size": 16}
    if kind == "P_TUNING":
        config, method, name = peft.PromptEncoderConfig(**shared), "prompt_tuning", "prompt"
    else:
        config, method = peft.PrefixTuningConfig(**shared, prefix_projection=True), "prefix_tuning"
        name = "decoder.prefix"
    made = peft.get_peft_model(model, config)
    made.save_pretrained(tmp_path / "theirs", safe_serialization=True)
    done = cli("import", "theirs", "--method", method, "--out", "ours.safetensors")
    assert done.code == 0, done.err
    (tensor,) = [value for key, value in load_file(tmp_path / "ours.safetensors").items() if key == name]
    with torch.no_grad():
        wanted = made.get_prompt_embedding_to_save("default")
    assert torch.equal(tensor[0], wanted.view_as(tensor[0]))
