"""One question -> one record, over HTTP. The only file that knows URLs, headers and JSON keys.

When to send is decided in fire.py.
"""

import asyncio
import json
import math
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar
from urllib.parse import urljoin

import aiohttp

from ragbench.files.text_file import parse_told
from ragbench.load.body import MOST_ANSWER, MOST_TOLD, BodyTooLong, read_body
from ragbench.load.connection_errors import LONGEST_ERROR, in_words, is_out_of_files, lost, unanswered
from ragbench.results.records import NOTHING_TOLD, Decision, ReplicaCount, Row, Scaling, Start, Status
from ragbench.study.address import Address, speaks_tls
from ragbench.study.questions import Question, exact_match, f1, recall_at_k
from ragbench.study.schedule import Request
from ragbench.study.study import Workload

Clock = Callable[[], float]
_T = TypeVar("_T", Decision, Start)

# Servers close idle connections (uvicorn after 5 s); a request sent at that very moment would fail for no fault of its
# own, so ours are closed first.
_KEEP_IDLE_S = 2.0
_CHECK_S = 10.0
# Of one header: more than any server allows by default, so that a long trace or cookie spoils no answer.
_LONGEST_HEADER = 1 << 16
_LONGEST_RESULT = 1 << 20  # characters, of each row
_MOST_COUNTED = 2**53
_LARGEST = 1e15  # of a number that a service tells: a sum of many is finite
_LONGEST_S = 1e9
_STAGES = {"queue": "queue_s", "embed": "embed_s", "retrieve": "retrieve_s", "generate": "generate_s"}
_TIMING_ENTRY = re.compile(r'(?:[^,"]|"[^"]*")+')
_DESCRIPTION = re.compile(r'desc\s*=\s*"[^"]*"', re.IGNORECASE)
_NO_FILES = "the client had no file descriptor left for a connection: raise `ulimit -n`, or use more processes"
_NO_SUCH_PATH = (404, 405, 410)
_STATUS_OF_CODE: dict[int, Status] = {429: "rejected", 503: "rejected", 504: "timeout"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be written to a socket: nothing is left to compute when it is due."""

    request: Request
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers by lower-case name, whole body; and which URL was asked, where that is known."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes
    url: str | None = None


OnAnswer = Callable[[Request, Answer], None]  # what a row does not keep of an answer


class ServiceError(ConnectionError):
    """Nothing answers HTTP at the service's address."""


class Client:
    """Speaks to one service. Make it with `connect`, inside a running event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        workload: Workload,
        timeout_s: float,
        deadline_s: float | None = None,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._session = session
        self._on_answer = on_answer
        self.url = url
        self._address = Address.of(url)
        self._workload = workload
        self._timeout_s = timeout_s
        # A service that drops what it has seen would otherwise take a request for that of an earlier point or run.
        self._id = secrets.token_hex(4)
        self._headers = {"Content-Type": "application/json"}
        if deadline_s is not None:
            self._headers["X-Request-Timeout-S"] = f"{deadline_s:g}"

    def prepare(self, request: Request) -> Prepared:
        """The body and headers of `request`, made ahead of the load."""
        body: dict[str, Any] = {"query": request.question.query, "k": self._workload.k}
        limit = self._workload.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
        if limit is not None:
            body["max_new_tokens"] = limit
        headers = self._headers | {"X-Request-Id": f"{self._id}-{request.number}"}
        return Prepared(request, json.dumps(body).encode(), headers)

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Send one request and read its answer whole. Every failure is a status, never an exception.

        `clock` gives seconds from the schedule's origin; the timeout counts from when the request was due.
        """
        request = prepared.request
        row = Row(request.number, request.question.id, request.due_s)
        sent_s = clock()
        left_s = request.due_s + self._timeout_s - sent_s
        if left_s <= 0:
            return replace(row, error=f"the client was {sent_s - request.due_s:.1f} s late: past the timeout already")
        outcome = await self._exchange(prepared, left_s)
        done_s = clock()
        if outcome is None:
            return replace(row, error=_NO_FILES)
        row = replace(
            row, sent_s=sent_s, done_s=done_s, send_lag_s=sent_s - request.due_s, latency_s=done_s - request.due_s
        )
        if isinstance(outcome, Answer):
            if self._on_answer is not None:
                self._on_answer(request, outcome)
            return replace(row, **read_answer(outcome, request.question))
        return replace(row, **outcome)

    async def _exchange(self, prepared: Prepared, left_s: float) -> Answer | dict[str, Any] | None:
        """The answer, or the fields of the row that say why there is none; None where this client could not send."""
        http_status = None
        try:
            async with (
                asyncio.timeout(left_s),
                self._session.post(
                    self._address.at("/rag"), data=prepared.body, headers=prepared.headers, allow_redirects=False
                ) as response,
            ):
                http_status = response.status
                body = await read_body(response, most=MOST_ANSWER)
                return Answer(http_status, _merged(response.headers), body, self._address.at("/rag"))
        except BodyTooLong as error:
            return {"status": "bad_answer", "http_status": http_status, "error": str(error)}
        except TimeoutError:
            return {"status": "timeout", "error": f"no answer within {self._timeout_s:g} s of being due"}
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if is_out_of_files(error):
                return None
            cut_off = "" if http_status is None else "the answer was cut off: "
            return {"status": lost(error, http_status), "http_status": http_status, "error": cut_off + in_words(error)}

    async def check(self) -> None:
        """Raise ServiceError where nothing answers HTTP at all; any status will do."""
        asked = self._session.get(self._address.at("/health"), allow_redirects=False)
        try:
            async with asyncio.timeout(_CHECK_S), asked:
                return
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            why = unanswered(error, self._address.base)
            if not isinstance(error, aiohttp.ClientConnectorError) and await speaks_tls(self._address):
                why = f"what answers at {self._address.base} speaks TLS: write https://"
            raise ServiceError(why) from error

    async def info(self) -> dict[str, Any] | None:
        """GET /info: the settings in force; None where the service does not tell."""
        return await self._fetch("/info")

    async def replica_count(self, clock: Clock) -> ReplicaCount | None:
        """GET /replicas, counted by state; None where the service does not tell."""
        told = await self._fetch("/replicas")
        replicas = told.get("replicas") if told else None
        if not isinstance(replicas, list):
            return None
        states = [replica.get("state") for replica in replicas if isinstance(replica, dict)]
        return ReplicaCount(max(0.0, clock()), *(states.count(state) for state in ("ready", "starting", "draining")))

    async def scaling(self, clock: Clock) -> Scaling:
        """GET /scaling: what was decided, and started, since the schedule's origin; nothing where it does not tell."""
        told = await self._fetch("/scaling")
        return read_scaling(told, now_s=clock()) if told else NOTHING_TOLD

    async def _fetch(self, path: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(5.0), self._session.get(self._address.at(path)) as response:
                told = parse_told(await read_body(response, most=MOST_TOLD)) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
        return told if isinstance(told, dict) else None


@asynccontextmanager
async def connect(
    url: str,
    *,
    workload: Workload,
    timeout_s: float,
    deadline_s: float | None = None,
    on_answer: OnAnswer | None = None,
    ca_file: str | None = None,
) -> AsyncIterator[Client]:
    """A client whose connections are kept alive and not capped: an open loop must never wait for a free one.

    `ca_file` (PEM) is trusted instead of the authorities that the system knows.
    """
    trust = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=_KEEP_IDLE_S, ssl=trust)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )
    async with session:
        yield Client(
            session, url=url, workload=workload, timeout_s=timeout_s, deadline_s=deadline_s, on_answer=on_answer
        )


def read_answer(answer: Answer, question: Question) -> dict[str, Any]:
    """The fields of a row that an answer decides: status, what the headers tell, and how the answer is marked."""
    told = {"http_status": answer.http_status, **read_headers(answer.headers)}
    if answer.http_status != 200:
        status = _STATUS_OF_CODE.get(answer.http_status, "http_error")
        return told | {"status": status, "error": _refusal(answer)}
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return told | {"status": "bad_answer", "error": f"not JSON: {_text(answer.body)}"[:LONGEST_ERROR]}
    if not isinstance(body, dict) or not isinstance(body.get("result"), str):
        return told | {
            "status": "bad_answer",
            "error": f"no text under 'result': {_text(answer.body)}"[:LONGEST_ERROR],
        }
    if len(body["result"]) > _LONGEST_RESULT:
        error = f"the text under 'result' has {len(body['result']):,} characters, more than {_LONGEST_RESULT:,}"
        return told | {"status": "bad_answer", "error": error}
    return told | {
        "status": "ok",
        "result": body["result"],
        "exact_match": exact_match(body["result"], question.answers),
        "f1": f1(body["result"], question.answers),
        "recall_at_k": _recall(body.get("documents"), question.documents),
        **_usage(body.get("usage")),
    }


def read_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Stage times in seconds, batch size and why it closed, replica, by lower-case header.

    What is missing or malformed is None.
    """
    batch_size = headers.get("x-batch-size", "").strip()
    stages = server_timing(headers.get("server-timing", ""))
    return {
        **{column: stages.get(stage) for stage, column in _STAGES.items()},
        "batch_size": int(batch_size) if re.fullmatch(r"0*[1-9][0-9]{0,8}", batch_size) else None,
        "close_reason": headers.get("x-batch-close", "").strip()[:100] or None,
        "replica": headers.get("x-replica", "").strip()[:100] or None,
    }


def read_scaling(told: Mapping[str, Any], *, now_s: float) -> Scaling:
    """The decisions and starts that `told` lists by their age, from the schedule's origin on, in order.

    What a decision saw of a window that began before the load is left out: of how far back it reaches `told` says.
    """
    decisions = _dated(told.get("decisions"), Decision, now_s)
    own = tuple(one if one.t_s >= _window_s(told) else replace(one, **_UNSEEN) for one in decisions)
    return Scaling(own, _dated(told.get("starts"), Start, now_s))


def _window_s(told: Mapping[str, Any]) -> float:
    """How far back what a decision saw reaches; without end where it is not told."""
    try:
        return max(0.0, _finite(told.get("window_s")))
    except (TypeError, ValueError, OverflowError):
        return math.inf


def _dated(told: object, kind: type[_T], now_s: float) -> tuple[_T, ...]:
    """Those of the `told` that can be read and came since the origin; each has the names of the fields of `kind`."""
    readers = [(item.name, _READERS[item.type]) for item in fields(kind)[1:]]
    found = []
    for each in told if isinstance(told, list) else []:
        try:
            one = kind(now_s - _finite(each["age_s"]), *(read(each[name]) for name, read in readers))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if 0 <= one.t_s <= now_s:
            found.append(one)
    return tuple(sorted(found, key=lambda one: one.t_s))


def _finite(value: object) -> float:
    """A number whose sums are finite too; Python also reads NaN and Infinity. Raises ValueError, TypeError."""
    if not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError(f"not a number that figures can be computed from: {value!r}")
    return float(value)


def _count(value: Any) -> int:
    """A whole number that a float holds too, in which figures are computed. Raises ValueError, TypeError."""
    if not 0 <= int(value) <= _MOST_COUNTED:
        raise ValueError(f"no count: {value!r}")
    return int(value)


_READERS: Mapping[Any, Callable[[Any], Any]] = {float: _finite, float | None: _finite, int: _count, str: str}
_UNSEEN: dict[str, Any] = {"queue_wait_p95_s": None, "arrival_rps": None}


def server_timing(header: str) -> dict[str, float]:
    """Server-Timing (W3C) -> seconds by name. Entries without a usable `dur` (ms) are left out.

    Where a name comes twice the first holds.
    `queue;dur=1.2, embed;desc="a, b";dur=0.5` -> {"queue": 0.0012, "embed": 0.0005}
    """
    found: dict[str, float] = {}
    for entry in _TIMING_ENTRY.findall(header):
        name, *parameters = (part.strip() for part in _DESCRIPTION.sub("", entry).split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            seconds = _milliseconds(value)
            if key.strip().lower() == "dur" and seconds is not None:
                found.setdefault(name, seconds)
    return found


def _merged(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name; one that came several times is a list with commas (RFC 9110, 5.3)."""
    merged: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        merged[key] = f"{merged[key]}, {value}" if key in merged else value
    return merged


def _milliseconds(text: str) -> float | None:
    """Milliseconds as text -> seconds, or None."""
    try:
        seconds = float(text.strip().strip('"')) / 1000
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _LONGEST_S else None


def _recall(documents: object, gold: Sequence[str]) -> float | None:
    if not isinstance(documents, list):
        return None
    ids = [document.get("id") for document in documents if isinstance(document, dict)]
    return recall_at_k([str(name) for name in ids if isinstance(name, str | int)], gold)


def _usage(usage: object) -> dict[str, int | None]:
    counts = usage if isinstance(usage, dict) else {}
    names = ("prompt_tokens", "completion_tokens")
    told = {name: counts.get(name) for name in names}
    return {name: n if type(n) is int and 0 <= n <= _MOST_COUNTED else None for name, n in told.items()}


def _refusal(answer: Answer) -> str:
    """The error of an answer that is not 200: where it sends us, or what it says; of a wrong path, which was asked."""
    code = answer.http_status
    moved_to = answer.headers.get("location") if 300 <= code < 400 else None
    if moved_to is not None:
        return f"{code}: it redirects to {_whole_url(answer.url or '', moved_to)}"[:LONGEST_ERROR]
    asked = f"POST {answer.url}: " if answer.url and code in _NO_SUCH_PATH else ""
    return f"{code}: {asked}{_detail(answer.body)}"[:LONGEST_ERROR]


def _whole_url(asked: str, told: str) -> str:
    """Where a Location leads, seen from the URL that was asked; as it was told where it is no URL."""
    try:
        return urljoin(asked, told)
    except ValueError:
        return told


def _detail(body: bytes) -> str:
    """The `detail` of an error answer, or the start of its body."""
    try:
        told = json.loads(body)
        return str(told["detail"]) if isinstance(told, dict) and "detail" in told else _text(body)
    except (ValueError, RecursionError):
        return _text(body)


def _text(body: bytes) -> str:
    return body[:LONGEST_ERROR].decode(errors="replace") or "(empty)"
