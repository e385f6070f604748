"""A GGUF model in memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fireside_engine.errors import InsufficientMemory, ModelUnsupported
from fireside_engine.llama import devices, library
from fireside_engine.llama.library import api

ALL_LAYERS = -1

_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""Tensors of experts, as llama.cpp's own --cpu-moe names them."""


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override of llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def keep_experts(n_layers: int) -> ctypes.Array[_Override] | None:
    """For llama_model_params: the experts of the first layers stay in main memory. Must outlive the load."""
    if n_layers <= 0:
        return None
    layers = "|".join(str(layer) for layer in range(n_layers))
    table = (_Override * 2)()
    table[0].pattern = rf"blk\.({layers}){_EXPERTS}".encode()
    table[0].buffer_type = devices.cpu_buffer_type()
    return table


class Model:
    """Weights and vocabulary. Raises ModelUnsupported, with llama.cpp's own reason, if the file cannot be loaded.

    The file is read, not mapped: with mapping, weights that the CPU kernels repack would be in memory twice. Where a
    GPU takes the layers, mapping is left to llama.cpp's choice.
    """

    def __init__(
        self,
        path: Path,
        *,
        gpu_layers: int = ALL_LAYERS,
        cpu_experts: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """gpu_layers: how many layers GPUs take, where there are any; cpu_experts: of how many layers, from the first
        on, the experts stay in main memory."""
        library.start()
        params = api.llama_model_default_params()
        self.gpu = bool(api.llama_supports_gpu_offload()) and gpu_layers != 0
        params.load_mode = api.LLAMA_LOAD_MODE_AUTO if self.gpu else api.LLAMA_LOAD_MODE_NONE
        params.n_gpu_layers = gpu_layers
        overrides = keep_experts(cpu_experts)
        params.tensor_buft_overrides = ctypes.addressof(overrides) if overrides is not None else None

        callback = type(params.progress_callback)

        def on_progress(fraction: float, _user_data: Any) -> bool:
            if progress is not None:
                progress(fraction)
            return True

        # The callback object must outlive the call, or ctypes frees it under llama.cpp's feet.
        keep_alive = callback(on_progress)
        params.progress_callback = keep_alive
        with library.capture() as log:
            handle = api.llama_model_load_from_file(str(path).encode(), params)
            if not handle and (reason := log.reason()) and "alloc" in reason.lower():
                raise InsufficientMemory(
                    f"The weights of {path.name} could not be allocated: {reason}.",
                    hint="Close other programs, or use a smaller model.",
                )
            if not handle:
                raise ModelUnsupported(
                    f"llama.cpp cannot load {path.name}: {log.reason()}.",
                    hint="It may be damaged, or newer than the installed llama-cpp-python; try to download it again.",
                )
        self.handle = handle
        self.vocab = api.llama_model_get_vocab(handle)
        self.n_ctx_train = int(api.llama_model_n_ctx_train(handle))
        self.n_vocab = int(api.llama_vocab_n_tokens(self.vocab))
        self.n_params = int(api.llama_model_n_params(handle))
        self.size = int(api.llama_model_size(handle))
        self.n_layer = int(api.llama_model_n_layer(handle))
        self.n_embd_kv = self._kv_width()

    def _kv_width(self) -> int:
        """Elements of K (and of V) per token and layer, from head counts; an upper bound for exotic architectures."""
        heads, kv_heads = api.llama_model_n_head(self.handle), api.llama_model_n_head_kv(self.handle)
        width = int(api.llama_model_n_embd(self.handle)) // max(1, int(heads)) * max(1, int(kv_heads))
        architecture = self.metadata("general.architecture")
        length = self.metadata(f"{architecture}.attention.key_length")
        return int(length) * max(1, int(kv_heads)) if length.isdigit() else width

    @property
    def trimmable(self) -> bool:
        """KV can be cut after any token: plain attention, no recurrent state, no sliding window."""
        return not self.recurrent and not self.has_window

    @property
    def has_window(self) -> bool:
        """Some layers see a sliding window only."""
        return int(api.llama_model_n_swa(self.handle)) > 0

    @property
    def recurrent(self) -> bool:
        """Some layers keep a state instead of KV."""
        return bool(api.llama_model_is_recurrent(self.handle)) or bool(api.llama_model_is_hybrid(self.handle))

    @property
    def generative(self) -> bool:
        """A decoder that produces text, token after token."""
        return bool(api.llama_model_has_decoder(self.handle)) and not bool(api.llama_model_has_encoder(self.handle))

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        api.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def template(self) -> str | None:
        """The chat template of the file, Jinja source."""
        text = api.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8", "replace") if text else None

    def metadata(self, key: str) -> str:
        """A metadata value as text; empty if the file has none."""
        buffer = ctypes.create_string_buffer(4096)
        length = api.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else ""

    def close(self) -> None:
        if self.handle:
            api.llama_model_free(self.handle)
            self.handle = None
