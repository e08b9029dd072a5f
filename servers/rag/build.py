"""Builds a pipeline from settings: device, dtype, threads, models, corpus, index."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.rag import corpus, generation, retrieval
from servers.rag.allocator import keep_memory
from servers.rag.models import PROFILES, ModelError, Profile, profile, shipped
from servers.rag.pipeline import Pipeline
from servers.rag.prompts import PROMPTS
from servers.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import torch

    from servers.rag.embedding import Embedder


def check_names(settings: Settings) -> None:
    """Raise ValueError on unknown names and on settings that contradict each other. Imports no model library."""
    tables: dict[str, Collection[str]] = {
        "profile": PROFILES,
        "corpus": corpus.CORPORA,
        "retriever": retrieval.BACKENDS,
        "backend": generation.BACKENDS,
    }
    for field, valid in tables.items():
        if getattr(settings, field) not in valid:
            raise ValueError(f"{field} must be one of {', '.join(valid)}, got {getattr(settings, field)!r}")
    retrieval.check(settings.retriever, spec(settings))
    if settings.slowdown > 1 and settings.backend != "static":
        raise ValueError(f"slowdown: wants --backend static, got {settings.backend}")
    if settings.profile != "stub" and (settings.stub_poison is not None or settings.stub_fault is not None):
        raise ValueError(f"stub_poison, stub_fault: faults to order, for --profile stub alone; got {settings.profile}")
    if settings.backend == "openai" and settings.openai_url is None:
        raise ValueError("openai_url: --backend openai wants it, as in http://127.0.0.1:8001/v1")


def spec(settings: Settings) -> retrieval.Spec:
    """The index that the settings describe. Raises ValueError."""
    return retrieval.Spec(
        metric=settings.metric,
        kind=settings.index,
        dtype=settings.scan_dtype,
        nlist=settings.nlist,
        nprobe=settings.nprobe,
        m=settings.pq_m,
        rerank=settings.rerank,
        ef_search=settings.ef_search,
    )


def build(settings: Settings) -> Pipeline:
    """Load everything. Raises ModelError with one line on what is missing and how to get it."""
    keep_memory()
    import torch  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    from servers.rag.corpus.vectors import cached_vectors, default_cache  # noqa: PLC0415

    chosen = profile(settings)
    device = _device(settings.device)
    dtype = _dtype(settings.dtype, device, chosen)
    threads = settings.threads or (1 if settings.profile == "tiny" else None)
    if threads is not None:
        torch.set_num_threads(threads)
        threadpool_limits(threads)
    documents = corpus.load(
        settings.corpus,
        path=settings.corpus_path,
        size=settings.corpus_size,
        seed=settings.corpus_seed,
        max_chars=settings.max_document_chars,
    )
    embedder = _embedder(settings, chosen, device, dtype)
    vectors = cached_vectors(documents, embedder, key=embedder.key, folder=settings.cache_dir or default_cache())
    about = {
        "profile": chosen.name,
        "weights": settings.weights,
        "embedder": chosen.embedder,
        "generator": chosen.generator,
        "backend": settings.backend,
        "retriever": settings.retriever,
        "index": settings.index,
        "metric": settings.metric,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    return Pipeline(
        embedder=embedder,
        index=_index(settings, vectors, device, torch.get_num_threads()),
        corpus=documents,
        prompt=PROMPTS[chosen.prompt],
        generator=generation.build(settings, chosen, device=device, dtype=dtype),
        model_name=chosen.name if settings.weights == "real" else f"{chosen.name} (dummy weights)",
        about={key: _short(value) for key, value in about.items()},
    )


def _embedder(settings: Settings, chosen: Profile, device: str, dtype: "torch.dtype") -> "Embedder":
    from servers.rag.embedding import DummyEncoder, Embedder, load_encoder  # noqa: PLC0415
    from servers.rag.tokens import FileTokenizer  # noqa: PLC0415

    if settings.weights == "dummy" and chosen.embedder_config is not None:
        shape, tokenizer = dict(chosen.embedder_config), FileTokenizer.shipped()
        return Embedder(DummyEncoder(shape, tokenizer, device=device, dtype=dtype, seed=settings.seed), chosen)
    return Embedder(load_encoder(chosen.embedder, device=device, dtype=dtype), chosen)


def _index(settings: Settings, vectors: "np.ndarray", device: str, threads: int) -> retrieval.Index:
    """The index, on the models' device if the retriever supports it."""
    place = device if settings.retriever in retrieval.ON_GPU else "cpu"
    try:
        return retrieval.build(settings.retriever, vectors, spec(settings), device=place, threads=threads)
    except (ValueError, RuntimeError) as error:
        raise ModelError(str(error)) from error


def _device(wanted: str) -> str:
    import torch  # noqa: PLC0415

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda: torch sees no CUDA device; --device cpu runs on the CPU")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _dtype(wanted: str, device: str, chosen: Profile) -> "torch.dtype":
    """The dtype; for `auto` bfloat16 on hardware that multiplies it, otherwise float32.

    On a CPU `tiny` gets float32, because its answers are checked. Float16 is never chosen: models trained in bfloat16
    may exceed its range.
    """
    import torch  # noqa: PLC0415

    if wanted == "auto":
        if device == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
        flags = torch.cpu.get_capabilities()
        is_fast = chosen.name != "tiny" and (flags.get("avx512_bf16") or flags.get("amx_bf16"))
        return torch.bfloat16 if is_fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]


def _short(value: Any) -> Any:
    """A shipped model's path as `tiny/NAME`, so that results contain no folders of a machine."""
    return f"tiny/{Path(value).name}" if isinstance(value, str) and shipped(value) else value
