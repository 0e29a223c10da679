"""A fake of trainers/mnist_dist.py: the roles of both strategies without TensorFlow or learning.

It opens its port and waits for its peers, makes steps in lock-step with them over sockets,
checkpoints its step, prints markers, and answers signals and lost peers as the training loop does:
so that a run with a fault takes seconds. The launcher cannot tell the two apart.

Every line has a number of its own; `lines-ID` in the output folder holds how many were printed.
For tests: the task named by $CHAOS_HOLD keeps its port closed until SIGUSR2, in its first attempt
alone; after that SIGUSR2 has any task exit with 1, and SIGHUP with 0 ("too early").
"""

import argparse
import json
import os
import select
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

SAVED = 42
EVERY = 5  # steps between two checkpoints
PAYLOAD = "w" * 65536  # what a checkpoint weighs
LOST = "error: another task of the cluster was lost"


class Lost(Exception):
    """A peer is gone."""


class Lines:
    """Prints numbered lines, each in one write; a file tells how many were printed."""

    def __init__(self, output: Path) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._id = uuid.uuid4().hex[:8]
        self._count = 0
        self._file = os.open(output / f"lines-{self._id}", os.O_CREAT | os.O_WRONLY)
        self.say(f"log {self._id}")

    def say(self, text: str) -> None:
        self._write(f"{self._count + 1} {text}")

    def mark(self, kind: str, **fields: object) -> None:
        self._write("@launch " + json.dumps({"n": self._count + 1, "kind": kind, **fields}))

    def _write(self, line: str) -> None:
        os.write(1, f"{line}\n".encode())
        self._count += 1
        try:
            os.pwrite(self._file, f"{self._count:9d}".encode(), 0)
        except OSError:  # its disk is full: the log alone tells
            return


class Signals:
    """What was asked of this task from outside."""

    def __init__(self) -> None:
        self.stop = False
        self.released = False
        self.is_held = False
        self.is_deaf = True  # until the cluster has formed
        signal.signal(signal.SIGUSR2, self._poke)
        signal.signal(signal.SIGHUP, lambda *_: leave(0))

    def catch_stop(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stop = self.stop or not self.is_deaf

    def _poke(self, *_: object) -> None:
        if not self.is_held:
            leave(1)
        self.released = True


class Task:
    """One task of the cluster, with what all roles share."""

    def __init__(self, options: argparse.Namespace) -> None:
        config = json.loads(os.environ["TF_CONFIG"])
        self.cluster: dict[str, list[str]] = config["cluster"]
        self.type: str = config["task"]["type"]
        self.index: int = config["task"]["index"]
        self.name = f"{self.type}:{self.index}"
        self.options = options
        self.output = Path(options.output_dir)
        self.lines = Lines(self.output)
        self.signals = Signals()
        self.checkpoints = Path(os.environ["LAUNCH_CHECKPOINT_DIR"])

    @property
    def peers(self) -> dict[str, tuple[str, int]]:
        found = {}
        for kind, addresses in self.cluster.items():
            for index, address in enumerate(addresses):
                host, _, port = address.rpartition(":")
                found[f"{kind}:{index}"] = (host.strip("[]"), int(port))
        return found

    @property
    def chief(self) -> str:
        return "chief:0" if "chief" in self.cluster else "worker:0"

    def hold(self) -> None:
        """Wait for SIGUSR2 where the test wants it, in the first attempt alone."""
        flag = self.output / "held"
        if os.environ.get("CHAOS_HOLD") != self.name or flag.exists():
            return
        flag.touch()
        self.signals.is_held = True
        self.lines.say("held")
        while not self.signals.released:
            time.sleep(0.02)
        self.signals.is_held = False

    def listen(self) -> socket.socket:
        port = self.peers[self.name][1]
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("0.0.0.0", port))
        except OSError as error:
            self.lines.say(f"error: Could not start gRPC server: {error}")
            leave(1)
        server.listen(64)
        return server

    def dial(self, peer: str) -> socket.socket:
        """Return a connection to a peer, once its port is open."""
        give_up_at = time.monotonic() + self.options.start_timeout
        while (found := self.try_dial(peer)) is None:
            if time.monotonic() > give_up_at:
                limit_s = self.options.start_timeout
                self.lines.say(f"error: the cluster did not form in {limit_s:g} s")
                leave(1)
            time.sleep(0.05)
        return found

    def await_ports(self) -> None:
        """Wait until every peer's port was seen open; nobody is connected to anybody yet."""
        for peer in self.peers:
            if peer != self.name:
                self.dial(peer).close()

    def try_dial(self, peer: str) -> socket.socket | None:
        try:
            found = socket.create_connection(self.peers[peer], 2.0)
        except OSError:
            return None
        found.settimeout(None)
        return found

    def save(self, step: int) -> None:
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        path = self.checkpoints / "step"
        temporary = self.checkpoints / ".step"
        temporary.write_text(f"{step}\n{PAYLOAD}\n")
        temporary.replace(path)
        self.lines.mark("checkpoint", step=step, path=str(path))

    def restored(self) -> int:
        try:
            return int((self.checkpoints / "step").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def tell(self, step: int) -> None:
        self.lines.mark("step", step=step, total_steps=self.options.steps)


def leave(code: int) -> NoReturn:
    os._exit(code)


def told(connection: socket.socket) -> dict[str, int]:
    """Return the next message of a peer. Raises Lost."""
    data = b""
    try:
        while not data.endswith(b"\n"):
            got = connection.recv(4096)
            if not got:
                raise Lost("connection closed")
            data += got
    except OSError as error:
        raise Lost(str(error)) from None
    message: dict[str, int] = json.loads(data)
    return message


def tell(connection: socket.socket, **fields: int) -> None:
    try:
        connection.sendall(json.dumps(fields).encode() + b"\n")
    except OSError as error:
        raise Lost(str(error)) from None


# MultiWorkerMirroredStrategy


def mirrored(task: Task) -> None:
    """Train in lock-step: the chief stands for the collective."""
    task.signals.catch_stop()
    task.hold()
    server = task.listen()
    task.lines.say("waiting")
    task.await_ports()
    if task.name == task.chief:
        lead(task, server)
    else:
        follow(task)


def lead(task: Task, server: socket.socket) -> None:
    members: dict[int, socket.socket] = {}
    while len(members) < len(task.peers) - 1:
        connection, _ = server.accept()
        try:
            members[told(connection)["index"]] = connection
        except Lost:  # somebody looked whether the port is open
            connection.close()
    step = task.restored()
    task.lines.say(f"from {step}")
    for connection in members.values():
        tell(connection, step=step)
    begin(task)
    while step < task.options.steps:
        time.sleep(task.options.step_s)
        asked = [told(connection)["stop"] for connection in members.values()]
        stop = any(asked) or task.signals.stop
        step += 1
        for connection in members.values():
            tell(connection, step=step, stop=stop)
        after(task, step, stop)
    leave(0)


def follow(task: Task) -> None:
    chief = task.dial(task.chief)
    tell(chief, index=task.index)
    step = told(chief)["step"]
    begin(task)
    while step < task.options.steps:
        time.sleep(task.options.step_s)
        tell(chief, step=step, stop=task.signals.stop)
        answer = told(chief)
        step = answer["step"]
        task.lines.say(f"did {step}")
        if answer["stop"]:
            leave(SAVED)
    leave(0)


def begin(task: Task) -> None:
    task.signals.is_deaf = False
    task.lines.mark("ready", role="train")


def after(task: Task, step: int, stop: bool) -> None:
    """Tell of a step, save where it is time, and stop where that was asked."""
    task.tell(step)
    if stop or step % EVERY == 0 or step == task.options.steps:
        task.save(step)
    if stop:
        task.lines.say(f"stopped at {step}")
        leave(SAVED)


# ParameterServerStrategy


def serve(task: Task) -> None:
    """Serve any chief, one after the other, until one says that the run is complete."""
    task.hold()
    server = task.listen()
    task.lines.say("waiting")
    task.lines.mark("ready", role="serve")
    readers = [server]
    while True:
        for ready in select.select(readers, [], [])[0]:
            if ready is server:
                readers.append(server.accept()[0])
                continue
            try:
                answer(task, ready)
            except Lost:
                readers.remove(ready)
                ready.close()


def answer(task: Task, chief: socket.socket) -> None:
    message = told(chief)
    if message.get("complete"):
        task.lines.say("the chief announced completion")
        leave(0)
    if task.type == "worker":
        time.sleep(task.options.step_s)
        task.lines.say(f"did {message['step']}")
    tell(chief, step=message["step"])


def coordinate(task: Task) -> None:
    """Give each step to one worker, in turn; go on without one that is lost."""
    task.signals.catch_stop()
    task.hold()
    _server = task.listen()  # nobody asks it anything: it is there to be seen
    task.lines.say("waiting")
    servers = {peer: task.dial(peer) for peer in task.peers if peer != task.name}
    task.lines.say(f"from {task.restored()}")
    step = task.restored()
    begin(task)
    workers = turns(task, servers)
    while step < task.options.steps:
        ask_servers(servers, step + 1)
        if not work(servers, next(workers), step + 1):
            continue
        step += 1
        after(task, step, task.signals.stop)
    for connection in servers.values():
        try:
            tell(connection, complete=1)
        except Lost:
            continue
    leave(0)


def ask_servers(servers: dict[str, socket.socket], step: int) -> None:
    """Have every ps hold its variables. Raises Lost: they went with one that is gone."""
    for peer, connection in servers.items():
        if peer.startswith("ps"):
            tell(connection, step=step)
            told(connection)


def turns(task: Task, servers: dict[str, socket.socket]) -> Iterator[str]:
    """Yield workers in turn; those that were lost are looked for again."""
    names = [peer for peer in task.peers if peer.startswith("worker")]
    while True:
        for name in names:
            if name not in servers and (found := task.try_dial(name)):
                servers[name] = found
            if name in servers:
                yield name
        if not any(name in servers for name in names):
            time.sleep(0.1)


def work(servers: dict[str, socket.socket], worker: str, step: int) -> bool:
    """Whether a worker has made a step; one that is lost is left out."""
    try:
        tell(servers[worker], step=step)
        told(servers[worker])
    except Lost:
        servers.pop(worker).close()
        return False
    return True


# beside both


def evaluate(task: Task) -> None:
    """Evaluate each checkpoint, and end after that of the last step."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    task.hold()
    task.lines.say("waiting")
    done = 0
    while done < task.options.steps:
        step = task.restored()
        if step > done:
            done = step
            task.lines.say(f"evaluated {done}")
        elif asked:
            break
        time.sleep(0.05)
    leave(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--step_s", type=float, default=0.05)
    parser.add_argument("--start_timeout", type=float, default=300)
    task = Task(parser.parse_known_args()[0])
    is_mirrored = os.environ["LAUNCH_STRATEGY"] == "multi_worker_mirrored"
    roles = {"evaluator": evaluate}
    if is_mirrored:
        roles |= dict.fromkeys(("chief", "worker"), mirrored)
    else:
        roles |= {"chief": coordinate, "worker": serve, "ps": serve}
    try:
        roles[task.type](task)
    except Lost as error:
        task.lines.say(f"{LOST}: {error}")
        leave(1)
    except OSError as error:
        task.lines.say(f"OSError: {error}")
        leave(1)


if __name__ == "__main__":
    main()
