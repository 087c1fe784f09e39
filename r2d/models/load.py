"""Models by name or path, tuned in full, by LoRA or by QLoRA, and saved as safetensors.

Any encoder-decoder or decoder-only checkpoint that transformers reads will do.
"""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers.activations import NewGELUActivation

from r2d import env
from r2d.errors import R2DError
from r2d.models import assets
from r2d.models.backbone import DecoderOnly, backbone_class
from r2d.recipes.settings import LoraSettings, Tuning

# What transformers and peft raise, beside their own errors, for files that hold something else; a
# tensor of another shape is a RuntimeError.
DAMAGE = (SafetensorError, AttributeError, KeyError, RuntimeError, TypeError)
ADAPTER = "adapter_model.safetensors"


def locate(name: str) -> str:
    """Path or hub name of a backbone.

    `mini-base` is shipped with the project; an asset such as `smollm2` is fetched.
    """
    if name in assets.ASSETS:
        return str(assets.converted(name))
    return str(assets.base()) if name == "mini-base" else name


def load_tokenizer(name: str):
    """The backbone's tokenizer; one without a padding token pads with its end token.

    Raises `R2DError` where it has no end token.
    """
    tokenizer = _from_pretrained("AutoTokenizer", name)
    if tokenizer.eos_token_id is None:
        raise R2DError(
            f"The tokenizer of {name!r} has no end token: choose a backbone whose tokenizer has "
            "one."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    name: str, tuning: Tuning, lora: LoraSettings, dropout: float, init: Path | None = None
) -> nn.Module:
    """A model ready to train: fresh from the backbone `name`, or from `init`.

    `init` is the `model/` folder of a finished run. `full` trains every weight; `lora` and `qlora`
    train an adapter on all linear layers over frozen weights, which `qlora` holds in 4-bit NF4 with
    double quantisation (Dettmers et al. 2023), on CUDA and on CPU; transformers keeps T5's `wo`
    layers and the output layer in full precision. Raises `R2DError` when a checkpoint is missing,
    is damaged, or lacks tensors of the model; a finished run's may not have others either.
    """
    if init is not None and not init.is_dir():
        raise R2DError(f"There is no checkpoint at {init}; run the method it belongs to first.")
    if tuning == "full":
        return _pretrained_model(str(init or name), dropout, exactly=init is not None)
    from peft import LoraConfig, get_peft_model

    model = _pretrained_model(name, dropout, four_bits() if tuning == "qlora" else None)
    if init is not None:
        return _with_adapter(model, init)
    adapter = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type=backbone_class(model.config).task,
    )
    return get_peft_model(model, adapter)


def save_model(model: nn.Module, tokenizer, name: str, folder: Path) -> None:
    """Save weights or adapter (safetensors) and the tokenizer as `folder`.

    An adapter names its backbone by `name`, never by a local path.
    """
    shutil.rmtree(folder, ignore_errors=True)  # a killed save leaves its temporary file
    if hasattr(model, "peft_config"):
        model.peft_config["default"].base_model_name_or_path = name
        # Left to choose, peft asks the hub for the backbone's vocabulary.
        model.save_pretrained(folder, save_embedding_layers=False)
        # Its stub of a model card has a local path in it.
        (folder / "README.md").unlink(missing_ok=True)
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters in all and trainable ones; 4-bit weights are counted unpacked."""
    weights = list(model.parameters())
    return {
        "parameters": sum(w.numel() * (2 if w.dtype == torch.uint8 else 1) for w in weights),
        "trainable": sum(w.numel() for w in weights if w.requires_grad),
    }


def four_bits():
    """NF4 with double quantisation; computed in bf16 on CUDA, in fp32 on the CPU."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if env.device() != "cpu" else torch.float32,
    )


def _pretrained_model(
    name: str, dropout: float, quantisation=None, exactly: bool = False
) -> nn.Module:
    """A checkpoint in fp32, or in 4 bits, on this process's device.

    It has every tensor of the model and, if `exactly`, no other.
    """
    _silence()
    backbone = backbone_class(_from_pretrained("AutoConfig", name))
    options = {"dtype": torch.float32, "output_loading_info": True}
    if quantisation is not None:
        options |= {"quantization_config": quantisation, "device_map": {"": env.device()}}
    with _unmapped():
        model, report = _from_pretrained(backbone.auto, name, **options)
    fault = _misfit(report["missing_keys"], report["unexpected_keys"] if exactly else set())
    if fault:
        raise _damaged(name, fault)
    if model.config.model_type in ("t5", "mt5"):
        # transformers 5 has `true` there for all of them. What else reads a saved model takes it
        # to mean scaled outputs: transformers 4 and CTranslate2.
        model.config.tie_word_embeddings = getattr(model.config, "scale_decoder_outputs", False)
    if backbone is DecoderOnly:
        # Chat models may have several end tokens, or none for padding: the tokenizer's count here.
        tokenizer = load_tokenizer(name)
        model.config.eos_token_id = tokenizer.eos_token_id
        model.config.pad_token_id = tokenizer.pad_token_id
    for module in model.modules():
        _set_dropout(module, dropout)
        _fuse_gelu(module)
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Else bitsandbytes repacks 4-bit weights at the first evaluation, and no gradient
            # passes a repacked layer any more.
            module.support_avx512bf16_for_cpu = False
    return model if quantisation is not None else model.to(env.device())


def _with_adapter(model: nn.Module, folder: Path) -> nn.Module:
    """The model with the adapter that a finished run left in `folder`, ready to train."""
    from peft import PeftModel, get_peft_model_state_dict

    try:
        model = PeftModel.from_pretrained(model, folder, is_trainable=True)
        with safe_open(folder / ADAPTER, framework="pt") as file:
            saved = set(file.keys())
    except (OSError, ValueError, *DAMAGE) as error:
        raise _damaged_adapter(folder, type(error).__name__) from error
    # peft only warns of what is missing, and says nothing of what is too much.
    known = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    fault = _misfit(known - saved, saved - known)
    if fault:
        raise _damaged_adapter(folder, fault)
    return model


def _misfit(missing: set[str], foreign: set[str]) -> str | None:
    """What is wrong with the tensors of a file; None where they are the model's."""
    if missing:
        return f"no {min(missing)}"
    return f"{min(foreign)} is none of its tensors" if foreign else None


def _fuse_gelu(module: nn.Module) -> None:
    """Put torch's one operation in the place of transformers' nine for the same GELU.

    It takes a quarter to a half of the time.
    """
    for name, child in module.named_children():
        if isinstance(child, NewGELUActivation):
            setattr(module, name, nn.GELU("tanh"))


def _set_dropout(module: nn.Module, dropout: float) -> None:
    if isinstance(module, nn.Dropout):
        module.p = dropout
    elif isinstance(getattr(module, "dropout", None), float):  # attention of T5 and others
        module.dropout = dropout


def _silence() -> None:
    """Keep libraries' progress bars and warnings that no reader can act on out of notebooks."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    # peft's affair
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    # Its faster kernel would have to come from a hub.
    getLogger("bitsandbytes.backends.cpu.ops").setLevel(ERROR)


@contextmanager
def _unmapped() -> Iterator[None]:
    """Have transformers read a checkpoint tensor by tensor, rather than map its files into memory.

    Mapped, a file counts as this process's memory until its last tensor is let go; those that are
    not quantised never are. At T5-Large's size that is 3 GB beside weights of 1 GB.
    """
    from transformers import modeling_utils

    by_mapping = modeling_utils.safe_open

    def by_reading(file, **options):
        return by_mapping(file, **options | {"backend": "pread"})

    modeling_utils.safe_open = by_reading
    try:
        yield
    finally:
        modeling_utils.safe_open = by_mapping


def _from_pretrained(auto: str, name: str, **options):
    """What the class `auto` of transformers makes of a checkpoint; its own code is never run."""
    import transformers

    path = locate(name)
    try:
        return getattr(transformers, auto).from_pretrained(path, trust_remote_code=False, **options)
    except torch.OutOfMemoryError as error:
        raise R2DError(
            f"The model {name!r} does not fit into memory: choose a smaller one, or the tuning "
            "`qlora`."
        ) from error
    except DAMAGE as error:
        raise _damaged(name, type(error).__name__) from error
    except (OSError, ValueError) as error:
        raise R2DError(
            f"The model {name!r} could not be loaded: it is neither a language model's folder here "
            "nor one a model hub gave; check the name and the network, or set the recipe's "
            "`backbone` to a local folder."
        ) from error


def _damaged(name: str, problem: str) -> R2DError:
    return R2DError(
        f"The files of the model {name!r} are damaged ({problem}): get that model again."
    )


def _damaged_adapter(folder: Path, problem: str) -> R2DError:
    return R2DError(
        f"The adapter in {folder} is damaged ({problem}): run the method it belongs to again."
    )
