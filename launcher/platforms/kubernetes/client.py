"""What is asked of an API server: objects made, read, changed and removed, as plain values.

Every answer that is no success becomes an error in words. What may be asked again is: a server
that is busy or cannot be reached for a moment.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from launcher.errors import HostError
from launcher.platforms.kubernetes.access import Access
from launcher.platforms.kubernetes.shape import is_object

Object = dict[str, Any]
T = TypeVar("T")
PATHS = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "TFJob": "/apis/kubeflow.org/v1/namespaces/{namespace}/tfjobs",
}
BACKOFFS_S = (0.25, 0.5, 1.0, 2.0)
_TIMEOUTS_S = (10, 60)  # to connect, and between two bytes of an answer
_FOLLOWING_S = (10, 300)  # likewise of a log, which may be silent for long
NOT_NOW = frozenset({429, 500, 502, 503, 504})  # statuses that say nothing of the request


class Refused(HostError):
    """The API server answers, and does not do it; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class CutOff(HostError):
    """An answer did not come to its end, or not within its time."""


class Client:
    """One API server, for one user in one namespace."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def namespace(self) -> str:
        """The namespace that all is asked of."""
        return self._access.namespace

    def create(self, made: Mapping[str, Any]) -> None:
        """Make an object, once. Raises Refused where one of its name is there, made by others."""
        kind, name = made["kind"], made["metadata"]["name"]
        tried = False
        for backoff_s in (*BACKOFFS_S, None):
            try:
                self._json("POST", PATHS[kind], f"cannot make {kind} {name}", body=made)
                return
            except Refused as error:
                if error.status == HTTPStatus.CONFLICT and tried and self.is_ours(made):
                    return  # an earlier try had come through
                if error.status not in NOT_NOW or backoff_s is None:
                    raise
            except HostError:
                if backoff_s is None:
                    raise
            tried = True
            time.sleep(backoff_s)

    def is_ours(self, made: Mapping[str, Any]) -> bool:
        """Return whether an object is there, and was made for the same run."""
        there = self.get(made["kind"], made["metadata"]["name"])
        return there is not None and all(
            (there.get("metadata", {}).get("annotations") or {}).get(key) == value
            for key, value in made["metadata"]["annotations"].items()
        )

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, None where there is none."""
        try:
            found = self._read(f"{PATHS[kind]}/{name}", f"cannot read {kind} {name}")
            if not is_object(found):
                raise self._not_kubernetes(f"cannot read {kind} {name}")
            return found
        except Refused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def find(self, kind: str, selector: str) -> list[Object]:
        """Return the objects of a kind that bear some labels, the oldest first."""
        found: list[Object] = []
        query = {"labelSelector": selector, "limit": "500"}
        while True:
            doing = f"cannot list {kind}s"
            page = self._read(PATHS[kind], doing, query)
            items, metadata = page.get("items") or [], page.get("metadata") or {}
            if not isinstance(items, list) or not all(map(is_object, items)):
                raise self._not_kubernetes(doing)
            found += items
            after = metadata.get("continue") if isinstance(metadata, dict) else None
            if not isinstance(after, str) or not after:
                break
            query = {**query, "continue": after}
        return sorted(found, key=lambda each: each["metadata"].get("creationTimestamp") or "")

    def change(self, kind: str, name: str, to: Mapping[str, Any]) -> None:
        """Merge `to` into an object; one that is gone is none to change."""
        doing = f"cannot change {kind} {name}"
        self._gone_or_done("PATCH", kind, name, doing, body=to)

    def remove(self, kind: str, name: str) -> None:
        """Remove an object and all that belongs to it; one that is gone is no error."""
        body = {"propagationPolicy": "Background"}
        self._gone_or_done("DELETE", kind, name, f"cannot remove {kind} {name}", body=body)

    @contextmanager
    def log(self, pod: str, container: str, *, follow: bool) -> Iterator[Iterator[bytes]]:
        """Yield the lines of a pod's log as they come, each behind its time; none for no log.

        Raises CutOff where they end too early, or do not come for a while.
        """
        answer = None
        query = {"container": container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        path, doing = f"{PATHS['Pod']}/{pod}/log", f"cannot read {pod}'s log"
        try:
            answer = _tried(
                lambda: self._ask("GET", path, query=query, doing=doing),
                lambda error: _may_pass(error) and not isinstance(error, CutOff),
            )
        except Refused as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                raise
        try:
            yield iter(()) if answer is None else _lines(answer)
        finally:
            if answer is not None:
                answer.close()

    def _read(self, path: str, doing: str, query: Mapping[str, str] = {}) -> Object:
        return self._again("GET", path, doing, query=query)

    def _gone_or_done(self, method: str, kind: str, name: str, doing: str, **more: Any) -> None:
        try:
            self._again(method, f"{PATHS[kind]}/{name}", doing, **more)
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _again(self, method: str, path: str, doing: str, **more: Any) -> Object:
        """Ask for what may be asked twice, until it is answered."""
        return _tried(lambda: self._json(method, path, doing, **more), _may_pass)

    def _json(self, method: str, path: str, doing: str, **more: Any) -> Object:
        answer = self._ask(method, path, doing=doing, **more)
        with self._errors(doing):
            text = answer.data
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._not_kubernetes(doing)
        return value

    def _not_kubernetes(self, doing: str) -> HostError:
        return HostError(f"{doing}: {self._access.server} does not answer as Kubernetes does")

    def _ask(
        self, method: str, path: str, *, doing: str, query: Mapping[str, str] = {}, body: Any = None
    ) -> Any:
        """Return the answer to one request, its body not read yet."""
        content = "merge-patch+json" if method == "PATCH" else "json"
        headers = {"Accept": "application/json", "Content-Type": f"application/{content}"}
        with self._errors(doing):
            timeouts_s = _FOLLOWING_S if "follow" in query else _TIMEOUTS_S
            answer = self._access.ask(method, path, query, headers, body, timeouts_s)
            if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _refused(doing, answer.status, answer.data, answer.reason)
            return answer

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn the client's exceptions into errors in words."""
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        server = self._access.server
        try:
            yield
        except ApiException as error:
            if error.status:
                raise _refused(doing, error.status, error.body, error.reason) from None
            said = str(error.reason).rpartition("\n")[2]  # TLS did not come about
            raise HostError(f"{doing}: {server} cannot be reached: {said}") from None
        except ReadTimeoutError:
            raise CutOff(f"{doing}: {server} does not answer in time") from None
        except HTTPError as error:
            cause = getattr(error, "reason", None) or error
            said = str(cause).rpartition(">: ")[2] or type(cause).__name__
            raise HostError(f"{doing}: {server} cannot be reached: {said}") from None
        except (ConfigException, OSError) as error:
            raise HostError(f"{doing}: {error}") from None
        except ValueError:  # whose words would show the login
            what = "the kubeconfig's login is no text that HTTP can send"
            raise HostError(f"{doing}: {what}; log in anew") from None


def _may_pass(error: HostError) -> bool:
    return not isinstance(error, Refused) or error.status in NOT_NOW


def _tried(ask: Callable[[], T], is_worth_it: Callable[[HostError], bool]) -> T:
    """Return the answer to what may be asked twice."""
    for backoff_s in BACKOFFS_S:
        try:
            return ask()
        except HostError as error:
            if not is_worth_it(error):
                raise
        time.sleep(backoff_s)
    return ask()


def _lines(answer: Any) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    rest = b""
    try:
        for part in answer.stream(65536, decode_content=False):
            *lines, rest = (rest + part).split(b"\n")
            yield from lines
    except (HTTPError, OSError):
        raise CutOff("the log was cut off") from None
    if rest:
        yield rest


def _refused(doing: str, status: int, body: str | bytes | None, reason: object) -> Refused:
    """Return a refusal in the API server's words, where it has any."""
    try:
        said = " ".join(str(json.loads(body or "")["message"]).split())
    except (ValueError, TypeError, KeyError):
        said = str(reason or "no words")
    return Refused(status, f"{doing}: {said} ({status}){_remedy(status)}")


def _remedy(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "; the kubeconfig's login is not taken: log in anew (kubectl auth whoami)"
    if status == HTTPStatus.FORBIDDEN:
        return "; ask for that right (kubectl auth can-i), or name another namespace or context"
    return ""
