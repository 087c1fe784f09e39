"""What this machine reaches: its name, a plain matrix product, a plain copy."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import psutil
import torch

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
PACKAGES = ("torch", "transformers", "ctranslate2")
REPEATS = 7


def describe() -> str:
    """Processor, cores, threads, memory, number formats and versions, as one line."""
    processor, flags = _processor()
    formats = ", ".join(flag for flag in FLAGS if flag in flags) or "no vector extension named"
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{processor}, {os.cpu_count()} cores, threads: {torch.get_num_threads()}, "
        f"{memory:.0f} GiB ({formats}); Python {platform.python_version()}, {_versions()}"
    )


def computes_bf16() -> bool:
    """Whether the processor multiplies bf16 itself."""
    return bool({"avx512_bf16", "amx_bf16"} & _processor()[1])


def _processor() -> tuple[str, set[str]]:
    """Model name and flags, as Linux has them."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    name = facts.get("model name") or platform.processor() or platform.machine()
    return name, set(facts.get("flags", "").split())


def _versions() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def product_rate(rows: int, inner: int, columns: int, number: str) -> float:
    """Multiply-adds a second of a (rows, inner) x (inner, columns) product in a number format.

    In fp32 that of the faster of torch's two libraries, MKL and oneDNN.
    """
    left, right = torch.randn(rows, inner), torch.randn(columns, inner)  # as a linear layer's
    if number == "int8":
        left, right = left.char(), right.char().T
        seconds = _seconds(lambda: torch._int_mm(left, right))
    else:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[number]
        left, right = left.to(dtype), right.to(dtype)
        seconds = _seconds(lambda: torch.nn.functional.linear(left, right))
    if number == "fp32" and "amx_bf16" not in _processor()[1]:  # where it would be bf16
        with _by_onednn():
            seconds = min(seconds, _seconds(lambda: torch.nn.functional.linear(left, right)))
    return rows * inner * columns / seconds


@contextmanager
def _by_onednn() -> Iterator[None]:
    """Products in fp32 by oneDNN, which torch asks only where bf16 would do, too."""
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(usual)


def copy_rate(size: float) -> float:
    """Bytes a second, read and written, of copies of `size` bytes."""
    source = torch.zeros(max(1024, int(size) // 4))
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / _seconds(lambda: target.copy_(source))


def _seconds(call: Callable[[], object]) -> float:
    """Median time of a call, repeated within each timing to last some milliseconds."""
    call()
    began = time.perf_counter()
    call()
    times = max(1, int(0.005 / max(1e-7, time.perf_counter() - began)))
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(times):
            call()
        taken.append((time.perf_counter() - began) / times)
    return median(taken)
