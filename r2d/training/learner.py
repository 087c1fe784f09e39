"""A network as the loss sees it (`method.loss.Model`): texts in, own labels and likelihoods out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from torch import Tensor, device

from r2d.data.record import Record, canonical
from r2d.method import prompts
from r2d.method.loss import IGNORE, Task, summed_loss
from r2d.models.backbone import pad
from r2d.models.decode import Decoder
from r2d.training.batches import TokenCache


class Learner:
    """Answers what `method.loss.loss` asks, with a decoder's network and a cache of token ids.

    `micro_batch` is how many examples go through the network together, all of them if None.
    """

    def __init__(self, decoder: Decoder, tokens: TokenCache, accelerator, micro_batch: int | None):
        self.decoder, self.tokens = decoder, tokens
        self.accelerator, self.micro_batch = accelerator, micro_batch

    @property
    def device(self) -> device:
        """Where the network is."""
        return self.accelerator.device

    def decide(self, cases: Sequence[Record], train_mode: bool) -> list[str]:
        """The model's own greedy label of each case, in the spelling of its label set if it is there."""
        self.decoder.model.train(train_mode)
        choices = self.decoder.choices(cases)
        rows = self.tokens.sources([prompts.predict(case.text) for case in cases])
        texts = self.decoder.label_texts(rows, choices=choices)
        self.decoder.model.train()
        return [canonical(text, known) or text for text, known in zip(texts, choices, strict=True)]

    def nll(self, task: Task, sources: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Summed negative log-likelihood of the targets' tokens, a scalar with its graph."""
        labels = pad(self.tokens.targets(task, targets), IGNORE, self.device)
        return summed_loss(self.logits(sources, labels), labels)

    def logits(self, sources: Sequence[str], targets: Tensor) -> Tensor:
        """Logits of padded `targets` (rows, length), shape (rows, length, vocabulary)."""
        network = self.decoder.network
        with self._autocast():
            return network.forced(*network.batch(self.tokens.sources(sources)), targets)

    def micro_batches(self, sources: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
        """Examples of like length together, shortest first: less padding, and the same sum."""
        rows = self.tokens.sources(sources)
        lengths = [
            len(source) + len(target)
            for source, target in zip(rows, self.tokens.targets("rationale", targets), strict=True)
        ]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        size = self.micro_batch or len(order)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _autocast(self) -> AbstractContextManager:
        return self.accelerator.autocast()
