"""The same weights on the CPU through CTranslate2, which writes texts in a fraction of the time.

A model is converted once, adapters merged and 4-bit weights unpacked, into a folder of the cache
that is named for all that it was made from.
"""

import copy
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from r2d import hashes, paths, provenance
from r2d.errors import R2DError
from r2d.method.loss import IGNORE, token_losses
from r2d.models.assets import whole
from r2d.models.backbone import Backbone, EncoderDecoder, Rows, by_length, pad
from r2d.models.decode import score

Precision = Literal["float32", "int8"]

TOLERANCE = 0.01  # nats a token; a model that was converted wrongly is off by tenths at least
UNLIKE = (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


class Unlike(R2DError):
    """CTranslate2 lacks this kind of model, or gives it other probabilities."""


class CTranslate2:
    """Writes and scores in place of `network`, by the model that was converted to `folder`."""

    def __init__(self, network: Backbone, folder: Path, precision: Precision = "float32"):
        import ctranslate2

        self.network, self.folder, self.precision = network, folder, precision
        self.encodes = isinstance(network, EncoderDecoder)
        kind = ctranslate2.Translator if self.encodes else ctranslate2.Generator
        threads = torch.get_num_threads()
        self.model = kind(str(folder), compute_type=precision, intra_threads=threads)
        self.names = names(network)
        self.ids = {name: i for i, name in enumerate(self.names)}

    def __str__(self) -> str:
        return f"CTranslate2 {self.precision}"

    def write(self, rows: Rows, max_new: int) -> list[list[int]]:
        """Greedy continuation ids of a batch of prompts, without the end token."""
        prompts = self._named(rows)
        if not self.encodes:
            written = self.model.generate_batch(
                prompts, max_length=max_new, include_prompt_in_result=False
            )
            return [each.sequences_ids[0] for each in written]
        written = self.model.translate_batch(
            prompts,
            beam_size=1,
            max_input_length=0,
            max_decoding_length=max_new,
            min_decoding_length=0,
        )
        return [[self.ids[name] for name in each.hypotheses[0]] for each in written]

    def score(self, rows: Rows, choices: Sequence[Sequence[str]], size: int) -> Tensor:
        """Exact log-probability of every text of `choices[i]` after prompt i, as `decode.score`.

        A decoder-only model's are the network's, which reads a prompt once for all its choices,
        where CTranslate2 would read it once for each.
        """
        if not self.encodes:
            return score(self.network, rows, choices, size)
        pairs = [(i, k, text) for i, texts in enumerate(choices) for k, text in enumerate(texts)]
        result = torch.full((len(rows), max(map(len, choices), default=0)), -torch.inf)
        if pairs:
            owners, columns, texts = zip(*pairs, strict=True)
            targets = self.network.targets(list(texts))
            prompts = [rows[i] for i in owners]
            result[list(owners), list(columns)] = self.log_likelihoods(prompts, targets, size)
        return result

    def log_likelihoods(self, rows: Rows, targets: Rows, size: int) -> Tensor:
        """Log-probability of each target, which ends with the end token, after its prompt."""
        result = torch.empty(len(rows))
        for batch in by_length(rows, size):
            prompts = self._named([rows[i] for i in batch])
            completions = self._named([targets[i] for i in batch])
            if self.encodes:  # the end token is added there
                completions = [completion[:-1] for completion in completions]
                scored = self.model.score_batch(prompts, completions, max_input_length=0)
            else:
                joined = [a + b for a, b in zip(prompts, completions, strict=True)]
                scored = self.model.score_batch(joined, max_input_length=0)
            for i, each in zip(batch, scored, strict=True):
                result[i] = sum(each.log_probs[-len(targets[i]) :])
        return result

    def _named(self, rows: Rows) -> list[list[str]]:
        return [[self.names[i] for i in row] for row in rows]


def engine(network: Backbone, precision: Precision = "float32") -> CTranslate2 | None:
    """What stands in for `network` on the CPU; None where `converted` gives nothing."""
    with converted(network) as folder:
        return CTranslate2(network, folder, precision) if folder else None


@contextmanager
def converted(network: Backbone, keep: bool = True) -> Iterator[Path | None]:
    """The folder of a model's conversion, which stays in the cache, or goes after the block.

    None on CUDA; and where CTranslate2 lacks such a model or gives it other probabilities, and
    where the cache takes nothing more, which is said. Raises `R2DError` where the cache is damaged.
    """
    store, folder = paths.cache() / "ctranslate2", None
    with ExitStack() as stack:
        try:
            folder = _folder(network, store, None if keep else stack)
        except Unlike as error:
            _say(str(error))
        except OSError as error:
            _say(f"No converted model could be written to {store} ({error.strerror or error}).")
        yield folder


def convert(network: Backbone, folder: Path) -> None:
    """Write the model into `folder`, which is emptied, in CTranslate2's format and float32.

    Raises `Unlike` where it can't be what the network is.
    """
    kind = network.model.config.model_type
    try:
        _write(merged(network.model), network, folder)
        difference = _difference(CTranslate2(network, folder), network)
    except UNLIKE as error:
        raise Unlike(
            f"CTranslate2 can't convert this {kind} model ({type(error).__name__})."
        ) from error
    if not difference < TOLERANCE:
        raise Unlike(f"CTranslate2 gives this {kind} model other probabilities.")


def merged(model: nn.Module) -> nn.Module:
    """The model in plain weights: adapters added, 4 bits unpacked, the rest shared with it."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    config = copy.deepcopy(base.config)
    config.dtype = torch.float32
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = type(base)(config)
    weights = {name: _weight(base, name) for name in plain.state_dict()}
    plain.load_state_dict(weights, assign=True)
    return plain


def names(network: Backbone) -> list[str]:
    """A name for each of a model's token ids, for those too that its tokenizer lacks."""
    known = {i: token for token, i in network.tokenizer.get_vocab().items()}
    size = network.model.get_input_embeddings().num_embeddings
    return [known.get(i, f"<unused {i}>") for i in range(size)]


def _say(problem: str) -> None:
    print(f"{problem} Torch decodes instead, more slowly.", file=sys.stderr, flush=True)


def _folder(network: Backbone, store: Path, passing: ExitStack | None) -> Path | None:
    """Convert into the cache, unless it is there, or into a folder that goes with `passing`."""
    if next(network.model.parameters()).is_cuda:
        return None
    store.mkdir(parents=True, exist_ok=True)
    if passing is not None:
        temporary = tempfile.TemporaryDirectory(dir=store, prefix="partial-")
        folder = Path(passing.enter_context(temporary))
        convert(network, folder)
        return folder
    target = store / _fingerprint(network)
    if not target.is_dir():
        with whole(target) as folder:
            convert(network, folder)
            hashes.record(folder, [path.name for path in folder.iterdir()])
    hashes.expect_whole(target, f"delete {target} and rerun, which makes it again")
    return target


def _fingerprint(network: Backbone) -> str:
    """Changes with the weights, the shape, the tokens, CTranslate2 and this module."""
    import ctranslate2

    model, content = network.model, hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        content.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        content.update(weight.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    shape = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"}
    made_by = [ctranslate2.__version__, provenance.tree(Path(__file__))]
    shown = json.dumps(shape, sort_keys=True, default=str)
    return provenance.digest(content.hexdigest(), shown, names(network), made_by)


def _weight(base: nn.Module, name: str) -> Tensor:
    """One weight of a plain model, from a module that may hold it in 4 bits under an adapter."""
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight

    place, _, name = name.rpartition(".")
    module = base.get_submodule(place)
    adapted = isinstance(module, LoraLayer)
    layer = module.get_base_layer() if adapted else module
    if name != "weight":
        return getattr(layer, name).data
    weight = dequantize_module_weight(layer).data
    return weight + module.get_delta_weight("default").data if adapted else weight


def _write(model: nn.Module, network: Backbone, folder: Path) -> None:
    """Convert by CTranslate2's own converter, which would read model and tokenizer from files."""
    from ctranslate2.converters import TransformersConverter

    tokenizer = network.tokenizer

    class Vocabulary:
        def get_vocab(self) -> dict[str, int]:
            return {name: i for i, name in enumerate(names(network))}

        def __getattr__(self, name: str):
            value = getattr(tokenizer, name)
            # A token that it does without, as bos_token, has to have a name there.
            return tokenizer.eos_token if value is None else value

    class Converter(TransformersConverter):
        def load_model(self, *_, **__) -> nn.Module:
            return model

        def load_tokenizer(self, *_, **__) -> Vocabulary:
            return Vocabulary()

    with tempfile.TemporaryDirectory() as place:
        model.config.save_pretrained(place)
        Converter(place).convert(str(folder), force=True)


@torch.no_grad()
def _difference(converted: CTranslate2, network: Backbone) -> float:
    """The largest difference between two models, in nats a token, over a few random texts."""
    network.model.eval()
    generator, end = torch.Generator().manual_seed(0), network.tokenizer.eos_token_id
    rows = torch.randint(len(converted.names), (4, 16), generator=generator).tolist()
    targets = [[*row[:7], end] for row in reversed(rows)]
    wide = pad(targets, IGNORE, next(network.model.parameters()).device)
    expected = -token_losses(network.forced(*network.batch(rows), wide), wide).sum(1).cpu()
    found = converted.log_likelihoods(rows, targets, len(rows))
    return ((found - expected).abs().max() / len(targets[0])).item()
