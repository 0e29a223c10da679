"""Listeners on hosts, which last as long as they are held: in a container, or beside one.

A listener is `listener.py` run by the planned image's own Python, in the network that the tasks
will have. Where that cannot be, the host's `python3` runs it over SSH. Its input is held from here:
when that ends, by a close or by this machine's death, so does the listener, and Docker removes its
container.
"""

import contextlib
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from launcher.connectivity import listener
from launcher.creation import SCHEMA
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.hosts import Machine
from launcher.plan import HOST_NETWORK
from launcher.ssh import Connection

PREFLIGHT_LABEL = "launch.preflight"
IMAGE_PYTHON = "the image's python"
HOST_PYTHON = "the host's python3"
_GONE = 404
_BEING_REMOVED = 409
_READY_S = 8.0
_ABANDONED_S = 600.0
_READ_BYTES = 4096
_HEADER_BYTES = 8
_READY = b"ready\n"
_NO_PROGRAM = ("executable file not found", "no such file or directory")


class Wanted(NamedTuple):
    """What is to listen on one host.

    python: the image's.
    """

    ports: Sequence[int]
    token: str
    image: str
    python: str

    @property
    def argv(self) -> list[str]:
        """The listener's arguments, without the Python that runs it."""
        source = Path(listener.__file__).read_text(encoding="utf-8")
        return ["-ISc", source, self.token, *map(str, self.ports)]


class Listening(NamedTuple):
    """What listens on one host.

    by: which Python; nothing where none does.
    ports: on which it listens.
    mute: those on which it cannot, with the reason.
    why: why it is not the image's Python, or none at all.
    """

    by: str
    ports: frozenset[int] = frozenset()
    mute: Mapping[int, str] = {}
    why: str = ""


@contextlib.contextmanager
def all_listening(
    machines: Mapping[str, Machine],
    connections: Mapping[str, Connection],
    wanted: Mapping[str, Wanted],
) -> Iterator[Mapping[str, Listening]]:
    """Have the hosts of `wanted` listen while this is entered, each in a thread of its own."""
    is_over = threading.Event()
    heard: dict[str, Future[Listening]] = {name: Future() for name in wanted}

    def hold(name: str) -> None:
        try:
            with listening(machines[name], connections[name], wanted[name]) as found:
                heard[name].set_result(found)
                is_over.wait()
        except BaseException as error:
            if heard[name].done():
                raise
            heard[name].set_exception(error)

    with ThreadPoolExecutor(max(1, len(wanted)), thread_name_prefix="listen") as pool:
        try:
            for name in wanted:
                pool.submit(hold, name)
            yield {name: each.result() for name, each in heard.items()}
        finally:
            is_over.set()


@contextlib.contextmanager
def listening(machine: Machine, connection: Connection, wanted: Wanted) -> Iterator[Listening]:
    """Have a host listen on its planned ports for as long as this is entered."""
    ports = frozenset(wanted.ports)
    with contextlib.ExitStack() as stack:
        try:
            mute = stack.enter_context(_in_container(machine.engine, wanted))
            found = Listening(IMAGE_PYTHON, ports - mute.keys(), mute)
        except HostError as no_container:
            try:
                mute = stack.enter_context(_beside(connection, wanted))
                found = Listening(HOST_PYTHON, ports - mute.keys(), mute, str(no_container))
            except HostError as error:
                found = Listening("", why=f"{no_container}, and {error}")
        yield found


@contextlib.contextmanager
def _in_container(engine: Engine, wanted: Wanted) -> Iterator[Mapping[int, str]]:
    """Listen in a container. Raises HostError with a reason that goes into a sentence."""
    _sweep(engine)
    container_id = _created(engine, wanted)
    try:
        with _output(engine, container_id) as read:
            try:
                with engine.errors("cannot start a container"):
                    engine.api.start(container_id)
            except EngineError as error:
                if not any(words in str(error) for words in _NO_PROGRAM):
                    raise
                raise HostError(f"the image has no {wanted.python}") from None
            with engine.errors("cannot run a container"):
                mute = _mute(read)
            yield mute
    finally:
        _remove(engine, container_id)


def _sweep(engine: Engine) -> None:
    """Remove listeners that were never started: whoever made them died just then."""
    filters = {"label": PREFLIGHT_LABEL, "status": "created"}
    with engine.errors("does not list its containers"):
        made = engine.api.containers(all=True, filters=filters)
    for each in made:
        if each["Created"] < time.time() - _ABANDONED_S:
            _remove(engine, each["Id"])


def _created(engine: Engine, wanted: Wanted) -> str:
    body = {
        "Image": wanted.image,
        "Entrypoint": [wanted.python],
        "Cmd": wanted.argv,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdout": True,
        "Labels": {"launch.schema": SCHEMA, PREFLIGHT_LABEL: wanted.token},
        "HostConfig": {
            "NetworkMode": HOST_NETWORK,
            "AutoRemove": True,
            "LogConfig": {"Type": "none"},
        },
    }
    try:
        with engine.errors("cannot create a container"):
            made = engine.api.create_container_from_config(body, f"launch-{wanted.token}")
    except EngineError as error:
        if error.status == _GONE:
            raise HostError("the image is not there yet") from None
        raise
    return str(made["Id"])


@contextlib.contextmanager
def _output(engine: Engine, container_id: str) -> Iterator[Callable[[], bytes]]:
    """Yield what reads a container's output; its input is open as long as this is entered.

    Without asking for an upgrade the engine answers with a plain stream, in which each message has
    a header of eight bytes; both directions end with the connection.
    """
    path = f"{engine.api.base_url}/v{engine.api.api_version}/containers/{container_id}/attach"
    with engine.errors("cannot attach to a container"):
        answer = engine.api.post(
            path, params={"stream": 1, "stdin": 1, "stdout": 1}, stream=True, timeout=_READY_S
        )
        answer.raise_for_status()

    def read() -> bytes:
        size_bytes = int.from_bytes(answer.raw.read(_HEADER_BYTES)[4:], "big")
        return bytes(answer.raw.read(size_bytes)) if size_bytes else b""

    try:
        yield read
    finally:
        answer.close()


def _remove(engine: Engine, container_id: str) -> None:
    """Return once a container is gone; a host that is lost ends its listener by itself."""
    api: Any = engine.api
    with contextlib.suppress(HostError):
        try:
            with engine.errors("cannot remove a container"):
                api.remove_container(container_id, force=True)
        except EngineError as error:
            if error.status != _BEING_REMOVED:
                raise
            with engine.errors("cannot remove a container"):
                api.wait(container_id, condition="removed", timeout=_READY_S)


@contextlib.contextmanager
def _beside(connection: Connection, wanted: Wanted) -> Iterator[Mapping[int, str]]:
    """Listen by a command on the host. Raises HostError with a reason that goes into a sentence."""
    stream = connection.open_command(shlex.join(["python3", *wanted.argv]))
    try:
        stream.settimeout(_READY_S)
        try:
            mute = _mute(lambda: stream.recv(_READ_BYTES))
        except OSError:
            raise HostError("its python3 does not answer") from None
        except HostError:
            raise HostError("the host has no python3") from None
        yield mute
    finally:
        stream.close()


def _mute(read: Callable[[], bytes]) -> Mapping[int, str]:
    """Return the ports that do not listen, once the others do. Raises HostError."""
    said = b""
    while not said.endswith(_READY):
        more = read()
        if not more:
            raise HostError("it ended before it listened")
        said += more
    text = said.removesuffix(_READY).decode(errors="replace")
    lines = (line.partition(" ") for line in text.splitlines())
    return {int(port): what for port, _, what in lines if port.isdecimal() and what != "listens"}


def token() -> str:
    """Return what tells one host's listener from any other server."""
    return f"preflight-{os.urandom(8).hex()}"
