"""`host:port` as TensorFlow writes it: what is a valid one, and what kind of host it names."""

from typing import NamedTuple

_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


class Address(NamedTuple):
    """A host (a name, an IPv4 or a bare IPv6 address) and a port in 1..65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address in `text`. Raises ValueError that says what was expected."""
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or not _is_ipv6(host):
                raise ValueError(f"expected [IPv6 address]:port, got {text!r}")
            colon, port = rest[:1], rest[1:]
        else:
            host, colon, port = text.rpartition(":")
            if not colon:
                host, port = text, ""
            if ":" in host:
                hint = f"[{text}]:port" if _is_ipv6(text) else "host:port"
                raise ValueError(f"expected {hint}, got {text!r}")
        problem = host_problem(host)
        if problem:
            raise ValueError(f"{problem} in {text!r}")
        if not colon or not port:
            raise ValueError(f"expected host:port, got {text!r} without a port")
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
            raise ValueError(f"expected a port in 1..65535, got {port!r} in {text!r}")
        return cls(host, int(port))


def host_problem(host: str) -> str:
    """Return what is wrong with a host name or address, or nothing."""
    if ":" in host:
        return "" if _is_ipv6(host) else f"expected an IPv6 address, got {host!r}"
    if not host:
        return "expected a host name or address, got nothing"
    bad = sorted(set(host) - _HOST_CHARACTERS)
    return f"expected a host name or address, got the character {bad[0]!r}" if bad else ""


def is_loopback(host: str) -> bool:
    """Whether `host` can only mean the machine that says it."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def is_wildcard(host: str) -> bool:
    """Whether `host` is an address to listen on, which nobody can connect to."""
    return host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def is_public(host: str) -> bool:
    """Whether `host` is an IP address that the whole internet can reach."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    if ":" not in text:
        return False
    import ipaddress

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
