"""The lines that a run's pods print, each once, followed from all pods at a time."""

import queue
import threading
import time
from collections.abc import Callable, Iterator

from launcher.errors import HostError
from launcher.platforms import Line
from launcher.platforms.kubernetes.client import Client, CutOff, Object
from launcher.platforms.kubernetes.pod import CONTAINER
from launcher.platforms.kubernetes.states import task_of

LOOK_S = 2.0
_LAST_S = 30.0  # how long pods are heard that outlive their run
_OVER = ("Succeeded", "Failed")
Put = Callable[[Line | HostError], None]


def there(client: Client, pods: list[Object]) -> Iterator[Line]:
    """Yield what pods have printed until now."""
    for pod in pods:
        found: queue.SimpleQueue[Line | HostError] = queue.SimpleQueue()
        _Log(client, pod).read(found.put, follow=False)
        yield from _heard(found, 0)


def follow(
    client: Client, pods: Callable[[], list[Object]], is_over: Callable[[], bool]
) -> Iterator[Line]:
    """Yield what pods print, those too that come later, until the run is over."""
    heard: queue.SimpleQueue[Line | HostError] = queue.SimpleQueue()
    known: dict[str, threading.Thread] = {}
    over_since: float | None = None
    while True:
        if over_since is None and is_over():  # asked before the pods, so that none is missed
            over_since = time.monotonic()
        for pod in pods():
            uid = _uid(pod)
            if uid not in known and _has_begun(pod):
                target = _Log(client, pod).follow
                known[uid] = threading.Thread(target=target, args=(heard.put,), daemon=True)
                known[uid].start()
        ended = over_since is not None and not any(t.is_alive() for t in known.values())
        yield from _heard(heard, 0 if ended else LOOK_S)
        if ended or (over_since is not None and time.monotonic() - over_since > _LAST_S):
            return


def _heard(heard: "queue.SimpleQueue[Line | HostError]", for_s: float) -> Iterator[Line]:
    """Yield what comes within a time, and at least what is there."""
    end = time.monotonic() + for_s
    while True:
        try:
            said = heard.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return
        if isinstance(said, HostError):
            raise said
        yield said


def _has_begun(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any("waiting" not in (each.get("state") or {"waiting": {}}) for each in statuses)


def _uid(pod: Object) -> str:
    """Return what tells a pod from a later one of its name."""
    metadata = pod["metadata"]
    return str(metadata.get("uid") or metadata["name"])


class _Log:
    """The log of one pod; its lines' times say which of them are known."""

    def __init__(self, client: Client, pod: Object) -> None:
        self._client, self._name, self._source = client, pod["metadata"]["name"], task_of(pod)
        self._uid, self._seen = _uid(pod), ("", "")

    def follow(self, put: Put) -> None:
        """Put each line as it comes, until the pod has ended.

        Its container may end and start again meanwhile: its log does then.
        """
        try:
            while True:
                pod = self._client.get("Pod", self._name)
                if pod is not None and _uid(pod) != self._uid:
                    return
                has_ended = pod is None or (pod.get("status") or {}).get("phase") in _OVER
                before = self._seen
                if self.read(put, follow=True) and has_ended:
                    return
                if self._seen == before:
                    time.sleep(LOOK_S)
        except HostError as error:
            put(error)

    def read(self, put: Put, *, follow: bool) -> bool:
        """Put the lines that are new; return whether they came whole."""
        known, is_new = self._seen, False
        try:
            with self._client.log(self._name, CONTAINER, follow=follow) as found:
                for text in found:
                    moment, _, line = text.decode(errors="replace").partition(" ")
                    is_new = is_new or _time(moment) > known
                    if is_new:
                        self._seen = _time(moment)
                        put(Line(self._source, line))
        except CutOff:
            return False
        return True


def _time(moment: str) -> tuple[str, str]:
    """Return a time as it can be compared: its fraction has as many digits as it needs."""
    second, _, fraction = moment.partition(".")
    digits = "".join(c for c in fraction.partition("+")[0] if c.isdigit())
    return second.rstrip("Z"), digits.ljust(9, "0")
