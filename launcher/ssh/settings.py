"""What `ssh HOST` would do, read out of ~/.ssh/config and /etc/ssh/ssh_config.

Knows which keys of the files the launcher follows, and turns a jump into a route. paramiko reads
the files, all but `Include`, which is done here. Connects to nothing.
"""

import glob
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from launcher.errors import HostError
from launcher.ssh.values import Target
from launcher.user import user_name

if TYPE_CHECKING:
    from paramiko.config import SSHConfig

CONNECT_S = 30.0
_PORT = 22
_SYSTEM_CONFIG = "/etc/ssh/ssh_config"
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_DEEPEST_INCLUDE = 16
_MOST_JUMPS = 8


class Route(NamedTuple):
    """How one sshd is reached: directly, by a command's standard streams, or through a jump."""

    host: str
    port: int
    user: str
    proxy_command: str | None = None
    jump: "Settings | None" = None


class Settings(NamedTuple):
    """What holds for one host.

    known_as: the name under which known_hosts lists its key.
    known_hosts: the files that are read; the first is the one to add to.
    identity_files: those to try; named is whether the user named them.
    """

    target: Target
    route: Route
    known_as: str
    known_hosts: tuple[str, ...]
    hash_known_hosts: bool
    identity_files: tuple[str, ...]
    named: bool
    identities_only: bool
    use_agent: bool
    connect_timeout_s: float


class Config:
    """The user's ssh configuration."""

    def __init__(self, home: Path, connect_s: float = CONNECT_S) -> None:
        """Read the files; `connect_s` is how long to try where they do not say.

        Raises:
            HostError: they cannot be understood.
        """
        self._home = home
        self._connect_s = connect_s
        self._config = _read(home / ".ssh" / "config", _SYSTEM_CONFIG, home=home)

    def settings(self, target: Target) -> Settings:
        """Return what holds for a host. Raises HostError for what cannot be followed."""
        return self._settings(target, (), inherited=None)

    def _settings(
        self, target: Target, seen: tuple[str, ...], *, inherited: Settings | None
    ) -> Settings:
        """`inherited`: the jump before this one where a ProxyJump names several."""
        found = self._lookup(target)
        user = target.user or found.get("user") or user_name()
        host = found.get("hostname") or target.host
        port = target.port or _number(found, "port", _PORT, target)
        command, jump = found.get("proxycommand"), inherited
        spec = found.get("proxyjump", "none")
        if jump is None and spec.lower() != "none":
            jump = self._jump(target, spec, (*seen, target.host))
        if jump is not None or (command or "none").lower() == "none":
            command = None
        named = [target.identity_file] if target.identity_file else found.get("identityfile", [])
        files = tuple(self._path(name) for name in named if name.lower() != "none")
        defaults = tuple(str(self._home / ".ssh" / name) for name in _DEFAULT_KEYS)
        return Settings(
            target=target,
            route=Route(host, port, user, command, jump),
            known_as=_known_as(found.get("hostkeyalias"), host, port),
            known_hosts=self._known_hosts(found),
            hash_known_hosts=found.get("hashknownhosts", "no").lower() == "yes",
            identity_files=files if named else defaults,
            named=bool(named),
            identities_only=found.get("identitiesonly", "no").lower() == "yes",
            use_agent=found.get("identityagent", "").lower() != "none",
            connect_timeout_s=_number(found, "connecttimeout", 0, target) or self._connect_s,
        )

    def _lookup(self, target: Target) -> Mapping[str, Any]:
        from paramiko import SSHException

        try:
            return self._config.lookup(target.host)
        except (SSHException, KeyError, ValueError, OSError) as error:
            raise HostError(
                f"host {target.name}: ~/.ssh/config cannot be followed for {target.host}: {error}"
            ) from None

    def _jump(self, target: Target, spec: str, seen: tuple[str, ...]) -> Settings:
        """Return the last of the jumps that `spec` names, which knows those before it."""
        jump: Settings | None = None
        for hop in spec.split(","):
            user, host, port = _hop(hop.strip())
            if host in seen or len(seen) > _MOST_JUMPS:
                way = " → ".join((*seen, host))
                raise HostError(
                    f"host {target.name}: ProxyJump in ~/.ssh/config goes in a circle: {way}"
                )
            jump = self._settings(Target(host, host, user, port), seen, inherited=jump)
        assert jump is not None
        return jump

    def _known_hosts(self, found: Mapping[str, str]) -> tuple[str, ...]:
        user = found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        system = found.get(
            "globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
        )
        names = [name for name in shlex.split(f"{user} {system}") if name.lower() != "none"]
        return tuple(map(self._path, names))

    def _path(self, name: str) -> str:
        name = name.replace("%d", str(self._home))
        if name == "~" or name.startswith("~/"):
            return f"{self._home}{name[1:]}"
        return os.path.expanduser(name)


def _known_as(alias: str | None, host: str, port: int) -> str:
    """Return a host's name in known_hosts, where another port than 22 is part of it."""
    if alias:
        return alias.lower()
    return host.lower() if port == _PORT else f"[{host.lower()}]:{port}"


def _number(found: Mapping[str, str], key: str, default: int, target: Target) -> int:
    text = str(found.get(key, default))
    if not text.isdigit():
        if text.lower() == "none":
            return default
        raise HostError(
            f"host {target.name}: ~/.ssh/config gives {target.host} the {key} {text!r}; "
            "expected a number"
        )
    return int(text)


def _hop(text: str) -> tuple[str | None, str, int | None]:
    """Return the user, host and port of one jump: `[user@]host[:port]` or an ssh:// URI."""
    text = text.removeprefix("ssh://").rstrip("/")
    user, _, host = text.rpartition("@")
    port = ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    return user or None, host, int(port) if port.isdigit() else None


# files


def _read(*files: str | Path, home: Path) -> "SSHConfig":
    """Return the configuration in `files`, of which the first that says something wins."""
    import paramiko.config
    from paramiko import SSHException

    paramiko.config.invoke = _MatchExec  # type: ignore[attr-defined]
    paramiko.config.getpass = _LocalUser  # type: ignore[attr-defined]
    config = paramiko.config.SSHConfig()
    for file in files:
        try:
            lines = list(_lines(str(file), "", home, 0))
            config.parse(["Match all", *lines])
        except OSError as error:
            raise HostError(f"{error.filename} cannot be read: {error.strerror}") from None
        except (SSHException, ValueError) as error:
            raise HostError(f"{file} cannot be understood: {error}") from None
    return config


class _LocalUser:
    """Says for paramiko who the local user is, also where the machine does not know the user."""

    getuser = staticmethod(user_name)


class _MatchExec(NamedTuple):
    """Runs the commands of `Match exec` for paramiko, in place of a library that reads stdin."""

    ok: bool = False

    @classmethod
    def run(cls, command: str, **_options: object) -> "_MatchExec":
        """Return whether the command succeeds."""
        import subprocess

        done = subprocess.run(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return cls(done.returncode == 0)


def _lines(file: str, condition: str, home: Path, depth: int) -> Iterator[str]:
    """Yield a file's lines with those that it includes.

    condition: the criteria of `Match` under which the file is included; each block in it gets
        them too.
    """
    if not os.path.exists(file):
        return
    with open(file, encoding="utf-8", errors="surrogateescape") as opened:
        text = opened.read()
    header = f"Match {condition}" if condition else "Match all"
    for line in text.splitlines():
        key, value = _key_value(line)
        if key == "include" and depth < _DEEPEST_INCLUDE:
            criteria = header.removeprefix("Match ")
            for included in _included(value, home, system=file.startswith("/etc/")):
                yield header
                yield from _lines(included, "" if criteria == "all" else criteria, home, depth + 1)
            yield header
        elif key in ("host", "match"):
            criteria = value if key == "match" else f"originalhost {_patterns(value)}"
            if condition:
                criteria = condition if criteria == "all" else f"{condition} {criteria}"
            header = f"Match {criteria}"
            yield header
        else:
            yield line


def _key_value(line: str) -> tuple[str, str]:
    stripped = line.strip()
    for position, character in enumerate(stripped):
        if character.isspace() or character == "=":
            return stripped[:position].lower(), stripped[position:].lstrip(" \t=")
    return stripped.lower(), ""


def _patterns(value: str) -> str:
    return shlex.quote(",".join(shlex.split(value)))


def _included(value: str, home: Path, *, system: bool) -> Iterator[str]:
    base = "/etc/ssh" if system else str(home / ".ssh")
    for pattern in shlex.split(value):
        if pattern.startswith("~/"):
            pattern = f"{home}{pattern[1:]}"
        yield from sorted(glob.glob(os.path.join(base, pattern)))
