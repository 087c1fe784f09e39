"""A network as the loss sees it (`method.loss.Model`): texts in, own labels and likelihoods out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from r2d.data.record import Record, canonical
from r2d.method import prompts
from r2d.method.loss import IGNORE, Task, summed_loss, token_losses
from r2d.models.backbone import pad
from r2d.models.decode import Decoder
from r2d.training.batches import TokenCache


class Learner:
    """Answers what `method.loss.loss` asks, with a decoder's network and a cache of token ids.

    `micro_batch` is how many examples go through the network together, all of them if None;
    `autocast` gives the context in which the network computes logits.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokens: TokenCache,
        micro_batch: int | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self.decoder, self.tokens = decoder, tokens
        self.micro_batch, self.autocast = micro_batch, autocast

    def decide(self, cases: Sequence[Record], train_mode: bool) -> list[str]:
        """The model's own greedy label of each case, as its label set spells it if it is there."""
        model = self.decoder.model
        mode = model.training
        model.train(train_mode)
        choices = self.decoder.choices(cases)
        rows = self.tokens.sources([prompts.predict(case.text) for case in cases])
        texts = self.decoder.label_texts(rows, choices=choices)
        model.train(mode)
        return [canonical(text, known) or text for text, known in zip(texts, choices, strict=True)]

    def nll(self, task: Task, sources: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Summed negative log-likelihood of the targets' tokens, a scalar with its graph."""
        return summed_loss(*self._logits(task, sources, targets))

    def micro_batches(self, sources: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
        """Examples of like length together, shortest first: less padding, and the same sum."""
        rows = zip(
            self.tokens.sources(sources), self.tokens.targets("rationale", targets), strict=True
        )
        lengths = [len(source) + len(target) for source, target in rows]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        size = self.micro_batch or len(order)
        return [order[start : start + size] for start in range(0, len(order), size)]

    @torch.no_grad()
    def each_token(self, task: Task, source: str, target: str) -> list[tuple[str, float]]:
        """The tokens of one target with the loss of each, in nats: what `nll` sums."""
        losses = token_losses(*self._logits(task, [source], [target]))[0].tolist()
        (ids,) = self.tokens.targets(task, [target])
        return [(self.decoder.tokenizer.decode([i]), x) for i, x in zip(ids, losses, strict=True)]

    def _logits(
        self, task: Task, sources: Sequence[str], targets: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Logits (rows, length, vocabulary) and padded target ids (rows, length)."""
        network = self.decoder.network
        ids, mask = network.batch(self.tokens.sources(sources))
        labels = pad(self.tokens.targets(task, targets), IGNORE, ids.device)
        with self.autocast():
            return network.forced(ids, mask, labels), labels
