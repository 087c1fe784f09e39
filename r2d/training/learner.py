"""A network as the loss sees it (`method.loss.Model`): texts in, own labels and likelihoods out."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import gumbel_softmax

from r2d.data.record import Record, canonical
from r2d.method import prompts
from r2d.method.loss import IGNORE, Task, summed_loss, token_losses
from r2d.models import gradient_checkpointing
from r2d.models.backbone import Rows, by_length, pad
from r2d.models.decode import Decoder, score, verified
from r2d.training import cpu
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
        self.multiple = cpu.MULTIPLE if decoder.model.device.type == "cpu" else 1

    def decide(self, cases: Sequence[Record], train_mode: bool) -> list[str]:
        """The model's own greedy label of each case, as its label set spells it if it is there."""
        model = self.decoder.model
        mode = model.training
        model.train(train_mode)
        choices = self.decoder.choices(cases)
        rows = self.tokens.sources([prompts.predict(case.text) for case in cases])
        with gradient_checkpointing.suspended(model):
            if train_mode or not all(choices):
                texts = self.decoder.label_texts(rows, choices=choices)
            else:
                texts = self._verified(rows, cases, choices)
        model.train(mode)
        return [canonical(text, known) or text for text, known in zip(texts, choices, strict=True)]

    def _verified(
        self, rows: Rows, cases: Sequence[Record], choices: Sequence[tuple[str, ...]]
    ) -> list[str]:
        """Greedy label texts, each found from its case's choices as drafts, the gold one first.

        Which draft comes first decides how long it takes, never what is written.
        """
        drafts = [
            self.tokens.targets("label", [case.label, *known])
            for case, known in zip(cases, choices, strict=True)
        ]
        longest = max((len(draft) for each in drafts for draft in each), default=0)
        network, texts = self.decoder.network, [""] * len(rows)
        for part in by_length(rows, self.decoder.batch):
            ids, mask = network.batch([rows[i] for i in part], self.multiple)
            written = verified(network, ids, mask, longest, [drafts[i] for i in part])
            decoded = network.tokenizer.batch_decode(written, skip_special_tokens=True)
            for i, text in zip(part, decoded, strict=True):
                texts[i] = text.strip()
        return texts

    @torch.no_grad()
    def confidences(self, cases: Sequence[Record], labels: Sequence[str]) -> list[float]:
        """How sure the model is of labels: the geometric mean of their tokens' probability."""
        model, network = self.decoder.model, self.decoder.network
        mode = model.training
        model.eval()
        rows = self.tokens.sources([prompts.predict(case.text) for case in cases])
        scores = score(network, rows, [(label,) for label in labels], self.decoder.batch)
        model.train(mode)
        lengths = [max(1, len(ids)) for ids in self.tokens.targets("label", labels)]
        return [math.exp(x / n) for x, n in zip(scores[:, 0].tolist(), lengths, strict=True)]

    def read_back(
        self,
        sources: Sequence[str],
        rationales: Sequence[str],
        labels: Sequence[str],
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """`nll` of the rationales, and that of the labels given the rationales that the model has.

        Its distribution at every token of the gold rationale is sampled by Gumbel-softmax, and the
        mean embedding under the sample stands in the predict prompt (Reason2Decide-C).
        """
        logits, ids = self._logits("rationale", sources, rationales, self.multiple)
        table = self.decoder.model.get_input_embeddings().weight
        sample = gumbel_softmax(logits.float(), tau=temperature)
        (prompt,) = self.decoder.encode([prompts.predict("")])
        prefix = torch.tensor(prompt[:-1], device=ids.device)  # without its end token
        targets = pad(
            self.tokens.targets("label", labels), IGNORE, ids.device, multiple=self.multiple
        )
        network, mask = self.decoder.network, ids.ne(IGNORE).long()
        with self.autocast():
            soft = sample.to(table.dtype) @ table
            read = network.read_softly(prefix, soft, mask, targets)
        return summed_loss(logits, ids), summed_loss(read, targets)

    def nll(self, task: Task, sources: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Summed negative log-likelihood of the targets' tokens, a scalar with its graph."""
        return summed_loss(*self._logits(task, sources, targets, self.multiple))

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
        self, task: Task, sources: Sequence[str], targets: Sequence[str], multiple: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Logits (rows, length, vocabulary) and padded target ids (rows, length)."""
        network = self.decoder.network
        ids, mask = network.batch(self.tokens.sources(sources), multiple)
        labels = pad(self.tokens.targets(task, targets), IGNORE, ids.device, multiple=multiple)
        with self.autocast():
            return network.forced(ids, mask, labels), labels
