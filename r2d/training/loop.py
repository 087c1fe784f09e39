"""The one trainer: every method is this loop under another `Objective`."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from sklearn.metrics import f1_score
from torch import nn
from tqdm import tqdm

from r2d import env, files, paths
from r2d.data.record import Record, category, positions, same_label
from r2d.errors import R2DError
from r2d.method import schedules
from r2d.method.gate import Gate
from r2d.method.loss import Batch, Loss, loss
from r2d.method.objective import Objective
from r2d.models import gradient_checkpointing
from r2d.models.decode import Decoder
from r2d.recipes.settings import TrainSettings
from r2d.training import checkpoint, cpu
from r2d.training.batches import TokenCache, batch_order
from r2d.training.learner import Learner
from r2d.training.optimiser import optimiser_of
from r2d.training.stopping import Stopper

LOG_EVERY = 10


class Trainer:
    """Trains one model under one objective; `fit` leaves it with its best validated weights.

    `folder` takes `log.jsonl` and the checkpoints of an unfinished run. Several processes
    (`accelerate launch`, `torchrun`) share each batch; every loss is a mean over the *global*
    batch's target tokens. So the number of processes and the micro-batch size change the result by
    rounding only where there is no dropout, whose masks depend on them.
    """

    def __init__(
        self,
        model: nn.Module,
        decoder: Decoder,
        objective: Objective,
        settings: TrainSettings,
        seed: int,
        folder: Path,
        fingerprint: str,
    ):
        from accelerate import Accelerator

        precision = "bf16" if settings.precision == "bf16" else "no"
        self.accelerator = Accelerator(mixed_precision=precision, cpu=env.device() == "cpu")
        processes = self.accelerator.num_processes
        if settings.batch < processes:
            raise R2DError(
                f"{processes} processes can't share a batch of {settings.batch}; start fewer."
            )
        self.model, self.decoder = model, decoder
        self.objective, self.settings, self.seed = objective, settings, seed
        self.folder, self.fingerprint = folder, fingerprint
        self.tokens = TokenCache(decoder)
        self.learner = Learner(
            decoder, self.tokens, settings.micro_batch, self.accelerator.autocast
        )
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = optimiser_of(self.weights, settings)
        if settings.gradient_checkpointing:
            gradient_checkpointing.enable(model)
        cpu.keep_freed_memory(model)
        self.stopper = Stopper(
            settings.patience,
            objective.selection_start(settings.steps),
            objective.patience_start(settings.steps),
        )
        self.gate = Gate()

    def fit(
        self, train: Sequence[Record], validation: Sequence[Record], title: str = "training"
    ) -> dict:
        """Train, validate, stop early; returns steps, best score and seconds.

        Raises `R2DError` on a non-finite loss, and for a method that explains where there is no
        rationale to learn from.
        """
        self._prepare(train, validation)
        self.folder.mkdir(parents=True, exist_ok=True)
        step, steps = self._resume(), self.settings.steps
        self.mark = time.perf_counter()
        quiet = not self.accelerator.is_main_process
        bar = tqdm(total=steps, initial=step, desc=title, mininterval=10, disable=quiet)
        while step < steps and not self.stopper.stop:
            entry = self._step(step)
            step += 1
            bar.update()
            if step % LOG_EVERY == 0 or step in (1, steps):
                bar.set_postfix(loss=f"{entry['loss']:.3f}", refresh=False)
                self._log(entry)
            if step % self.settings.eval_every == 0 or step == steps:
                self._evaluate(step)
        bar.close()
        checkpoint.restore_best(self.folder / "checkpoints", self.model)
        return {
            "steps": step,
            "best_step": self.stopper.best_step,
            "best_score": self.stopper.best,
            "score": self._score_name(),
            "seconds": round(self.stopper.seconds, 2),
            "peak_memory_mb": self.stopper.peak_memory_mb,
            "seconds_per_step": round(self._per_step("seconds"), 4),
            "cpu_seconds_per_step": round(self._per_step("cpu_seconds"), 4),
        }

    def _prepare(self, train: Sequence[Record], validation: Sequence[Record]) -> None:
        """Keep what this objective learns from, and tokenise it once.

        A method that only explains takes the records that have a rationale.
        """
        parts = {"training": train}
        if not self.objective.predicts:
            parts["validation"] = validation
        for name, part in parts.items():
            if self.objective.explains and not any(record.rationale for record in part):
                raise R2DError(
                    f"None of the {name} records has a rationale to learn from: give some, or "
                    "train SFT instead."
                )
        if not self.objective.predicts:
            train = [record for record in train if record.rationale]
            validation = [record for record in validation if record.rationale]
        self.train_set, self.validation_set = train, validation
        self.tokens.add(train, self.objective)
        self.tokens.add(validation, self.objective)

    def _step(self, step: int) -> dict:
        """One optimiser step over the global batch; returns what the log keeps."""
        began, began_cpu = time.perf_counter(), time.process_time()
        rank = self.accelerator.process_index
        torch.manual_seed((self.seed * 1_000_003 + step) * 64 + rank)
        batch = self._batch(step)
        self.model.train()
        sums = {"label": 0.0, "rationale": 0.0, "cycle": 0.0, "loss": 0.0}
        with cpu.tuned(self.model):
            computed = loss(self.learner, batch, self.objective, step, self.settings.steps)
            for part in computed.parts:
                value = sum(term.value for term in part)
                self.accelerator.backward(value)
                for term in part:
                    sums[term.task] += term.nll.item()
                sums["loss"] += value.item()
        self._update(step)
        entry = self._entry(step, batch, computed, sums)
        if self.objective.gated:
            entry |= self._move_gate(step, computed.confidences)
        spent = time.perf_counter() - began, time.process_time() - began_cpu
        return entry | {"seconds": round(spent[0], 4), "cpu_seconds": round(spent[1], 4)}

    def _batch(self, step: int) -> Batch:
        """This process's examples of a step with their coins, and the global token counts."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        order = batch_order(self.seed, len(self.train_set), step, self.settings.batch)
        cases = [self.train_set[i] for i in order]
        mine, counts = slice(rank, None, world), self.tokens.counts(cases)
        coins = schedules.coins(self.seed, step, len(cases))
        if not self.objective.gated:
            return Batch(cases[mine], coins[mine], counts)
        gate_coins = schedules.gate_coins(self.seed, step, len(cases))
        return Batch(cases[mine], coins[mine], counts, gate_coins[mine], self.gate)

    def _entry(self, step: int, batch: Batch, computed: Loss, sums: dict[str, float]) -> dict:
        """A line of the log: all processes' sums, as means over the global batch's tokens."""
        wrong = sum(
            asked and not same_label(label, case.label)
            for asked, label, case in zip(
                computed.sampled, computed.prompted, batch.cases, strict=True
            )
        )
        counted = torch.tensor([*sums.values(), sum(computed.sampled), wrong])
        counted = self.accelerator.reduce(counted.to(self.accelerator.device), "sum").tolist()
        label, rationale, cycle, total, sampled, wrong = counted
        if not math.isfinite(total):
            raise R2DError(
                f"The loss at step {step} is {total}; lower `lr` or set `precision: fp32`, and "
                "start the run again."
            )
        more = {"cycle_loss": cycle / batch.tokens["label"]} if self.objective.cycle else {}
        return {
            "step": step + 1,
            "loss": total,
            "label_loss": label / batch.tokens["label"],
            "rationale_loss": rationale / batch.tokens["rationale"],
            **more,
            "label_weight": computed.label_weight,
            "sampling_probability": computed.sampling_probability,
            "sampled": int(sampled),
            "sampled_wrong": int(wrong),
            "lr": self.optimiser.param_groups[0]["lr"],
        }

    def _move_gate(self, step: int, confidences: list[float]) -> dict:
        """Show the gate this step's confidences, all processes'; returns what the log keeps."""
        before = self.gate.threshold
        sums = torch.tensor([sum(confidences), len(confidences)], dtype=torch.double)
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums.to(self.accelerator.device), "sum")
        total, count = sums.tolist()
        self.gate.observe(step, self.settings.steps, total, int(count), self.objective.warmup)
        return {"threshold": before, "confidence": total / count if count else None}

    def _update(self, step: int) -> None:
        """Sum gradients over processes, clip, step at a warmed-up and decayed learning rate."""
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
        """Validate (labels, or minus the loss in stage 1), keep the best weights, checkpoint."""
        self.model.eval()
        with cpu.tuned(self.model):
            score = self._label_score() if self.objective.predicts else -self._validation_loss()
        stopper = self.stopper
        stopper.update(step, score)
        now = time.perf_counter()
        stopper.seconds += now - self.mark
        self.mark = now
        stopper.peak_memory_mb = max(stopper.peak_memory_mb, env.peak_memory_mb())
        if stopper.best is None and step >= self.settings.steps:
            # A run too short to reach selection still ends with weights: its last.
            stopper.best, stopper.best_step = score, step
        if self.accelerator.is_main_process:
            checkpoints = self.folder / "checkpoints"
            # The log first: resuming cuts it back, and never adds to it.
            self._log({"step": step, "validation": score, "best": stopper.best})
            checkpoint.save(
                checkpoints, step, self.model, self.optimiser, stopper, self.gate, self.fingerprint
            )
        self.accelerator.wait_for_everyone()

    def _per_step(self, clock: str) -> float:
        """Mean over the logged steps, validation left out; the log outlives a killed process."""
        shape = {str: (None, float)}
        log = files.read_lines(self.folder / checkpoint.LOG, shape, "rerun to write it again")
        return fmean(entry[clock] for entry in log if clock in entry)

    def _label_score(self) -> float:
        """Macro-F1 over the label set or the positions of the candidates; open labels' accuracy."""
        records = self.validation_set
        mine = self._share(len(records))
        decided = self.learner.decide([records[i] for i in mine], train_mode=False)
        by_case = dict(self._gather(list(zip(mine, decided, strict=True))))
        labels = self._classes()
        if not labels:
            hits = [same_label(by_case[i], record.label) for i, record in enumerate(records)]
            return sum(hits) / len(hits)
        predicted = [category(by_case[i], record.candidates) for i, record in enumerate(records)]
        gold = [record.category for record in records]
        return float(f1_score(gold, predicted, labels=labels, average="macro", zero_division=0))

    def _classes(self) -> list[str]:
        """What macro-F1 is a mean over; nothing where labels are open."""
        return list(self.decoder.labels or positions(r.candidates for r in self.validation_set))

    def _score_name(self) -> str:
        if not self.objective.predicts:
            return "negative validation loss"
        return "macro_f1" if self._classes() else "accuracy"

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """Mean cross-entropy over the validation rationales' tokens."""
        mine = [self.validation_set[i] for i in self._share(len(self.validation_set))]
        total, size = 0.0, self.decoder.batch
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            sources = [self.objective.explain_prompt(case.text, case.label) for case in part]
            total += self.learner.nll("rationale", sources, [c.rationale for c in part]).item()
        return sum(self._gather([total])) / self.tokens.counts(self.validation_set)["rationale"]

    def _share(self, size: int) -> list[int]:
        """The positions that this process takes of `size`."""
        return list(range(self.accelerator.process_index, size, self.accelerator.num_processes))

    def _gather(self, items: list) -> list:
        """The items of all processes."""
        from accelerate.utils import gather_object

        return gather_object(items) if self.accelerator.num_processes > 1 else items

    def _resume(self) -> int:
        """Go on from the newest whole checkpoint, the log cut back to it; 0 if there is none."""
        known = checkpoint.resume(
            self.folder / "checkpoints", self.model, self.optimiser, self.fingerprint
        )
        step, log = 0, ""
        if known is not None:
            step, self.stopper, self.gate, log = known
        if self.accelerator.is_main_process:
            checkpoint.drop_after(self.folder / "checkpoints", step)
            paths.write(self.folder / checkpoint.LOG, log)
        self.accelerator.wait_for_everyone()
        return step

    def _log(self, entry: dict) -> None:
        if self.accelerator.is_main_process:
            with (self.folder / checkpoint.LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
