"""The profiles: pairs of models, and the shapes of dummy weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from servers.settings import Settings

TINY = Path(__file__).parent / "tiny"
_LONGEST_REASON = 300  # characters


class ModelError(RuntimeError):
    """A model, a device or a corpus is not available; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A pair of models.

    `embedder` and `generator` are folders or hub ids; `query_prefix` is that of the embedder's model card.
    `embedder_config` and `generator_config` are transformers configurations for `--weights dummy`.
    """

    name: str
    embedder: str
    generator: str
    prompt: str
    query_prefix: str = ""
    embedder_config: Mapping[str, Any] | None = None
    generator_config: Mapping[str, Any] | None = None


# Source: the card of intfloat/multilingual-e5-large-instruct; its pooling is the mean, its vectors are normalised.
_E5_PREFIX = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
_E5 = "intfloat/multilingual-e5-large-instruct"
# Source: the config.json of each model on its hub page.
_E5_CONFIG = {
    "model_type": "xlm-roberta",
    "vocab_size": 250_002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}
_OPT_125M_CONFIG = {
    "model_type": "opt",
    "vocab_size": 50_272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "word_embed_proj_dim": 768,
}
_QWEN_1_5B_CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 151_936,
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}

PROFILES = {
    "tiny": Profile("tiny", str(TINY / "embedder"), str(TINY / "reader"), prompt="short"),
    "opt-125m": Profile(
        "opt-125m",
        _E5,
        "facebook/opt-125m",
        prompt="plain",
        query_prefix=_E5_PREFIX,
        embedder_config=_E5_CONFIG,
        generator_config=_OPT_125M_CONFIG,
    ),
    "qwen2.5-1.5b": Profile(
        "qwen2.5-1.5b",
        _E5,
        "Qwen/Qwen2.5-1.5B-Instruct",
        prompt="chatml",
        query_prefix=_E5_PREFIX,
        embedder_config=_E5_CONFIG,
        generator_config=_QWEN_1_5B_CONFIG,
    ),
    "stub": Profile("stub", "", "", prompt="short"),  # servers/rag/fakes.py
}


def profile(settings: "Settings") -> Profile:
    """The profile of these settings, with the models that they name in place of its own."""
    chosen = PROFILES[settings.profile]
    embedder, generator = settings.embedder or chosen.embedder, settings.generator or chosen.generator
    return replace(chosen, embedder=embedder, generator=generator)


def shipped(source: str) -> bool:
    """Whether it is one of the shipped models."""
    return Path(source).parent == TINY


@contextmanager
def loading(kind: str, source: str) -> Iterator[None]:
    """Turn every exception of a library that reads a model's files into a ModelError of one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # damaged and hostile files raise all kinds of exceptions
        raise _not_loaded(kind, source, error) from error


def _not_loaded(kind: str, source: str, error: Exception) -> ModelError:
    """The error: the model, the place, the reason, and what to do."""
    name, is_folder = type(error).__name__, Path(source).is_dir()
    where = "that folder does not hold a model" if is_folder else "neither a folder nor in the hub's cache"
    if name == "OutOfMemoryError":  # torch's, which is not imported here
        where = "the device has too little memory"
    reason = (str(error).strip() or name).splitlines()[0][:_LONGEST_REASON]
    if name == "UnpicklingError":  # torch's text advises to load it all the same
        reason = "its pickled weights are damaged or hold more than tensors, which could run code"
    elif not isinstance(error, OSError | ValueError):
        reason = f"{name}: {reason}"
    wanted = "Name another folder" if is_folder else f"Fetch it with `hf download {source}`, name a folder"
    return ModelError(
        f"{kind} {source!r} could not be loaded: {where} ({reason}). "
        f"{wanted} with --{kind} PATH, or measure speed alone with --weights dummy"
    )
