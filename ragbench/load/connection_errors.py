"""Connection errors: the status of a request, and a message that says what to do. Sends nothing."""

import errno
import os
import socket
import ssl

import aiohttp

from ragbench.results.records import Status

LONGEST_ERROR = 300
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
# The numbers are OpenSSL's (x509_vfy.h); its own texts name neither the cause nor the cure.
_UNKNOWN_AUTHORITY = "it is signed by an authority that is not known here; name that with {option}"
_CERTIFICATE = {
    9: "it is not valid yet: is the clock of this machine right?",
    10: "it has expired",
    18: "it is self-signed; where that is meant, name it with {option}",
    19: "the authority that signed it is not known here; name that with {option}",
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: "it is for another host name",
    64: "it is for another IP address",
}
_CA_OPTION = "--ca-file (ca_file in a study)"
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


def lost(error: BaseException, http_status: int | None) -> Status:
    """The status of a failed exchange: no connection, no answer, an answer cut off, or an answer that is no HTTP."""
    if http_status is not None:
        return "truncated"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL):
        return "connection_error"
    return "reset" if isinstance(error, OSError | aiohttp.ServerDisconnectedError) else "bad_answer"


def is_out_of_files(error: BaseException) -> bool:
    """Whether this client had no descriptor left for a connection."""
    reason = _reason(error)
    # The errno of a failure of TLS counts something else than the system's does.
    return isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError) and reason.errno in _OUT_OF_FILES


def in_words(error: BaseException) -> str:
    """The message of an error, without the address."""
    return _words(error)[:LONGEST_ERROR]


def _words(error: BaseException) -> str:
    reason = _reason(error)
    if isinstance(error, aiohttp.ClientResponseError) and error.message:
        return f"the answer cannot be read as HTTP: {' '.join(error.message.split())}"
    if reason is error:
        return " ".join(str(error).split()) or type(error).__name__
    if isinstance(reason, ssl.SSLCertVerificationError):
        words = _CERTIFICATE.get(reason.verify_code, reason.verify_message).format(option=_CA_OPTION)
        return f"its certificate is refused: {words}"
    if isinstance(reason, ssl.SSLError):
        no_tls = "what answers does not speak TLS; write http:// if that is meant"
        return no_tls if reason.reason in _NO_TLS else f"TLS failed: {reason.reason or reason}"
    if isinstance(reason, socket.gaierror):
        return str(reason.strerror)
    number = (reason.errno or 0) if isinstance(reason, OSError) else 0
    return os.strerror(number) if number > 0 else str(error)  # the rest repeats the address


def unanswered(error: BaseException, url: str) -> str:
    """Why a service at `url` could not be asked at all."""
    words = in_words(error)
    if isinstance(_reason(error), ssl.SSLError):
        return f"no TLS connection to {url}: {words}"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL):
        return f"nothing answers at {url}: {words}"
    if isinstance(error, TimeoutError):
        return f"nothing answers at {url} in time"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"what answers at {url} is not understood: {words}"
    return f"{url} takes connections but gives no answer: {words}"


def _reason(error: BaseException) -> BaseException:
    """What the system or TLS says of a failed connection; else the error itself."""
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
