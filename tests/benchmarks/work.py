"""Multiply-adds and bytes of a T5, from its dimensions and the tokens that it reads and writes.

Counted are matrix products alone, of real tokens alone: padding is an implementation's choice.
"""

from collections.abc import Sequence

from transformers import T5Config

Lengths = Sequence[int]  # tokens of each row, end included


def training(config: T5Config, sources: Lengths, targets: Lengths) -> float:
    """Multiply-adds of forward and backward, which is two forwards: for inputs and for weights."""
    inner = _inner(config)
    pairs = zip(sources, targets, strict=True)
    each = [n * _layer(config) + 2 * n * n * inner + 2 * n * s * inner for s, n in pairs]
    forward = reading(config, sources) + config.num_decoder_layers * sum(each)
    return 3 * (forward + _output(config) * sum(targets))


def reading(config: T5Config, sources: Lengths) -> float:
    """Multiply-adds of prompts: the encoder, and the cross-attention's keys and values of them."""
    inner = _inner(config)
    layer = 4 * config.d_model * inner + _feed_forward(config)
    encoder = config.num_layers * sum(n * layer + 2 * n * n * inner for n in sources)
    return encoder + config.num_decoder_layers * 2 * config.d_model * inner * sum(sources)


def writing(config: T5Config, sources: Lengths, targets: Lengths) -> float:
    """Multiply-adds of targets, one token after the other, once their prompts are read."""
    pairs = zip(sources, targets, strict=True)
    attention = 2 * _inner(config) * sum(n * (n + 1) / 2 + n * s for s, n in pairs)
    layers = config.num_decoder_layers * (_layer(config) * sum(targets) + attention)
    return layers + _output(config) * sum(targets)


def written_bytes(config: T5Config, sources: Lengths, targets: Lengths, width: int) -> float:
    """Bytes read for the same, all rows together.

    Each step reads the decoder's weights, `width` bytes each, once for all rows, and each row's
    cache, which is in fp32.
    """
    pairs = zip(sources, targets, strict=True)
    cached = 2 * _inner(config) * sum(n * (n + 1) / 2 + n * s for s, n in pairs)
    cache = 4 * config.num_decoder_layers * cached
    return width * step_weights(config) * max(targets, default=0) + cache


def step_weights(config: T5Config) -> int:
    """How many weights a step of the decoder reads."""
    return config.num_decoder_layers * _layer(config) + _output(config)


def _inner(config: T5Config) -> int:
    return config.num_heads * config.d_kv


def _layer(config: T5Config) -> int:
    """Weights of a decoder layer that a token passes; the others read the prompt."""
    return 6 * config.d_model * _inner(config) + _feed_forward(config)


def _feed_forward(config: T5Config) -> int:
    return (3 if config.is_gated_act else 2) * config.d_model * config.d_ff


def _output(config: T5Config) -> int:
    return config.vocab_size * config.d_model
