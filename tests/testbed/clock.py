"""Another wall clock for a host, as far as it can be had: see `clock_relay` for why it is a fake.

Who logs in by SSH sees it in `date` (a fake in /usr/local/bin), who asks the host's Docker in every
time that it tells. Containers, and files' times, have the one clock of the machine.
"""

from pathlib import Path

from tests.testbed.commands import until
from tests.testbed.machine import Machine

_RELAY = Path(__file__).with_name("clock_relay.py")
_DATE = "/usr/local/bin/date"
_SOCKET, _REAL = "/run/docker.sock", "/run/docker.real.sock"
_PID = "/run/clock_relay.pid"


def skew(machine: Machine, seconds: int) -> None:
    """Have the host's clock be ahead of this machine's by whole seconds, or behind (negative)."""
    mend(machine)
    fake = f'#!/bin/sh\nexec /usr/bin/date -d "{seconds:+d} seconds" "$@"\n'
    machine.exec("sh", "-c", f"cat >{_DATE} && chmod 755 {_DATE}", stdin=fake)
    machine.exec("sh", "-c", "cat >/run/clock_relay.py", stdin=_RELAY.read_text())
    machine.exec("mv", _SOCKET, _REAL)
    line = f"echo $$ >{_PID}; exec /usr/bin/python3 /run/clock_relay.py {_SOCKET} {_REAL} {seconds}"
    machine.daemon(["sh", "-c", line], "/run/clock_relay.log")
    until(lambda: _exists(machine, _SOCKET), f"another clock for {machine.name}")


def mend(machine: Machine) -> None:
    """Undo `skew`."""
    line = (
        f"rm -f {_DATE}; [ -e {_REAL} ] || exit 0; kill $(cat {_PID}); mv -f {_REAL} {_SOCKET}; "
        f"rm -f {_PID}"
    )
    machine.exec("sh", "-c", line, check=False)


def _exists(machine: Machine, path: str) -> bool:
    test = f"[ -S {path} ] && docker -H unix://{path} version >/dev/null 2>&1"
    return machine.exec("sh", "-c", test, check=False).returncode == 0
