"""Calls of the platform's API: one signed POST each, tried again where that may help.

Whether another try may help is said by the answer itself (HTTP's status, RetCode), and for what
makes a job also by whether the first may have arrived; so it is decided here, not by urllib3.
"""

import random
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from launcher.errors import HostError, InputError, Problem
from launcher.platforms.uai import answers
from launcher.platforms.uai.answers import SUCCESS, Answer
from launcher.platforms.uai.credentials import Credentials
from launcher.platforms.uai.signature import Value, as_text, sign

if TYPE_CHECKING:
    import requests

TRIES = 5
FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_CONNECT_S, _READ_S = 10.0, 30.0
_WHOLE_S = 120.0
_MOST_BYTES = 64 << 20
_PART_BYTES = 1 << 16

# UCloud's words for "later": time out, service error, service unavailable.
_LATER = frozenset({110, 130, 150})
_SIGNATURE = {
    170: "the request bears no signature",
    171: "the private key is not that of the public key",
    172: "nobody has this public key",
}


class Refused(HostError):
    """The platform has said no, and would say so again."""


class Failed(HostError):
    """No answer, or none of use; another try may fare better.

    arrived: False: it did not reach the platform; None: the platform says that it cannot now;
        True: nobody knows what became of it.
    after_s: how long it asks to be left alone.
    """

    def __init__(self, text: str, *, arrived: bool | None, after_s: float = 0.0) -> None:
        self.arrived = arrived
        self.after_s = after_s
        super().__init__(text)


class Endpoint(NamedTuple):
    """Where the API answers, and what every request says."""

    url: str
    region: str
    zone: str
    project: str


def pauses(tries: int | None = None) -> Iterator[float]:
    """Yield the seconds to wait before each further try: doubled each time, half of it chance."""
    for step in range((tries or TRIES) - 1):
        whole = min(FIRST_PAUSE_S * 2**step, _LONGEST_PAUSE_S)
        yield whole / 2 + random.uniform(0, whole / 2)  # noqa: S311 - to spread load, not to hide


class Calls:
    """The API as one user sees it. What it raises and shows never holds a key."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self._session: requests.Session | None = None

    def call(self, action: str, params: Mapping[str, Value] | None = None) -> Answer:
        """Return the answer to what may be asked any number of times.

        Raises:
            Refused: the platform says no; it is not asked again.
            Failed: it gave no answer of use, however often it was asked.
        """
        waits = pauses()
        while True:
            try:
                return self.once(action, params)
            except Failed as error:
                pause = next(waits, None)
                if pause is None:
                    raise
                time.sleep(max(pause, error.after_s))

    def once(self, action: str, params: Mapping[str, Value] | None = None) -> Answer:
        """Return the answer to one request, sent once.

        Raises:
            Refused: the platform says no.
            Failed: it gave no answer of use.
        """
        text = self._text(action, self.signed(action, params or {}))
        try:
            answer = answers.read(action, text, self.credentials.hide)
        except answers.Unreadable as error:
            raise Failed(str(error), arrived=True) from None
        if answer.code == SUCCESS:
            return answer
        said = f"{action} was refused: {answer.message or 'no reason given'} ({answer.code})"
        if answer.code in _LATER:
            raise Failed(said, arrived=None)
        if answer.code in _SIGNATURE:
            said += f"\n{_SIGNATURE[answer.code]}; no other try was made"
        raise Refused(said)

    def signed(self, action: str, params: Mapping[str, Value]) -> dict[str, str]:
        """Return all the parameters of a request, as they are sent."""
        of_all: dict[str, Value] = {
            "Action": action,
            "PublicKey": self.credentials.public_key,
            "Region": self.endpoint.region,
            "Zone": self.endpoint.zone,
        }
        if self.endpoint.project:
            of_all["ProjectId"] = self.endpoint.project
        sent = {key: as_text(value) for key, value in {**of_all, **params}.items()}
        return {**sent, "Signature": sign(sent, self.credentials.private_key)}

    def _text(self, action: str, sent: Mapping[str, str]) -> str:
        """Return what came back, as text. Raises Failed, or Refused where it makes no sense."""
        import requests

        try:
            with self._opened().post(
                self.endpoint.url, data=sent, timeout=(_CONNECT_S, _READ_S),
                allow_redirects=False, stream=True,
            ) as answer:  # fmt: skip
                _check_status(action, answer)
                return _body(action, answer)
        except requests.RequestException as error:
            raise _failed(action, self.endpoint.url, error) from None

    def _opened(self) -> "requests.Session":
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.auth = _no_other  # what ~/.netrc says is not for this
            if self.endpoint.url.startswith("http://"):
                self._session.trust_env = False  # a proxy would read it
        return self._session


def check_endpoint(url: str, where: str) -> Iterator[Problem]:
    """Yield what is wrong with an API's address."""
    from urllib.parse import urlsplit

    from launcher.address import is_loopback

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("https", "http") or parts.username or parts.query:
        yield Problem(where, f"expected https://HOST, got {url!r}")
    elif parts.scheme == "http" and not is_loopback(host):
        yield Problem(where, "the keys would cross the network in the clear; expected https://")


def need_requests() -> None:
    """Raise InputError where the library that talks HTTP is missing."""
    try:
        import requests  # noqa: F401
    except ModuleNotFoundError:
        what = "needs more packages: pip install 'tf-config-launch[uai]'"
        raise InputError(Problem("--platform uai", what)) from None


def _check_status(action: str, answer: "requests.Response") -> None:
    """Tell by HTTP's status what no body need be read for."""
    status = answer.status_code
    if status == 429 or status >= 500:
        said = f"{action}: the platform answered with HTTP {status}"
        after_s = _seconds(answer.headers.get("Retry-After", ""))
        raise Failed(said, arrived=True if status == 504 else None, after_s=after_s)
    if 300 <= status < 400:
        raise Refused(f"{action}: HTTP {status} sends us elsewhere, where no key is sent")
    kind = answer.headers.get("Content-Type", "")
    if status >= 400 and "json" not in kind.lower():
        raise Refused(f"{action}: the platform answered with HTTP {status}")


def _body(action: str, answer: "requests.Response") -> str:
    """Return a body as text, however it is cut; too long or too slow a one is none."""
    found, ends_at = bytearray(), time.monotonic() + _WHOLE_S
    for part in answer.iter_content(_PART_BYTES):
        found += part
        if len(found) > _MOST_BYTES or time.monotonic() > ends_at:
            raise Failed(f"{action}: the answer does not end", arrived=True)
    return found.decode("utf-8", "replace")


def _failed(action: str, url: str, error: "requests.RequestException") -> HostError:
    """Return what a failed request means; the exception itself holds the request."""
    import requests
    from urllib3.exceptions import MaxRetryError, NewConnectionError

    if isinstance(error, requests.exceptions.SSLError):
        return Refused(f"{action}: {url} does not prove who it is (TLS)")
    if isinstance(error, requests.ConnectTimeout):
        return Failed(f"{action}: {url} cannot be reached", arrived=False)
    if isinstance(error, requests.Timeout):
        return Failed(f"{action}: {url} gave no answer in {_READ_S:g} s", arrived=True)
    inner = error.args[0] if error.args else None
    reason = inner.reason if isinstance(inner, MaxRetryError) else inner
    if isinstance(reason, NewConnectionError):
        return Failed(f"{action}: {url} cannot be reached", arrived=False)
    return Failed(f"{action}: {url} broke off the connection", arrived=True)


def _no_other(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    return request


def _seconds(text: str) -> float:
    return min(float(text), _LONGEST_PAUSE_S) if text.isascii() and text.isdigit() else 0.0
