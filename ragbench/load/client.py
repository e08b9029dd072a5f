"""One question -> one row, over HTTP. A wire decides what a body holds, fire.py when it is sent."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from ragbench.files.text_file import parse_reported
from ragbench.load.answer import Answer, read_headers, read_refusal
from ragbench.load.connection_errors import in_words, is_out_of_files, lost, unanswered
from ragbench.load.scaling import read_scaling
from ragbench.load.target import Target
from ragbench.load.wires import Wire, wire_of
from ragbench.results.records import NO_SCALING, ReplicaCount, Row, Scaling
from ragbench.study.address import Address, speaks_tls
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

Clock = Callable[[], float]

# Servers close idle connections (uvicorn after 5 s); a request sent at that very moment would fail for no fault of its
# own, so ours are closed first.
_KEEP_IDLE_S = 2.0
_CHECK_S = 10.0
_MIB = 1 << 20
MOST_ANSWER = 16 * _MIB  # bytes of an answer to a question: fifty documents of 200,000 letters fit
MOST_REPORT = 4 * _MIB  # of a service's report on itself
# Of one header: more than any server allows by default, so that a long trace or cookie spoils no answer.
_LONGEST_HEADER = 1 << 16
_NO_FILES = "the client had no file descriptor left for a connection: raise `ulimit -n`, or use more processes"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be written to a socket: nothing is left to compute when it is due."""

    request: Request
    body: bytes
    headers: Mapping[str, str]


OnAnswer = Callable[[Request, Answer], None]  # what a row does not keep of an answer


class BodyTooLong(ValueError):
    """A body is longer than what is read of it."""


class ServiceError(ConnectionError):
    """Nothing answers HTTP at the service's address."""


class Client:
    """Speaks to one service. Make it with `connect`, inside a running event loop."""

    def __init__(self, session: aiohttp.ClientSession, target: Target, *, on_answer: OnAnswer | None = None) -> None:
        self.target = target
        self._session = session
        self._on_answer = on_answer
        self._wire = wire_of(target.wire)
        self._address = Address.of(target.url, endpoint=self._wire.path)
        self._url = self._address.at(self._wire.path)
        # A service that drops what it has seen would otherwise take a request for that of an earlier point or run.
        self._id = secrets.token_hex(4)
        self._headers = {"Content-Type": "application/json"}
        if target.deadline_s is not None:
            self._headers["X-Request-Timeout-S"] = f"{target.deadline_s:g}"

    def prepare(self, request: Request) -> Prepared:
        """The body and headers of `request`, made ahead of the load."""
        headers = self._headers | {"X-Request-Id": f"{self._id}-{request.number}"}
        return Prepared(request, self._wire.body(request, self.target), headers)

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Send one request and read its answer whole. Every failure is a status, never an exception.

        `clock` gives seconds from the schedule's origin; the timeout counts from when the request was due.
        """
        request = prepared.request
        row = Row(request.number, request.question.id, request.due_s)
        sent_s = clock()
        left_s = request.due_s + self.target.timeout_s - sent_s
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
            return replace(row, **read_answer(outcome, request.question, self._wire))
        return replace(row, **outcome)

    async def _exchange(self, prepared: Prepared, left_s: float) -> Answer | dict[str, Any] | None:
        """The answer, or the fields of the row that say why there is none; None where this client could not send."""
        http_status = None
        try:
            async with (
                asyncio.timeout(left_s),
                self._session.post(
                    self._url, data=prepared.body, headers=prepared.headers, allow_redirects=False
                ) as response,
            ):
                http_status = response.status
                body = await read_body(response, most=MOST_ANSWER)
                return Answer(http_status, _merged(response.headers), body, self._url)
        except BodyTooLong as error:
            return {"status": "bad_answer", "http_status": http_status, "error": str(error)}
        except TimeoutError:
            return {"status": "timeout", "error": f"no answer within {self.target.timeout_s:g} s of being due"}
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if is_out_of_files(error):
                return None
            cut_off = "" if http_status is None else "the answer was cut off: "
            return {"status": lost(error, http_status), "http_status": http_status, "error": cut_off + in_words(error)}

    async def check(self) -> None:
        """Raise ServiceError where nothing answers HTTP at all; any status will do."""
        exchange = self._session.get(self._address.at("/health"), allow_redirects=False)
        try:
            async with asyncio.timeout(_CHECK_S), exchange:
                return
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            why = unanswered(error, self._address.base)
            if not isinstance(error, aiohttp.ClientConnectorError) and await speaks_tls(self._address):
                why = f"what answers at {self._address.base} speaks TLS: write https://"
            raise ServiceError(why) from error

    async def info(self) -> dict[str, Any] | None:
        """GET /info: the settings in force; None where the service reports none."""
        return await self._fetch("/info")

    async def replica_count(self, clock: Clock) -> ReplicaCount | None:
        """GET /replicas, counted by state; None where the service reports none."""
        replicas = (await self._fetch("/replicas") or {}).get("replicas")
        if not isinstance(replicas, list):
            return None
        states = [replica.get("state") for replica in replicas if isinstance(replica, dict)]
        return ReplicaCount(max(0.0, clock()), *(states.count(state) for state in ("ready", "starting", "draining")))

    async def scaling(self, clock: Clock) -> Scaling:
        """GET /scaling: decisions and starts since the schedule's origin; empty where the service reports none."""
        report = await self._fetch("/scaling")
        return read_scaling(report, now_s=clock()) if report else NO_SCALING

    async def _fetch(self, path: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(5.0), self._session.get(self._address.at(path)) as response:
                report = parse_reported(await read_body(response, most=MOST_REPORT)) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
        return report if isinstance(report, dict) else None


@asynccontextmanager
async def connect(target: Target, *, on_answer: OnAnswer | None = None) -> AsyncIterator[Client]:
    """A client whose connections are kept alive and not capped: an open loop must never wait for a free one."""
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=_KEEP_IDLE_S, ssl=target.trust)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )
    async with session:
        yield Client(session, target, on_answer=on_answer)


async def read_body(response: aiohttp.ClientResponse, *, most: int) -> bytes:
    """The body, decompressed. Raises BodyTooLong past `most` bytes, and closes the connection before."""
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > most:
            response.close()
            raise BodyTooLong(f"the answer is longer than {most // _MIB} MiB, and is not read further")
    return bytes(body)


def read_answer(answer: Answer, question: Question, wire: Wire) -> dict[str, Any]:
    """The fields of a row that an answer decides: status, what the headers tell, and how the answer is marked."""
    fields = wire.read(answer, question) if answer.http_status == 200 else read_refusal(answer)
    return {"http_status": answer.http_status, **read_headers(answer.headers), **fields}


def _merged(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name; one that came several times is a list with commas (RFC 9110, 5.3)."""
    merged: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        merged[key] = f"{merged[key]}, {value}" if key in merged else value
    return merged
