"""What lets a CPU train faster: oneDNN's float32 products, plain attention, memory that is kept."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from r2d import env
from r2d.models.load import count_parameters

MULTIPLE = 8  # what training pads lengths to: oneDNN takes 0.2 ms to prepare for each new shape
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them


@contextmanager
def tuned(model: nn.Module) -> Iterator[None]:
    """For a while, compute as this CPU trains the model fastest; on a GPU nothing changes.

    torch leaves float32 products to oneDNN where bf16 is permitted, which oneDNN takes with AMX
    alone. Attention is eager, as sdpa's kernel asks for thousands of small products a step.
    """
    if model.device.type != "cpu":
        yield
        return
    precision, attention = torch.get_float32_matmul_precision(), model.config._attn_implementation
    model.set_attn_implementation("eager")
    if onednn_keeps_float32():
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        model.set_attn_implementation(attention)


def onednn_keeps_float32() -> bool:
    """Whether oneDNN multiplies float32 in float32 here, although it may use bf16."""
    has = torch.cpu.get_capabilities()
    amx = has.get("amx_tile") or has.get("amx_bf16")
    return has.get("architecture") == "x86_64" and bool(has.get("avx512_f")) and not amx


def keep_freed_memory(model: nn.Module) -> None:
    """Have glibc keep what a step frees for the next one, where the CPU trains a small model.

    Blocks of up to 32 MiB, the most that every glibc takes as a threshold, and 1 GiB in all. A
    large model needs the memory more than the time; another C library is left as it is.
    """
    small = model.device.type == "cpu" and count_parameters(model)["parameters"] < env.SMALL
    if small and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, 2**25)
        libc.mallopt(TRIM_THRESHOLD, 2**30)
