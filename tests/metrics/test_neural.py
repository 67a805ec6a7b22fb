"""BERTScore on a tiny local model equals bert_score itself; what is missing is said, and never becomes a number."""

import sys
import types

import pytest

from repro.errors import MetricUnavailable
from repro.metrics import bertscore, bleurt
from repro.metrics.bertscore import BertScore, SpacedTokenizer
from repro.metrics.bleurt import Bleurt


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory) -> str:
    """A BERT with random weights and a vocabulary of letters, as a local folder."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    return str(folder)


@pytest.mark.filterwarnings("ignore")
def test_bertscore_equals_a_greedy_matching_by_hand(tiny_bert: str) -> None:
    pytest.importorskip("bert_score", reason="the extra neural-metrics is not installed")
    import torch
    from transformers import AutoModel, AutoTokenizer

    values, rows = BertScore(tiny_bert, layer=2).score_split(["a b c", "d"], [["a c d e", "b"], ["d"]])
    model, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)

    def vectors(text: str) -> torch.Tensor:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[2][0]
        return torch.nn.functional.normalize(hidden, dim=-1)

    def f_score(output: str, reference: str) -> float:
        similar = vectors(output) @ vectors(reference).T
        precision, recall = similar.max(1).values[1:-1].mean(), similar.max(0).values[1:-1].mean()
        return float(2 * precision * recall / (precision + recall))

    assert rows is not None
    assert rows[0][0] == pytest.approx(max(f_score("a b c", "a c d e"), f_score("a b c", "b")), abs=1e-5)
    assert rows[1][0] == pytest.approx(1.0, abs=1e-5)
    assert values["bertscore"] == pytest.approx(50 * (rows[0][0] + rows[1][0]))


@pytest.mark.filterwarnings("ignore")
def test_empty_texts_are_scored_as_zero_and_padding_does_not_hide_a_reference(tiny_bert: str) -> None:
    pytest.importorskip("bert_score", reason="the extra neural-metrics is not installed")
    _, rows = BertScore(tiny_bert, 2, references=3).score_split(["a b", ""], [["a b"], ["c"]])
    assert rows is not None
    assert [row[0] for row in rows] == pytest.approx([1.0, 0.0], abs=1e-5)


TOKENS = ("pad_token_id", "cls_token_id", "sep_token_id")


class RobertaTokenizer:
    """Notes what it is asked to encode, as transformers 5 does: `add_prefix_space` has no effect."""

    model_max_length = 10**30
    pad_token_id = cls_token_id = sep_token_id = 7

    def encode(self, text: str, **options: object) -> list[int]:
        return [ord(character) for character in text]


def test_robertas_first_word_has_its_space_and_the_empty_text_has_none() -> None:
    spaced = SpacedTokenizer(RobertaTokenizer())
    assert spaced.encode("ab") == [32, 97, 98]
    assert spaced.build_inputs_with_special_tokens([]) == []
    assert (spaced.model_max_length, spaced.sep_token_id) == (512, 7)
    assert SpacedTokenizer(
        types.SimpleNamespace(**dict.fromkeys(TOKENS, 0), model_max_length=8, encode=lambda text: [len(text)])
    ).encode("ab") == [2]


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (BertScore("./no/such/folder"), "folder ./no/such/folder is not there"),
        (BertScore("nobody/no-such-model"), "neither a local folder nor in the hub's cache"),
    ],
    ids=["folder", "hub id"],
)
def test_what_is_missing_is_said(metric, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for module in (bertscore, bleurt):
        monkeypatch.setattr(module, "packaged", lambda name: True)
    assert said in str(metric.unavailable())
    with pytest.raises(MetricUnavailable, match=said.split("/")[0]):
        metric.score_split(["a"], [["b"]])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bertscore, bleurt):
        monkeypatch.setattr(module, "packaged", lambda name: False)
    assert "repro[neural-metrics]" in str(BertScore().unavailable())
    assert "google-research/bleurt" in str(Bleurt().unavailable())


def test_bleurt_gets_its_checkpoint_and_the_first_references(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    asked = {}

    class BleurtScorer:
        def __init__(self, checkpoint: str) -> None:
            asked["checkpoint"] = checkpoint

        def score(self, references: list[str], candidates: list[str]) -> list[float]:
            asked.update(references=references, candidates=candidates)
            return [0.25, -0.05]

    monkeypatch.setitem(sys.modules, "bleurt", types.ModuleType("bleurt"))
    monkeypatch.setitem(sys.modules, "bleurt.score", types.SimpleNamespace(BleurtScorer=BleurtScorer))  # type: ignore
    for module in (bertscore, bleurt):
        monkeypatch.setattr(module, "packaged", lambda name: True)
    values, _ = Bleurt(str(tmp_path)).score_split(["x", "y"], [["a", "b"], [None, "c"]])
    assert values == {"bleurt": pytest.approx(10.0)}
    assert asked == {"checkpoint": str(tmp_path), "references": ["a", "c"], "candidates": ["x", "y"]}
    assert "is not there" in str(Bleurt(str(tmp_path / "none")).unavailable())
