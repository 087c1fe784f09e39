"""The one trainer: every method is this loop under another `Objective`."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from torch import Tensor, nn
from tqdm import tqdm

from r2d import R2DError, checkpoint, env, objective, paths, prompts
from r2d.backbone import Rows, pad
from r2d.batches import batch_order, encode
from r2d.data import Record, canonical
from r2d.decode import Decoder
from r2d.objective import IGNORE, Objective
from r2d.records import category, positions
from r2d.settings import TrainSettings

LOG_EVERY = 10


class Trainer:
    """Trains one model under one objective; `fit` leaves it with its best validated weights.

    `folder` takes `log.jsonl` and the checkpoints of an unfinished run. Several processes (`accelerate launch`,
    `torchrun`) share each batch; every loss is a mean over the *global* batch's target tokens, so the number of
    processes and the micro-batch size change the result by rounding only.
    """

    def __init__(
        self,
        model: nn.Module,
        decoder: Decoder,
        goal: Objective,
        settings: TrainSettings,
        seed: int,
        folder: Path,
        fingerprint: str,
    ):
        from accelerate import Accelerator

        precision = "bf16" if settings.precision == "bf16" else "no"
        self.accelerator = Accelerator(mixed_precision=precision, cpu=env.device() == "cpu")
        if settings.batch < self.accelerator.num_processes:
            raise R2DError(f"{self.accelerator.num_processes} processes can't share a batch of {settings.batch}; start fewer.")
        self.model, self.decoder, self.goal, self.settings = model, decoder, goal, settings
        self.seed, self.folder, self.fingerprint = seed, folder, fingerprint
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.weights, lr=settings.lr, weight_decay=settings.weight_decay)
        self.stopper = checkpoint.Stopper(settings.patience, goal.selection_start(settings.steps))

    def fit(self, train: Sequence[Record], validation: Sequence[Record], title: str = "training") -> dict:
        """Train, validate, stop early; returns steps, best score and seconds.

        Raises `R2DError` on a non-finite loss, and for a method that explains where there is no rationale to learn from.
        """
        parts = {"training": train} | ({} if self.goal.decides else {"validation": validation})
        bare = [name for name, part in parts.items() if not any(r.rationale for r in part)]
        if self.goal.explains and bare:
            raise R2DError(f"None of the {bare[0]} records has a rationale to learn from: give some, or train SFT instead.")
        self.train_set, self.valid_set = (encode(part, self.decoder, self.goal) for part in (train, validation))
        self.folder.mkdir(parents=True, exist_ok=True)
        start = self._resume()
        steps, self.mark = self.settings.steps, time.perf_counter()
        bar = tqdm(total=steps, initial=start, desc=title, mininterval=10, disable=not self.accelerator.is_main_process)
        step = start
        while step < steps and not self.stopper.stop:
            record = self._step(step)
            step += 1
            bar.update()
            if step % LOG_EVERY == 0 or step in (1, steps):
                bar.set_postfix(loss=f"{record['loss']:.3f}", refresh=False)
                self._log(record)
            if step % self.settings.eval_every == 0 or step == steps:
                self._evaluate(step)
        bar.close()
        checkpoint.restore(self.model, load_file(self.folder / "checkpoints" / "best.safetensors"))
        return {
            "steps": step,
            "best_step": self.stopper.best_step,
            "best_score": self.stopper.best,
            "score": "macro_f1" if self.goal.decides else "negative validation loss",
            "seconds": round(self.stopper.seconds, 2),
            "peak_memory_mb": self.stopper.peak_memory_mb,
            "seconds_per_step": round(self._seconds_per_step(), 4),
        }

    def _step(self, step: int) -> dict:
        """One optimiser step over the global batch; returns what the log keeps."""
        began, settings = time.perf_counter(), self.settings
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed((self.seed * 1_000_003 + step) * 64 + rank)
        indices = batch_order(self.seed, len(self.train_set.records), step, settings.batch)
        a, p = self.goal.weight(step, settings.steps), self.goal.probability(step, settings.steps)
        mine = range(rank, settings.batch, world)
        explain, drawn, wrong = self._explain_prompts(indices, mine, step, p)
        self.model.train()
        sums = torch.zeros(2)
        tokens = [max(1, sum(len(part[i]) for i in indices)) for part in (self.train_set.label, self.train_set.rationale)]
        size, own = settings.micro_batch or settings.batch, [indices[j] for j in mine]
        order = sorted(range(len(own)), key=lambda k: len(explain[k]) + len(self.train_set.rationale[own[k]]))
        for start in range(0, len(own), size):  # like lengths together: less padding
            part = order[start : start + size]
            rows = [own[k] for k in part]
            why = [k for k in part if len(self.train_set.rationale[own[k]])]
            tasks = (
                (0, a, [self.train_set.predict[i] for i in rows], [self.train_set.label[i] for i in rows]),
                (1, 1 - a, [explain[k] for k in why], [self.train_set.rationale[own[k]] for k in why]),
            )
            for task, weight, sources, targets in tasks:
                if sources and (weight > 0 or (task == 0 and self.goal.decides)):
                    total = self._loss(sources, targets)
                    self.accelerator.backward(weight * total / tokens[task])
                    sums[task] += total.item()
        self._update(step)
        sums = self.accelerator.reduce(sums.to(self.accelerator.device), "sum").cpu()
        means = [float(sums[i]) / tokens[i] for i in range(2)]
        loss = float(objective.combine(a, *means))
        if not math.isfinite(loss):
            raise R2DError(f"The loss at step {step} is {loss}; lower `lr` or set `precision: fp32`, and start the run again.")
        return {
            "step": step + 1, "loss": loss, "label_loss": means[0], "rationale_loss": means[1], "label_weight": a,
            "sampling_probability": p, "sampled": drawn, "sampled_wrong": wrong, "lr": self.optimiser.param_groups[0]["lr"],
            "seconds": round(time.perf_counter() - began, 4),
        }  # fmt: skip

    def _explain_prompts(self, indices: list[int], mine: range, step: int, p: float) -> tuple[list[list[int]], int, int]:
        """This process's rationale prompts; where the coin asks, the model's own greedy label replaces the gold one.

        No label is sampled for a record without a rationale.

        Returns the prompts, how many were sampled and how many of those labels were wrong (both over all processes).
        """
        rows = [indices[j] for j in mine]
        chosen = [self.train_set.explain[i] for i in rows]
        flips = objective.coins(self.seed, step, len(indices), p).tolist() if p > 0 else [False] * len(indices)
        asked = [k for k, j in enumerate(mine) if flips[j] and len(self.train_set.rationale[rows[k]])]
        wrong = 0
        if asked:
            self.model.train(self.goal.sample_in_train_mode)
            records = [self.train_set.records[rows[k]] for k in asked]
            choices = self.decoder.choices(records)
            labels = self.decoder.label_texts([self.train_set.predict[rows[k]] for k in asked], choices=choices)
            own = [canonical(text, known) or text for text, known in zip(labels, choices, strict=True)]
            fresh = self.decoder.encode(prompts.explain(r.text, label) for r, label in zip(records, own, strict=True))
            for k, ids in zip(asked, fresh, strict=True):
                chosen[k] = ids
            wrong = sum(label != r.label for r, label in zip(records, own, strict=True))
        counts = torch.tensor([len(asked), wrong], device=self.accelerator.device)
        drawn, wrong = self.accelerator.reduce(counts, "sum").tolist()
        return chosen, drawn, wrong

    def _loss(self, sources: Rows, targets: Rows) -> Tensor:
        """Summed token cross-entropy of targets given sources."""
        labels = pad(targets, IGNORE, self.accelerator.device)
        with self.accelerator.autocast():
            logits = self.decoder.net.forced(*self.decoder.net.batch(sources), labels)
        return objective.token_loss(logits, labels)

    def _update(self, step: int) -> None:
        """Sum gradients over processes, clip, and step with a linearly warmed-up and decayed learning rate."""
        settings = self.settings
        if self.accelerator.num_processes > 1:
            for weight in self.weights:
                if weight.grad is not None:
                    weight.grad = self.accelerator.reduce(weight.grad, "sum")
        torch.nn.utils.clip_grad_norm_(self.weights, settings.clip)
        rising = (step + 1) / settings.warmup if step < settings.warmup else 1.0
        falling = (settings.steps - step) / (settings.steps - settings.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.lr * min(rising, falling)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _evaluate(self, step: int) -> None:
        """Validate (macro-F1, or minus the loss in stage 1), keep the best weights, checkpoint."""
        self.model.eval()
        score = self._macro_f1() if self.goal.decides else -self._validation_loss()
        better, now = self.stopper.update(step, score), time.perf_counter()
        self.stopper.seconds, self.mark = self.stopper.seconds + now - self.mark, now
        self.stopper.peak_memory_mb = max(self.stopper.peak_memory_mb, env.peak_memory_mb())
        late = self.stopper.best is None and step >= self.settings.steps
        if late:  # a run too short to reach selection still ends with weights: its last
            self.stopper.best, self.stopper.best_step = score, step
        if self.accelerator.is_main_process:
            if better or late:
                part = self.folder / "checkpoints" / "best.part"
                part.parent.mkdir(exist_ok=True)
                save_file(checkpoint.trainable(self.model), part)
                part.rename(part.with_suffix(".safetensors"))
            self._log({"step": step, "validation": score, "best": self.stopper.best})  # first: resuming cuts the log, never adds
            checkpoint.save(self.folder / "checkpoints", step, self.model, self.optimiser, self.stopper, self.fingerprint)
        self.accelerator.wait_for_everyone()

    def _seconds_per_step(self) -> float:
        """Mean of the logged steps, validation left out; the log outlives a killed process."""
        lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return fmean(entry["seconds"] for entry in map(json.loads, lines) if "seconds" in entry)

    def _macro_f1(self) -> float:
        """Over the label set, or over the positions of the candidates."""
        records, own = self.valid_set.records, self._mine(len(self.valid_set.records))
        choices = self.decoder.choices([records[i] for i in own])
        texts = self.decoder.label_texts([self.valid_set.predict[i] for i in own], choices=choices)
        answers = [canonical(text, known) or "" for text, known in zip(texts, choices, strict=True)]
        found = dict(self._gather(list(zip(own, answers, strict=True))))
        gold = [r.category for r in records]
        predicted = [category(found[i], r.candidates) for i, r in enumerate(records)]
        labels = list(self.decoder.labels or positions(r.candidates for r in records))
        return float(f1_score(gold, predicted, labels=labels, average="macro", zero_division=0))

    @torch.no_grad()
    def _validation_loss(self) -> float:
        own, total = self._mine(len(self.valid_set.records)), 0.0
        for k in range(0, len(own), self.decoder.batch):
            rows = own[k : k + self.decoder.batch]
            total += self._loss([self.valid_set.explain[i] for i in rows], [self.valid_set.rationale[i] for i in rows]).item()
        return sum(self._gather([total])) / sum(map(len, self.valid_set.rationale))

    def _mine(self, size: int) -> list[int]:
        return list(range(self.accelerator.process_index, size, self.accelerator.num_processes))

    def _gather(self, items: list) -> list:
        from accelerate.utils import gather_object

        return gather_object(items) if self.accelerator.num_processes > 1 else items

    def _resume(self) -> int:
        """Continue from the newest whole checkpoint, the log cut back to it; 0 when there is none."""
        found = checkpoint.resume(self.folder / "checkpoints", self.model, self.optimiser, self.fingerprint)
        step, log = 0, self.folder / "log.jsonl"
        if found is not None:
            step, self.stopper = found
        if self.accelerator.is_main_process and log.exists():
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
            paths.write(log, "".join(line + "\n" for line in lines))
        self.accelerator.wait_for_everyone()
        return step

    def _log(self, entry: dict) -> None:
        if self.accelerator.is_main_process:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf
