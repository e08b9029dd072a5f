"""What can be set on a server: flags, RAG_* variables, a TOML file, in this order of rank. Starts nothing."""

import argparse
import inspect
import os
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from servers.addresses import check_hosts
from servers.settings.kubernetes import service_variables
from servers.settings.time_limits import TimeLimits, with_defaults

ENV_PREFIX = "RAG_"
HostList = Annotated[str, AfterValidator(check_hosts)]
S = TypeVar("S", bound="Settings")
T = TypeVar("T")
KEY_PATTERN = r"^[!-~]+$"
"""Printable ASCII, at least one character: an empty key would protect nothing."""


class SettingsError(ValueError):
    """A setting is unknown or invalid; the message names it and says what is valid."""


class Settings(BaseSettings):
    """The settings that every design shares; a design adds its own in a subclass."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    host: str = Field("127.0.0.1", description="address or name to listen on; :: is every address of IPv6 and IPv4")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 is any free one")
    replica: str | None = Field(
        None, pattern=r"^[!-~]{1,100}$", description="name given in X-Replica, printable ASCII; the port unless set"
    )
    hosts: HostList | None = Field(
        None,
        description="names, addresses, networks that Host may name, loopback aside; any unless set and off loopback",
    )
    request_timeout_s: float = Field(
        60.0, gt=0, description="a request that takes longer is answered 504; X-Request-Timeout-S asks for less"
    )
    max_queue: int = Field(
        1024,
        ge=1,
        description="usual requests that may wait, one of long prompts counting as several; the next is answered 429",
    )
    max_predicted_wait_s: float | None = Field(None, gt=0, description="refuse when the queue predicts a longer wait")
    client_timeout_s: float = Field(
        20.0, gt=0, description="time that a client is given to send a request's head, and as much again for its body"
    )
    hang_s: float | None = Field(
        None, gt=0, description="an engine that has work and ends no step for so long hangs; 5 unless set"
    )
    max_connections_per_address: int | None = Field(
        None, ge=1, description="more from one address are closed at once; 4096 unless set, without end for loopback"
    )
    drain_s: float = Field(5.0, gt=0, description="time that accepted requests are given at SIGTERM")
    api_key: str | None = Field(
        None,
        pattern=KEY_PATTERN,
        description="bearer key of every route but /health and /ready; rather set RAG_API_KEY",
    )
    link_key: str | None = Field(
        None, pattern=KEY_PATTERN, description="key by which a fleet opens its framed link; RAG_LINK_KEY, set by it"
    )
    max_body_bytes: int = Field(262_144, ge=1, description="a larger request body is answered 413")
    stop_with_parent: bool = Field(False, description="stop at end-of-file on stdin, that is, when the parent is gone")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="how much to say on stderr")
    log_format: Literal["text", "json"] = Field("text", description="json: one object a line")
    access_log: bool = Field(False, description="log each answer of /rag, at level info")
    otlp_endpoint: str | None = Field(
        None, description="base URL that takes traces by OTLP/HTTP, like http://localhost:4318 (extra tracing)"
    )

    profile: str = Field("tiny", description="the pair of models: tiny, opt-125m, qwen2.5-1.5b, or stub for none")
    weights: Literal["real", "dummy"] = Field("real", description="dummy: the same shapes with random weights")
    embedder: str | None = Field(None, description="folder or hub id to use instead of the profile's embedder")
    generator: str | None = Field(None, description="folder or hub id to use instead of the profile's generator")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the models run")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on a GPU or CPU that multiplies it (CPU: not for tiny); else float32"
    )
    threads: int | None = Field(None, ge=1, description="torch threads; 1 for tiny and torch's default otherwise")

    corpus: str = Field("facts", description="the documents: facts, squad or jsonl")
    corpus_path: Path | None = Field(None, description='jsonl: file of {"id", "text"} lines; squad: SQuAD v1.1 JSON')
    corpus_size: int | None = Field(
        None, ge=1, description="number of documents, the first of a file; 10,000 facts or the whole file unless set"
    )
    corpus_seed: int = Field(0, ge=0, description="seed of the facts")
    max_document_chars: int = Field(
        200_000, ge=1, description="a file with a longer document is refused, with the line that it stands in"
    )
    cache_dir: Path | None = Field(None, description="where corpus embeddings are kept; ~/.cache/ragbench unless set")
    retriever: str = Field("numpy", description="the top-k search: numpy, torch, cupy or faiss")
    metric: str = Field("ip", description="what is near: ip, cosine, l2 or l1; scores are similarities or distances")
    index: str = Field("flat", description="flat (exact), ivf, or of faiss alone ivf_pq and hnsw")
    nlist: int | None = Field(None, ge=1, description="ivf: clusters; four times the corpus' square root unless set")
    nprobe: int = Field(8, ge=1, description="ivf: clusters that a question looks into")
    pq_m: int = Field(16, ge=1, description="ivf_pq: bytes of a code")
    rerank: int = Field(10, ge=0, description="ivf_pq: so many times k are compared by their vectors; 0 for none")
    ef_search: int = Field(64, ge=1, description="hnsw: candidates that a search keeps")
    scan_dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="what torch and cupy search candidates in; answers are those of float32 whatever it is"
    )

    backend: str = Field("static", description="what generates: static, continuous or openai")
    openai_url: str | None = Field(None, description="base of an OpenAI-compatible server; OPENAI_API_KEY is its key")
    openai_model: str | None = Field(None, description="model to ask it for; the first that it lists unless set")

    stub_batch_s: float = Field(0.0002, ge=0, description="profile stub: time that every run takes, asleep")
    stub_item_s: float = Field(0.00002, ge=0, description="profile stub: and so much for each question in it")
    stub_poison: str | None = Field(
        None, min_length=1, description="profile stub: a question with this text fails its run: a fault, for studies"
    )
    stub_poison_effect: Literal["fails", "ends"] = Field(
        "fails", description="profile stub: what the poison does: its run fails, or the engine's process ends"
    )
    stub_fault: Literal["engine", "batcher"] | None = Field(
        None, description="profile stub: what fails for good after --stub-fault-after-s: a fault, for studies"
    )
    stub_fault_after_s: float = Field(5.0, ge=0, description="profile stub: time from being ready to --stub-fault")
    slowdown: float = Field(1.0, ge=1, description="every run takes so many times as long: a fault, for studies")

    engine: Literal["thread", "process"] = Field(
        "process", description="where the pipeline runs: see servers/engine/__init__.py"
    )

    max_k: int = Field(50, ge=1, description="the most documents that a request may ask for")
    max_new_tokens: int = Field(16, ge=1, description="the most tokens of an answer")
    max_prompt_tokens: int = Field(
        65_536, ge=1, description="prompt tokens, padding counted, of those that generate; a larger batch runs in parts"
    )
    temperature: float = Field(0.0, ge=0, description="0 is greedy; above it, answers are sampled")
    seed: int = Field(0, ge=0, description="seed of the sampling and of dummy weights")

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        """Check all time limits together."""
        self.time_limits  # noqa: B018  raises ValueError
        return self

    @property
    def time_limits(self) -> TimeLimits:
        """The time limits, with defaults that follow from the others."""
        return with_defaults(
            hang_s=self.hang_s,
            try_timeout_s=getattr(self, "try_timeout_s", self.request_timeout_s),
            request_timeout_s=self.request_timeout_s,
        )

    def public(self) -> dict[str, Any]:
        """The settings in force as JSON values, for `GET /info`, without secrets."""
        return {name: value for name, value in self.model_dump(mode="json").items() if not is_secret(name)}

    def keys(self) -> tuple[str, ...]:
        """The bearer keys that open the routes; none where they are open to all."""
        return () if self.api_key is None else (self.api_key,)


def load(settings_class: type[S], argv: Sequence[str], *, prog: str, known: Collection[str] = ()) -> S:
    """Settings from `argv` over RAG_* variables over the file named by --config (or RAG_CONFIG) over the defaults.

    `known` are the names of other designs' settings, which the environment may have too. Variables that Kubernetes made
    for a service are removed from the environment.
    Raises SettingsError; exits like argparse on a malformed or unknown flag and on --help.
    """
    for name in ignored_variables():
        del os.environ[name]
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=os.environ.get(f"{ENV_PREFIX}CONFIG"))
    options, rest = finder.parse_known_args(list(argv))
    _refuse_unknown_variables({*settings_class.model_fields, *known, "config"})
    try:
        return settings_class(
            _cli_parse_args=rest,
            _cli_prog_name=prog,  # type: ignore[call-arg]
            **_from_file(options.config),
        )
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(part) for part in error.errors())) from error


def ignored_variables() -> list[str]:
    """Variables with our prefix that Kubernetes made for a service."""
    return service_variables(os.environ, prefix=ENV_PREFIX)


def flags(settings: Settings, *, of: type[Settings], leave_out: Collection[str] = ()) -> list[str]:
    """Flags that give another server these settings of class `of`, without the secrets, which all users could read."""
    line: list[str] = []
    for name in of.model_fields:
        value = getattr(settings, name)
        if name in leave_out or value is None or is_secret(name):
            continue
        flag = name.replace("_", "-")
        line += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return line


def chosen(field: str, table: Mapping[str, Callable[..., T]], settings: Settings, **given: Any) -> T:
    """The policy that `settings` name in `field`, made with `given` and the settings named like its parameters.

    Raises ValueError on a name that is not in the table.
    """
    name = getattr(settings, field)
    if name not in table:
        raise ValueError(f"{field} must be one of {', '.join(table)}, got {name!r}")
    wanted = [parameter for parameter in inspect.signature(table[name]).parameters if hasattr(settings, parameter)]
    return table[name](**given, **{parameter: getattr(settings, parameter) for parameter in wanted})


def _from_file(path: str | None) -> dict[str, Any]:
    """The file's settings without those that the environment overrides."""
    if path is None:
        return {}
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"--config {path}: wanted UTF-8: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"--config {path}: {error}") from error
    return {key: value for key, value in values.items() if f"{ENV_PREFIX}{key.upper()}" not in os.environ}


def _refuse_unknown_variables(names: Collection[str]) -> None:
    valid = {f"{ENV_PREFIX}{name.upper()}" for name in names}
    unknown = sorted(key for key in os.environ if key.startswith(ENV_PREFIX) and key not in valid)
    if unknown:
        raise SettingsError(f"unknown variables {', '.join(unknown)}; valid are {', '.join(sorted(valid))}")


def _sentence(part: Any) -> str:
    if not part["loc"]:  # a check of several settings, whose input has the secrets too
        return str(part["msg"]).removeprefix("Value error, ")
    name = ".".join(str(place) for place in part["loc"])
    shows_input = part["type"] != "extra_forbidden" and not is_secret(name)
    return f"{name}: {part['msg']}" + (f", got {part['input']!r}" if shows_input else "")


def is_secret(setting: str) -> bool:
    """Whether a setting is a secret, which no route, command line or error shows."""
    return setting.endswith(("_key", "_token"))
