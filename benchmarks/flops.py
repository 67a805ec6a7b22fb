"""How many floating-point operations a step's mathematics needs, whoever computes it.

Real tokens only; 2 a weight and token forward, 2 more for the gradient of activations where a prompt below needs it;
the language-model head on label positions; in the last layer queries, output and feed-forward on the positions that
are read; T5's cross-attention in the cheaper of its two exact forms; attention 1 forward and 2.5 back. Divided by the
step's time and by the rate of a bare matrix product it is the useful-FLOP utilisation: padding, wasted logits,
recomputation and overhead all lower it.
"""

from __future__ import annotations

from benchmarks.workloads import Workload
from repro.config.schema import ModelConfig
from repro.models.encoding.batch import IGNORE, Encoded

ATTENTION = 3.5
"""Forward and backward of attention over its forward."""


def useful(workload: Workload) -> float:
    """FLOPs of one pass over all batches of a workload."""
    count = {"encoder": _encoder, "decoder": _decoder, "encoder_decoder": _encoder_decoder}[workload.model.kind]
    return sum(count(workload.model, workload.prompt, example) for example in workload.examples())


def tokens(workload: Workload) -> int:
    """Real tokens of one pass, inputs and targets, prompts not counted."""
    return sum(len(item.ids) + len(item.target_ids or ()) for item in workload.examples())


def padded_share(workload: Workload) -> float:
    """Real tokens over positions of the batches padded to their longest (inputs; a decoder's targets with them)."""
    lengths = [len(item.ids) for item in workload.examples()]
    size = workload.batch_size
    batches = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    return sum(lengths) / sum(max(batch) * len(batch) for batch in batches)


def _inner(model: ModelConfig) -> int:
    """Weights of one feed-forward part; T5 1.1's is gated."""
    return (3 if model.family == "t5" else 2) * model.width * model.feed_forward


def _prefixed(model: ModelConfig, length: int, prefix: int, read: int, pairs: float) -> float:
    """A stack with keys and values of `prefix` positions in every layer, of whose last states `read` are used.

    Below the first layer's keys nothing is trained, so its projections have no backward pass.
    """
    width, layers, inner = model.width, model.layers, _inner(model)
    projections, rest = 3 * width * width, width * width + inner
    whole = 2 * length * projections + 4 * length * rest + (layers - 2) * 4 * length * (projections + rest)
    last = 4 * length * 2 * width * width + 4 * read * (width * width + rest)
    attention = (layers - 1) * pairs + pairs * read / length
    return whole + last + ATTENTION * 4 * width * attention


def _encoder(model: ModelConfig, prompt: int, example: Encoded) -> float:
    length = len(example.ids)
    return _prefixed(model, length, prompt, 1, length * (length + prompt)) + 4 * model.width**2


def _decoder(model: ModelConfig, prompt: int, example: Encoded) -> float:
    length, said = len(example.ids), sum(label != IGNORE for label in example.token_labels or ())
    pairs = length * (length + 1) / 2 + length * prompt
    return _prefixed(model, length, prompt, said, pairs) + 4 * said * model.width * model.vocabulary


def _encoder_decoder(model: ModelConfig, prompt: int, example: Encoded) -> float:
    """A prompt at the encoder's input: the decoder's first self-attention has nothing trained below it."""
    width, layers, inner = model.width, model.layers, _inner(model)
    attended = model.heads * model.head_dim
    read, said = len(example.ids) + prompt, len(example.target_ids or ())
    square = width * attended
    encoder = layers * (4 * read * (4 * square + inner) + ATTENTION * 4 * attended * read * read)
    own = layers * (4 * said * 4 * square + ATTENTION * 4 * attended * said * (said + 1) / 2)
    own -= 2 * said * 4 * square + 2 * said * square
    projected = 4 * (2 * said + 2 * read) * square + ATTENTION * 4 * attended * said * read
    absorbed = 4 * 4 * said * square + ATTENTION * 4 * model.heads * width * said * read
    decoder = own + layers * (min(projected, absorbed) + 4 * said * inner)
    return encoder + decoder + 4 * said * width * model.vocabulary
