"""All objects of a run made on a cluster, or none of them: also where sending is interrupted."""

import signal
from types import FrameType

from launcher import stop_signals
from launcher.errors import HostError
from launcher.platforms.kubernetes.client import NOT_NOW, Client, Object, Refused
from launcher.platforms.kubernetes.manifests import Manifests

_NONE_THERE = 404
_TERMINATED = 143
_Ended = (KeyboardInterrupt, SystemExit)


def send(client: Client, prepared: Manifests) -> None:
    """Make the objects of a run in their order. Enter it in the main thread.

    Raises:
        HostError: one cannot be made; or what was made stays, in which case it names the run.
        KeyboardInterrupt, SystemExit: a signal ended it, and nothing stays.
    """
    begun: list[Object] = []
    with stop_signals.handled(_raise):
        try:
            for each in prepared.objects:
                begun.append(each)
                client.create(each)
        except HostError as error:
            left = _left(client, begun, prepared.name, is_doubtful=_is_doubtful(error))
            raise HostError(f"{error}{_what_is_missing(error, prepared)}{left}") from None
        except _Ended:
            if left := _left(client, begun, prepared.name, is_doubtful=True):
                raise HostError(f"interrupted{left}") from None
            raise


def _raise(signum: int, _frame: FrameType | None) -> None:
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(_TERMINATED)


def _is_doubtful(error: HostError) -> bool:
    """Whether what failed may have been made all the same."""
    return not isinstance(error, Refused) or error.status in NOT_NOW


def _left(client: Client, begun: list[Object], name: str, *, is_doubtful: bool) -> str:
    """Remove what was made; return what is said of what stays.

    begun: what was made, and the one that failed; that is ours only where `is_doubtful`.
    """
    made, failed = begun[:-1], begun[-1:]
    problems: list[str] = []
    try:
        if is_doubtful and failed:
            _remove(client, failed[0], problems, check=True)
        while made:
            _remove(client, made[-1], problems)
            made.pop()
    except _Ended:  # once more: the user has no time for it
        problems.append(f"interrupted before {len(made)} of its objects were removed")
    if not problems:
        return ""
    way = f"`launch submit stop --platform kubernetes {name}`, then `delete`, removes it"
    return "".join(f"\nwhat was made before is still there: {each}" for each in problems) + (
        f"\n{way}"
    )


def _remove(client: Client, made: Object, problems: list[str], *, check: bool = False) -> None:
    try:
        if not check or client.is_ours(made):
            client.remove(made["kind"], made["metadata"]["name"])
    except HostError as error:
        problems.append(str(error))


def _what_is_missing(error: HostError, prepared: Manifests) -> str:
    is_tfjob = prepared.objects[-1]["kind"] == "TFJob"
    if is_tfjob and isinstance(error, Refused) and error.status == _NONE_THERE:
        return "; does the cluster run Kubeflow's training operator? --operator none needs none"
    return ""
