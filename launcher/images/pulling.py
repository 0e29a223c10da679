"""Has a host pull an image from the registry in its name, with this user's logins.

The registry is asked first, through the host's engine, whether it answers and what it has: so a
registry that is out of the host's reach costs seconds, and all hosts pull the same digest. Logins
come from this user's Docker configuration, travel in the header meant for them, and appear
nowhere else.
"""

import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import requests
from docker.auth import encode_header, load_config, resolve_repository_name
from docker.errors import DockerException, create_api_error_from_http_exception
from docker.utils import parse_repository_tag

from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.images.stream import IsCancelled, events, until_cancelled

ANSWER_S = 10  #: for a registry to answer at all
_LOOKING_UP = threading.Lock()  # what is done about warnings is done for the whole process
_IDLE_S = 300
_DOING = "could not pull"
_NOT_LOGGED_IN = ("unauthorized", "denied", "no basic auth", "authentication required")
OnPulled = Callable[[int, int | None, str], None]  #: (bytes done, bytes in all, more to show)


class Offer(NamedTuple):
    """What a registry has under a name.

    name: with the digest, so that it means the same on every host.
    architectures: those it was made for, as far as the registry tells.
    """

    name: str
    architectures: tuple[str, ...]


class PullError(HostError):
    """A host could not pull an image, for what the registry or the way to it is like."""


def offer(there: Engine, name: str) -> Offer:
    """Return what the registry offers to a host under a name.

    Raises:
        PullError: the registry does not answer, or does not have it for this user.
    """
    url = f"{there.api.base_url}/v{there.api.api_version}/distribution/{name}/json"
    try:
        with there.errors(_DOING):
            answer = there.api.get(url, headers=_login(name), timeout=ANSWER_S)
            try:
                answer.raise_for_status()
            except requests.HTTPError as error:
                create_api_error_from_http_exception(error)
            found = answer.json()
    except (EngineError, ValueError) as error:
        raise PullError(_problem(there.host, name, error)) from None
    platforms = found.get("Platforms") or ()
    return Offer(
        f"{repository(name)}@{found['Descriptor']['digest']}",
        tuple(platform.get("architecture", "") for platform in platforms),
    )


def pull(there: Engine, name: str, on_pulled: OnPulled, is_cancelled: IsCancelled) -> None:
    """Return once a host has pulled what an offer named.

    Raises:
        PullError: the transfer failed.
        HostError: no room there, or cancelled.
    """
    repo, tag = parse_repository_tag(name)
    params = {"fromImage": repo, "tag": tag or "latest"}
    layers: dict[str, tuple[int, int]] = {}
    done: set[str] = set()
    try:
        with events(there, "/images/create", _DOING, params=params,
                    headers=_login(name), idle_s=_IDLE_S) as said:  # fmt: skip
            for event in until_cancelled(said, there.host, is_cancelled):
                _count(event, layers, done)
                if layers:
                    now, total = map(sum, zip(*layers.values(), strict=True))
                    on_pulled(now, total, f"layer {len(done)} of {len(layers)}")
    except EngineError as error:
        raise PullError(_problem(there.host, name, error)) from None


def _count(event: Any, layers: dict[str, tuple[int, int]], done: set[str]) -> None:
    layer, detail = event.get("id", ""), event.get("progressDetail") or {}
    if event.get("status") == "Downloading" and detail.get("total"):
        layers[layer] = detail.get("current", 0), detail["total"]
    elif event.get("status") in ("Download complete", "Pull complete") and layer in layers:
        layers[layer] = layers[layer][1], layers[layer][1]
        done.add(layer)


def repository(name: str) -> str:
    """Return a name without its tag or digest."""
    return str(parse_repository_tag(name)[0])


def registry_of(name: str) -> str:
    """Return the registry that a name speaks of."""
    return str(resolve_repository_name(repository(name))[0])


def _login(name: str) -> dict[str, str]:
    """Return the header with this user's login at the registry of a name."""
    try:
        with _LOOKING_UP, warnings.catch_warnings():
            # The SDK warns of a helper that is not installed, and then fails with it.
            warnings.simplefilter("ignore")
            found = load_config().resolve_authconfig(registry_of(name))
    except DockerException:
        # What a credential helper says may hold what must not be shown.
        raise PullError(
            f"the credential helper for {registry_of(name)} in ~/.docker/config.json fails; "
            f"run `docker login {registry_of(name)}` again"
        ) from None
    return {"X-Registry-Auth": str(encode_header(found), "ascii")} if found else {}


def _problem(host: str, name: str, error: Exception) -> str:
    registry = registry_of(name)
    status = error.status if isinstance(error, EngineError) else None
    text = str(error).lower()
    if status in (401, 403) or any(word in text for word in _NOT_LOGGED_IN):
        what = f"{registry} does not give {name} to this user"
        return f"{host}: {what}; run `docker login {registry}` here"
    if status == 404 or "manifest unknown" in text or "not found" in text:
        return f"{host}: {registry} has no {name}"
    if "timed out" in text:
        return f"{host}: {registry} did not answer within {ANSWER_S} s"
    return f"{host}: {name} could not be pulled: {str(error).rpartition(_DOING)[2].lstrip(': ')}"
