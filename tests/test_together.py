"""Tasks that end with their cluster: real processes, each in the place of one task."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from launcher import together
from launcher.address import Address
from launcher.tf_config import TfConfig
from launcher.together import attend
from tests.conftest import DEADLINE_S, Launching

FOREVER = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def environment(launching: Launching, task: str, port: int) -> dict[str, str]:
    cluster = {"chief": [f"127.0.0.1:{port}"], "worker": ["127.0.0.1:2"], "ps": ["127.0.0.1:3"]}
    config = {"cluster": cluster, "task": {"type": task, "index": 0}}
    return {
        **launching.env,
        "TF_CONFIG": json.dumps(config),
        "LAUNCH_CHIEF": f"127.0.0.1:{port}",
        "LAUNCH_OTHERS": "1",
    }


def test_a_server_ends_with_the_chief(launching: Launching) -> None:
    """Once the chief's command has succeeded, a ps that would run for ever is ended: both 0."""
    port = free_port()
    words = ["exec", "--end-together", "--"]
    ps = launching.start(*words, *FOREVER, env=environment(launching, "ps", port))
    chief = launching.start(*words, "true", env=environment(launching, "chief", port))
    assert chief.wait(DEADLINE_S) == 0
    assert ps.wait(DEADLINE_S) == 0


def test_a_chief_that_failed_tells_nobody(launching: Launching) -> None:
    """Its code is its command's, at once, and its servers go on for its next attempt."""
    port = free_port()
    env = environment(launching, "chief", port)
    done = launching.run("exec", "--end-together", "--", "sh", "-c", "exit 5", env=env)
    assert done.code == 5
    assert together._ask(Address("127.0.0.1", port)) is None


@pytest.mark.parametrize("given", ["0.1", "soon", None])
def test_a_chief_that_is_lost(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    """A server whose chief went without a word ends with 1, once its time to come back is over.

    One that has not come yet is waited for: its machine may be pending for hours.
    """
    clock = 0.0
    calls = 0
    monkeypatch.setattr(together, "LOOK_S", 0.01)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def ask(_chief: object) -> bytes | None:
        nonlocal clock, calls
        calls += 1
        clock += 86_400 if calls < 5 else 50
        return b"PRI" if calls == 5 else None

    monkeypatch.setattr(together, "_ask", ask)
    monkeypatch.setattr(together, "monotonic", lambda: clock)
    config = TfConfig.parse(
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    env = {"LAUNCH_CHIEF": "a:1", **({"LAUNCH_CHIEF_GONE_S": given} if given else {})}
    assert attend(FOREVER, env, config) == 1
    assert calls == (6 if given == "0.1" else 8)


def test_a_server_that_ends_by_itself(launching: Launching) -> None:
    """Its code is its command's, a signal's as in a shell."""
    env = environment(launching, "ps", free_port())
    done = launching.run("exec", "--end-together", "--", "sh", "-c", "kill -9 $$", env=env)
    assert done.code == 137


def test_a_worker_that_trains_is_its_command(launching: Launching) -> None:
    """Where tasks train together only the chief stays: a worker becomes its command."""
    env = environment(launching, "worker", free_port())
    env |= {"LAUNCH_STRATEGY": "multi_worker_mirrored"}
    process = launching.start("exec", "--end-together", "--", "sh", "-c", "echo $$", env=env)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert out == f"{process.pid}\n"


def test_sigterm_reaches_the_command(launching: Launching) -> None:
    """What a platform sends to end a task is the command's to answer."""
    script = "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done"
    env = environment(launching, "ps", free_port())
    words = [sys.executable, "-m", "launcher", "exec", "--end-together", "--", "sh", "-c", script]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(DEADLINE_S) == 42


def test_sigterm_while_the_command_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes before the command can be told is told as soon as it can be."""
    wrong: list[int] = []
    kept = [
        (number, signal.signal(number, lambda number, _: wrong.append(number)))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    ]

    class Slow(subprocess.Popen[bytes]):
        """A process that is there before whoever started it knows."""

        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            super().__init__(command, env=env)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    config = TfConfig.parse(
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}'
    )
    try:
        code = attend(["sleep", "3"], {"LAUNCH_CHIEF": "a:1"}, config)
    finally:
        for number, handler in kept:
            signal.signal(number, handler)
    assert (code, wrong) == (128 + signal.SIGTERM, [])
