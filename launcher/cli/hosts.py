"""`launch hosts`: which hosts can be logged in to, what they have, and trusting their keys."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from launcher import config
from launcher.at_once import attempts
from launcher.cli.arguments import parser
from launcher.cluster import Backend, Host
from launcher.errors import HostError, InputError, Problem, nearest
from launcher.logins import target
from launcher.table import table

if TYPE_CHECKING:
    from launcher.ssh import Connections
    from launcher.ssh.host_keys import HostKey
    from launcher.ssh.settings import Settings


def main(words: list[str]) -> int:
    """List the hosts with their state, or trust their keys; return the exit code."""
    options = parser("hosts").parse_intermixed_args(words)
    spec = config.read(options.cluster)
    hosts = {name: host for name, host in spec.hosts.items() if not host.is_here}
    unknown = [name for name in options.host if name not in spec.hosts]
    if unknown:
        raise InputError(
            Problem(name, f"no host of {options.cluster}{nearest(name, spec.hosts)}")
            for name in unknown
        )
    chosen = {name: h for name, h in hosts.items() if not options.host or name in options.host}
    if options.action == "trust":
        return _trust(chosen, without_asking=options.yes)
    here = {name: host for name, host in spec.hosts.items() if name not in hosts}
    local = {name: h for name, h in here.items() if not options.host or name in options.host}
    processes = spec.backend is Backend.PROCESS
    return _list(chosen, local, processes=processes, as_json=options.json)


# list


def _list(hosts: dict[str, Host], here: dict[str, Host], *, processes: bool, as_json: bool) -> int:
    """Print each host, what a login to it gave, and what it has; 3 where one cannot be used."""
    from launcher.cli import holdings
    from launcher.cli.prompt import ask_unseen
    from launcher.logins import Logins

    with Logins(hosts, ask_unseen()) as logins:
        states = attempts(hosts, logins.connection)
        problems = {
            name: str(got) if isinstance(got, HostError) else ""
            for name, got in zip(hosts, states, strict=True)
        }
        ready = {name: host for name, host in hosts.items() if not problems[name]}
        if processes:
            found = holdings.of_processes(here)
        else:
            found = holdings.read({**here, **ready}, logins)
    rows = [(name, "127.0.0.1", "this machine") for name in here]
    rows += [(n, h.address, "no login" if problems[n] else "ready") for n, h in hosts.items()]
    if as_json:
        listed = [
            {
                "host": name,
                "address": address,
                "state": state,
                "problem": problems.get(name) or None,
                **found.to_dict(name),
            }
            for name, address, state in rows
        ]
        print(json.dumps({"hosts": listed}, indent=2, ensure_ascii=False))
        return 3 if any(problems.values()) else 0
    print("\n".join(table(("host", "address", "state"), rows)))
    if held := list(found.rows()):
        print("\n" + "\n".join(table(holdings.HEAD, held)))
    failed = [problem for problem in problems.values() if problem]
    if failed:
        raise HostError("\n".join(failed))
    return 0


# trust


def _trust(hosts: dict[str, Host], *, without_asking: bool) -> int:
    """Show each key that is not known yet, and add it where the user says yes.

    1 where the user declined, 3 where a host could not be reached or its key has changed.
    """
    from launcher.cli.prompt import ask_unseen
    from launcher.ssh import Connections

    if not without_asking and not sys.stdin.isatty():
        raise InputError("there is nobody to ask here: compare the fingerprints and give --yes")
    connections = Connections(ask=ask_unseen())
    declined, problems = False, []
    try:
        settings = [connections.settings(target(name, host)) for name, host in hosts.items()]
        for level in _levels(settings):
            shown = attempts(level, lambda one: _shown_key(connections, one))
            for one, answer in zip(level, shown, strict=True):
                try:
                    agreed = _decide(one, answer, without_asking=without_asking)
                except HostError as error:
                    problems.append(str(error))
                else:
                    declined = declined or not agreed
    finally:
        connections.close()
    if problems:
        raise HostError("\n".join(problems))
    return 1 if declined else 0


def _levels(settings: "Iterable[Settings]") -> "Iterator[list[Settings]]":
    """Yield the hosts that are reached directly, then those behind one jump, and so on.

    Jump hosts are among them: they come before what is behind them.
    """
    levels: dict[int, dict[str, Settings]] = {}
    for one in settings:
        chain = [one]
        while (jump := chain[-1].route.jump) is not None:
            chain.append(jump)
        for depth, hop in enumerate(reversed(chain)):
            levels.setdefault(depth, {}).setdefault(f"{hop.known_as} {hop.known_hosts}", hop)
    for depth in sorted(levels):
        yield list(levels[depth].values())


def _shown_key(connections: "Connections", settings: "Settings") -> "HostKey | HostError":
    try:
        return connections.shown_key(settings)
    except HostError as error:
        return error


def _decide(settings: "Settings", answer: "HostKey | HostError", *, without_asking: bool) -> bool:
    """Return whether the host's key is trusted now. Raises HostError where it cannot be."""
    from launcher.ssh import host_keys
    from launcher.ssh.host_keys import Trust

    if isinstance(answer, HostError):
        raise answer
    name, known_as = settings.target.name, settings.known_as
    known = host_keys.entries(settings.known_hosts, known_as)
    trust = host_keys.judge(known, answer)
    shown = f"{name} ({known_as}): {answer.type} {answer.fingerprint}"
    if trust is Trust.KNOWN:
        print(f"{shown}, known")
        return True
    if trust is not Trust.UNKNOWN:
        raise HostError(host_keys.refusal(known, answer, name, known_as))
    print(shown)
    if not without_asking and input("Is this the host's key? [y/N] ").strip().lower() not in (
        "y",
        "yes",
    ):
        return False
    file = settings.known_hosts[0]
    host_keys.add(file, known_as, answer, hashed=settings.hash_known_hosts)
    print(f"added to {file}")
    return True
