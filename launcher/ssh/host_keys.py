"""Whether a host's key is one that the user trusts, from the known_hosts files.

Reads the files as OpenSSH does (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): patterns, hashed names,
`@revoked`. Host certificates (`@cert-authority`) are not followed. A key is never trusted by
itself: `add` is for `launch hosts trust`, after the user said yes.
"""

import base64
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from launcher.errors import HostError

TRUST = "launch hosts trust --cluster FILE"


class HostKey(NamedTuple):
    """A key that a host showed: its type (`ssh-ed25519`) and its public part."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """The key's SHA256 fingerprint, as ssh-keygen shows it."""
        digest = hashlib.sha256(self.blob).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


class Entry(NamedTuple):
    """A line of a known_hosts file that is about one host."""

    file: str
    line: int
    key: HostKey
    is_revoked: bool


class Trust(Enum):
    """What known_hosts says of a key."""

    KNOWN = auto()
    UNKNOWN = auto()  # nothing is known of this host, or only keys of other types
    CHANGED = auto()  # another key of this type is known
    REVOKED = auto()


def entries(files: Sequence[str], known_as: str) -> tuple[Entry, ...]:
    """Return every line about the host of that name (`host` or `[host]:port`).

    Raises:
        HostError: a file cannot be read.
    """
    return tuple(found for file in files for found in _entries(file, known_as))


def key_types(known: Sequence[Entry]) -> tuple[str, ...]:
    """Return the algorithms to prefer, so that a host shows a key that is known."""
    types: dict[str, None] = {}
    for entry in known:
        if not entry.is_revoked:
            of_type = ("rsa-sha2-512", "rsa-sha2-256")
            types.update(
                dict.fromkeys(of_type if entry.key.type == "ssh-rsa" else (entry.key.type,))
            )
    return tuple(types)


def judge(known: Sequence[Entry], key: HostKey) -> Trust:
    """Return whether `key` is trusted, by the lines about its host."""
    same = [entry for entry in known if entry.key == key]
    if any(entry.is_revoked for entry in same):
        return Trust.REVOKED
    if same:
        return Trust.KNOWN
    of_type = any(e.key.type == key.type and not e.is_revoked for e in known)
    return Trust.CHANGED if of_type else Trust.UNKNOWN


def refusal(known: Sequence[Entry], key: HostKey, name: str, known_as: str) -> str:
    """Return why a key is refused, with its fingerprint and how to trust it; nothing if known."""
    trust = judge(known, key)
    shown = f"{key.type} key {key.fingerprint}"
    if trust is Trust.KNOWN:
        return ""
    if trust is Trust.REVOKED:
        return f"host {name} shows the {shown}, which known_hosts marks as revoked: do not connect"
    if trust is Trust.CHANGED:
        stale = next(e for e in known if e.key.type == key.type and not e.is_revoked)
        return (
            f"host {name}: its host key has changed: it shows the {shown}, and {stale.file}:"
            f"{stale.line} holds {stale.key.fingerprint}. If the host was set up anew, forget the "
            f"old key (ssh-keygen -f {stale.file} -R '{known_as}') and trust the new one "
            f"({TRUST}); if not, somebody may be in between"
        )
    others = ", ".join(dict.fromkeys(e.key.type for e in known))
    beside = f" (of this host only {others} is known)" if others else ""
    return (
        f"host {name}: its {shown} is not in {known_as}'s known_hosts{beside}; compare the "
        f"fingerprint and trust it: {TRUST}"
    )


def add(file: str, known_as: str, key: HostKey, *, hashed: bool) -> None:
    """Append a key to a known_hosts file, which is made (0600) where it is missing.

    One write of one line: two launchers at once leave two whole lines.

    Raises:
        HostError: it cannot be written.
    """
    name = _hashed(known_as, os.urandom(20)) if hashed else known_as
    line = f"{name} {key.type} {base64.b64encode(key.blob).decode()}\n"
    path = Path(file)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = f"\n{line}"
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HostError(f"{file} cannot be written: {error.strerror}") from None


def _entries(file: str, known_as: str) -> Iterator[Entry]:
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(f"{file} cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or line.lstrip().startswith("#") or marker == "@cert-authority":
            continue
        names, key_type, blob, *_ = fields
        if not _matches(names, known_as):
            continue
        try:
            key = HostKey(key_type, base64.b64decode(blob, validate=True))
        except ValueError:
            continue
        yield Entry(file, number, key, is_revoked=marker == "@revoked")


def _matches(names: str, known_as: str) -> bool:
    """Whether a line's first field names the host: hashed, or patterns of which some negate."""
    if names.startswith("|1|"):
        try:
            salt = base64.b64decode(names.split("|")[2])
        except ValueError:
            return False
        return hmac.compare_digest(_hashed(known_as, salt), names)
    matched = False
    for pattern in names.lower().split(","):
        # Brackets stand around a host with a port; only * and ? are wildcards here.
        wanted = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(known_as, wanted):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _hashed(name: str, salt: bytes) -> str:
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
