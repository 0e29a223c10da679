"""Logging in with keys: which are tried, in what order, and passphrases asked for once.

As OpenSSH does: the identity files that the user named, then the agent's keys, unless only the
named ones are wanted; default files where none is named. What needs a passphrase comes last, so
that nobody is asked without need. No passwords: a launch that runs for hours has nobody to type.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from launcher.errors import HostError
from launcher.ssh.settings import Settings

if TYPE_CHECKING:
    from paramiko import PKey, Transport

_TRIES = 3
_MANY_KEYS = 5  # sshd's MaxAuthTries is 6 by default


class DroppedInLogin(ConnectionError):
    """The connection broke off before the host said yes or no."""


class _Candidate(NamedTuple):
    """A key to try, and what it is called in messages."""

    key: "PKey"
    name: str


class Keys:
    """The user's keys: each file is read once, and its passphrase asked for once."""

    def __init__(self, ask: Callable[[str], str] | None) -> None:
        """`ask` prompts for a passphrase and returns it; None where nobody can answer."""
        self._ask = ask
        self._lock = threading.Lock()
        self._opened: dict[str, PKey | None] = {}

    def open(self, file: str) -> "PKey | None":
        """Return the key in a file, None where it is missing, unreadable or stays locked."""
        with self._lock:
            if file not in self._opened:
                self._opened[file] = self._read(file)
            return self._opened[file]

    def is_locked(self, file: str) -> bool:
        """Whether a file needs a passphrase that has not been given yet."""
        from paramiko import PasswordRequiredException

        if file in self._opened:
            return False
        try:
            _load(file, None)
        except PasswordRequiredException:
            return True
        return False

    def _read(self, file: str) -> "PKey | None":
        from paramiko import PasswordRequiredException

        try:
            return _load(file, None)
        except PasswordRequiredException:
            pass
        for attempt in range(_TRIES if self._ask else 0):
            assert self._ask
            again = "Wrong passphrase. " if attempt else ""
            try:
                given = self._ask(f"{again}Passphrase for {file}: ")
            except EOFError:
                break
            key = _load(file, given) if given else None
            if key is not None:
                return key
        return None


def _load(file: str, passphrase: str | None) -> "PKey | None":
    """Return the key in a file, with its certificate if there is one beside it; else None.

    Raises:
        paramiko.PasswordRequiredException: it needs a passphrase.
    """
    from paramiko import PasswordRequiredException, PKey, SSHException

    if not os.path.isfile(file):
        return None
    try:
        # By position: the argument's name differs between paramiko 4 and 5.
        return PKey.from_path(file, passphrase.encode() if passphrase else None)  # type: ignore[arg-type]
    except PasswordRequiredException:
        raise
    except TypeError:  # cryptography's, for a key that is encrypted
        if passphrase:
            return None
        raise PasswordRequiredException(file) from None
    except (SSHException, ValueError, OSError):
        return None
    except Exception as error:  # paramiko's PKey.UnknownKeyType and cryptography's own kinds
        if type(error).__module__.partition(".")[0] in ("paramiko", "cryptography"):
            return None
        raise


def log_in(transport: "Transport", settings: Settings, keys: Keys) -> None:
    """Log in with the first of the user's keys that the host takes.

    Raises:
        HostError: it takes none.
        DroppedInLogin: the connection broke off.
    """
    from paramiko import SSHException
    from paramiko.ssh_exception import AuthenticationException, BadAuthenticationType

    tried: list[str] = []
    agent = _Agent(settings)
    try:
        for candidate in _candidates(settings, keys, agent):
            tried.append(candidate.name)
            try:
                more = transport.auth_publickey(settings.route.user, candidate.key)
            except BadAuthenticationType as error:
                raise HostError(_no_keys_taken(settings, error.allowed_types)) from None
            except (AuthenticationException, SSHException, EOFError, OSError):
                if not transport.is_active():
                    if len(tried) >= _MANY_KEYS:
                        raise HostError(_too_many(settings, tried)) from None
                    raise DroppedInLogin("the connection broke off during the login") from None
                continue
            if more:
                raise HostError(_no_keys_taken(settings, more))
            return
    finally:
        agent.close()
    raise HostError(_denied(settings, tried, keys))


class _Agent:
    """The user's ssh-agent, asked over a connection of its own for each login."""

    def __init__(self, settings: Settings) -> None:
        from paramiko import Agent, SSHException

        self.keys: tuple[PKey, ...] = ()
        self._agent = None
        if settings.use_agent and os.environ.get("SSH_AUTH_SOCK"):
            try:
                self._agent = Agent()
                self.keys = tuple(self._agent.get_keys())
            except (SSHException, OSError):
                self.keys = ()

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


def _candidates(settings: Settings, keys: Keys, agent: _Agent) -> Iterator[_Candidate]:
    """Yield the keys to try; a file is opened when its turn comes."""
    files = [file for file in settings.identity_files if os.path.isfile(file)]
    of_file = {blob: file for file in files if (blob := _public(file))}
    held = {key.asbytes(): key for key in agent.keys}
    mine = [file for file in files if _public(file) in held]
    for file in mine:
        yield _Candidate(held[_public(file)], f"{file} (agent)")
    rest = [file for file in files if file not in mine]
    locked = [file for file in rest if keys.is_locked(file)]
    others = [key for blob, key in held.items() if blob not in of_file]
    first = [file for file in rest if file not in locked]
    if settings.named:
        yield from _opened(first, keys)
    if not settings.identities_only:
        for key in others:
            comment = getattr(key, "comment", "") or key.get_name()
            yield _Candidate(key, f"{comment} (agent)")
    if not settings.named:
        yield from _opened(first, keys)
    yield from _opened(locked, keys)


def _opened(files: list[str], keys: Keys) -> Iterator[_Candidate]:
    for file in files:
        key = keys.open(file)
        if key is not None:
            yield _Candidate(key, file)


def _public(file: str) -> bytes:
    """Return the public part that lies beside a key, or nothing."""
    import base64

    try:
        return base64.b64decode(Path(f"{file}.pub").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return b""


# messages


def _who(settings: Settings) -> str:
    route = settings.route
    return f"host {settings.target.name}: sshd of {route.host} port {route.port}"


def _denied(settings: Settings, tried: list[str], keys: Keys) -> str:
    locked = [f for f in settings.identity_files if os.path.isfile(f) and keys.open(f) is None]
    shown = f"tried {', '.join(tried)}" if tried else "there was no key to try"
    unused = f"; {', '.join(locked)} could not be opened: ssh-add {locked[0]}" if locked else ""
    missing = [f for f in settings.identity_files if settings.named and not os.path.isfile(f)]
    absent = f"; {', '.join(missing)} does not exist" if missing else ""
    user, host = settings.route.user, settings.target.host
    return (
        f"{_who(settings)} does not let the user {user} in ({shown}{unused}{absent}). Try "
        f"ssh {user}@{host}; give it a key (ssh-copy-id), or name user and key in cluster.yaml: "
        f"hosts.{settings.target.name}.ssh"
    )


def _no_keys_taken(settings: Settings, allowed: list[str]) -> str:
    return (
        f"{_who(settings)} asks for {' or '.join(allowed)} to log {settings.route.user} in; the "
        "launcher logs in with a key alone (PubkeyAuthentication yes in its sshd_config)"
    )


def _too_many(settings: Settings, tried: list[str]) -> str:
    return (
        f"{_who(settings)} closed the connection after {len(tried)} keys of the user "
        f"{settings.route.user} ({', '.join(tried)}). Name the right one: "
        f"hosts.{settings.target.name}.ssh.identity_file, or IdentityFile with IdentitiesOnly yes "
        "in ~/.ssh/config"
    )
