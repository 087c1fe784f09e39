"""Every size timed: `cd tests && python -m benchmarks` writes tables and figure."""

import argparse
import os
import time
from collections.abc import Iterator

import torch

from benchmarks import machine, measure, report
from benchmarks.measure import Row
from benchmarks.sizes import SIZES, Size, decoder, notes
from r2d.data import Dataset

NOTES = 256  # to train on, and as many to decide


def main() -> None:
    """Time all sizes and write; with `--only`, print the tables of some."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--only", choices=[size.name for size in SIZES], nargs="+")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began, dataset, rows = time.perf_counter(), notes(NOTES), []
    for size in SIZES:
        if not options.only or size.name in options.only:
            rows += measured(size, dataset)
    minutes = (time.perf_counter() - began) / 60
    if options.only:
        print(report.tables(rows, machine.describe(), minutes))
    else:
        report.write(rows, machine.describe(), minutes)


def measured(size: Size, dataset: Dataset) -> list[Row]:
    """All rows of one size."""
    return list(_rows(size, dataset))


def _rows(size: Size, dataset: Dataset) -> Iterator[Row]:
    timed = decoder(size, dataset.labels)
    measure.train(size, timed, dataset.train)
    for task in measure.TASKS:
        for precision in precisions():
            yield _told(measure.training(size, timed, dataset.train, task, precision))
    with measure.engines(timed) as engines:
        for singly in (False, True):
            for row in measure.decoding(size, engines, dataset.test[: size.cases], singly):
                yield _told(row)


def precisions() -> list[str]:
    """bf16 too, where the processor computes in it."""
    return ["fp32", "bf16"] if machine.computes_bf16() else ["fp32"]


def _told(row: Row) -> Row:
    """Say that a row is there."""
    print(f"{row.size}, {row.task}, {row.engine}: {row.ratio[0]:.2f}", flush=True)
    return row


if __name__ == "__main__":
    main()
