"""What registries answer when they do not do what was asked, and what helps."""

from collections.abc import Iterator
from contextlib import contextmanager

from docker.credentials.errors import StoreError

from launcher.errors import HostError

_NO_LOGIN = ("no basic auth", "unauthorized", "authentication required")
_NO_REGISTRY = ("no such host", "connection refused", "timeout", "dial tcp")


def remedy(registry: str, reason: str) -> str:
    """Return what to do about a registry's or an engine's reason, to follow it; or nothing."""
    said = reason.lower()
    if any(word in said for word in _NO_LOGIN):
        return f"; log in with `docker login {registry}`"
    if "denied" in said:
        return f"; does your login there allow it (docker login {registry})?"
    if "server gave http response" in said:
        listed = f'"insecure-registries": ["{registry}"]'
        return f"; it speaks no TLS: allow it with {listed} in Docker's daemon.json"
    if "x509" in said or "certificate" in said:
        where = f"/etc/docker/certs.d/{registry}/ca.crt"
        return f"; if its certificate is your own authority's, put that into {where}"
    if any(word in said for word in _NO_REGISTRY):
        return f"; is {registry} the registry's name, and is it up?"
    return ""


@contextmanager
def logins() -> Iterator[None]:
    """Tell a credential helper's failure as one of this machine.

    Raises:
        HostError: that of Docker's config.json cannot be used.
    """
    try:
        yield
    except StoreError as error:
        remedy = "install it, or take it out of Docker's config.json (~/.docker)"
        raise HostError(f"the logins of this user cannot be read: {error}; {remedy}") from None
