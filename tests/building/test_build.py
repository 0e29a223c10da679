"""Images built on a real engine."""

import contextlib
import json
import os
import pty
import re
import signal
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from launcher.building import repository, request
from launcher.building.build import BuildFailed, Built, build
from launcher.building.events import Cached, Event, Line, Step
from launcher.building.inspection import inspected
from launcher.building.push import push
from launcher.engine import Engine
from launcher.errors import InputError
from tests.building.conftest import Registry, again
from tests.building.places import BUSYBOX
from tests.conftest import DEADLINE_S, Launching, until

pytestmark = pytest.mark.testbed
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def made(
    engine: Engine, folder: Path, name: str, *build_args: str, events: list[Event] | None = None
) -> Built:
    """Return the image of a folder's Dockerfile; its steps have no network."""
    asked = request.read(str(folder), None, name, build_args, {})._replace(network="none")
    return build(engine, asked, NOW, (events if events is not None else []).append)


def facts(engine: Engine, image: str) -> Mapping[str, Any]:
    found = inspected(engine, image)
    assert found is not None
    return found


def test_two_tags_and_labels(engine: Engine, folder: Path, name: str) -> None:
    """A build gives a tag for good and latest, and labels that say what it is made of."""
    built = made(engine, folder, name)
    assert built.tags == (f"{name}:20260203_040506", f"{name}:latest")
    for tag in built.tags:
        assert facts(engine, tag)["Id"] == built.id
    prefix = "org.opencontainers.image."
    assert built.labels == {
        f"{prefix}title": name.partition("/")[2],
        f"{prefix}created": "2026-02-03T04:05:06Z",
        f"{prefix}version": "20260203_040506",
        f"{prefix}base.name": BUSYBOX,
        f"{prefix}base.digest": facts(engine, BUSYBOX)["Id"],
        "launch.build-args": "{}",
    }
    assert facts(engine, built.id)["Config"]["Labels"] == built.labels
    assert built.size_bytes == facts(engine, built.id)["Size"]


def test_a_tag_for_good_stays(engine: Engine, folder: Path, name: str) -> None:
    """A second build within the same second takes the next one; only latest moves."""
    first = made(engine, folder, name)
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo other >/made\n")
    second = made(engine, folder, name)
    assert second.tags[0] == f"{name}:20260203_040507"
    assert facts(engine, first.tags[0])["Id"] == first.id
    assert facts(engine, f"{name}:latest")["Id"] == second.id


def test_layers_stay_where_nothing_changed(engine: Engine, folder: Path, name: str) -> None:
    """Labels are no layers, and a step that did not change is not done again."""
    first = made(engine, folder, name)
    events: list[Event] = []
    second = made(engine, folder, name, events=events)
    assert Cached() in events
    layers = [facts(engine, built.id)["RootFS"]["Layers"] for built in (first, second)]
    assert layers[0] == layers[1]


def test_what_a_failed_step_printed(engine: Engine, folder: Path, name: str) -> None:
    """A failed build names its step and keeps all that the step printed; it tags nothing."""
    steps = "RUN seq 3\nRUN seq 500; echo no good >&2; exit 7\n"
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\n{steps}")
    with pytest.raises(BuildFailed) as caught:
        made(engine, folder, name)
    assert caught.value.step is not None
    assert caught.value.step.number == 3
    assert sorted(caught.value.output) == sorted([*map(str, range(1, 501)), "no good"])
    assert caught.value.reason == "it ended with 7"
    assert inspected(engine, f"{name}:latest") is None


def test_events(engine: Engine, folder: Path, name: str) -> None:
    """Each step is told when it begins, then what it prints."""
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo one; echo two\n")
    events: list[Event] = []
    made(engine, folder, name, events=events)
    first, second, *rest = events
    assert isinstance(first, Step) and first.instruction == f"FROM {BUSYBOX}"
    assert isinstance(second, Step) and second.number == 2
    assert rest[:2] == [Line("one"), Line("two")]


def test_secret_build_args_are_masked(engine: Engine, folder: Path, name: str) -> None:
    """A build argument reaches its steps; in the labels a secret one is masked."""
    text = f"FROM {BUSYBOX}\nARG A\nARG A_TOKEN\nRUN echo $A $A_TOKEN\n"
    (folder / "Dockerfile").write_text(text)
    events: list[Event] = []
    built = made(engine, folder, name, "A=1", "A_TOKEN=s3cret", events=events)
    assert Line("1 s3cret") in events
    assert json.loads(built.labels["launch.build-args"]) == {"A": "1", "A_TOKEN": "********"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"FROM {BUSYBOX}\nFRM x\n", r"Dockerfile: .*unknown instruction: FRM$"),
        (f"FROM {BUSYBOX}\nRUN <<E\ntrue\nE\n", r"docker buildx build"),
        ("FROM a..b\n", r"Dockerfile:1 FROM a\.\.b: .*invalid reference"),
    ],
)
def test_what_is_no_dockerfile(
    engine: Engine, folder: Path, name: str, text: str, expected: str
) -> None:
    """What Docker cannot read is the Dockerfile's fault, by its name."""
    (folder / "Dockerfile").write_text(text)
    with pytest.raises(InputError, match=expected):
        made(engine, folder, name)


def test_an_unknown_base(engine: Engine, folder: Path, name: str, registry: Registry) -> None:
    """A base image that its registry does not have is named, with the registry's reason."""
    registry.log_in()
    (folder / "Dockerfile").write_text(f"FROM {registry.address}/nothing:1\n")
    with pytest.raises(InputError, match=r"Dockerfile:1 FROM .*/nothing:1: .*manifest unknown"):
        made(again(engine), folder, name)


def test_a_base_from_a_registry(
    engine: Engine, folder: Path, name: str, registry: Registry
) -> None:
    """A base that is not here is pulled with the user's login; its digest is the registry's."""
    registry.log_in()
    base = f"{registry.address}/base:1"
    engine.api.tag(BUSYBOX, f"{registry.address}/base", "1")
    digest = push(again(engine), repository.parse(base), lambda _: None).digest
    engine.api.remove_image(base)
    (folder / "Dockerfile").write_text(f"FROM {base}\n")
    events: list[Event] = []
    try:
        built = made(again(engine), folder, name, events=events)
    finally:
        engine.api.remove_image(base)
    assert events[0] == Line(f"pulling {base}")
    assert built.labels["org.opencontainers.image.base.digest"] == digest


def launch_build(launching: Launching, engine: Engine, *words: str) -> list[str]:
    """Return the words of a build on the test's engine."""
    launching.env["DOCKER_HOST"] = f"unix://{engine.path}"
    return ["build", "--network", "none", *words]


def test_command(launching: Launching, engine: Engine, folder: Path, name: str) -> None:
    """`launch build` prints the steps and, last, both tags; --json leaves the result alone."""
    words = launch_build(launching, engine, "-t", name, str(folder))
    done = launching.run(*words)
    assert (done.code, done.err) == (0, "")
    *steps, stamped, latest = done.out.splitlines()
    assert steps[0].startswith("step 1/")
    assert re.fullmatch(rf"{name}:\d{{8}}_\d{{6}}", stamped)
    assert latest == f"{name}:latest"
    value = json.loads(launching.run(*words, "--json").out)
    assert set(value) == {"image", "tags", "id", "size_bytes", "labels"}
    assert value["tags"] == [value["image"], latest]


def test_command_that_fails(launching: Launching, engine: Engine, folder: Path, name: str) -> None:
    """A step that fails makes the exit code 1; its output and its exit code are said."""
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo no good; exit 3\n")
    done = launching.run(*launch_build(launching, engine, "-t", name, str(folder)))
    assert done.code == 1
    assert "  no good" in done.out.splitlines()
    assert done.err.startswith("launch: step 2/")
    assert done.err.endswith("failed: it ended with 3\n")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(
    launching: Launching, engine: Engine, folder: Path, name: str, signum: int, code: int
) -> None:
    """^C ends the build on the engine too, and leaves neither a tag nor a temporary file."""
    seconds = str(100_000 + uuid.uuid4().int % 100_000)  # by which the step's process is known
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo begun; sleep {seconds}\n")
    temporary = folder.parent / "temporary"
    temporary.mkdir()
    launching.env["TMPDIR"] = str(temporary)
    process = launching.start(*launch_build(launching, engine, "-t", name, str(folder)))
    assert process.stdout is not None
    while "begun" not in process.stdout.readline():
        assert process.poll() is None
    until(lambda: _runs(seconds), "the step to run")
    process.send_signal(signum)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (
        code, "launch: the build was stopped; nothing was tagged\n",
    )  # fmt: skip
    until(lambda: not _runs(seconds), "the step to be ended")
    assert inspected(engine, f"{name}:latest") is None
    assert list(temporary.iterdir()) == []


def _runs(argument: str) -> bool:
    """Whether a process with this argument runs on this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if argument.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def test_on_a_terminal(launching: Launching, engine: Engine, folder: Path, name: str) -> None:
    """On a terminal a failed step leaves its whole output, and steps that are done one line."""
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN seq 3\nRUN seq 7000 7003; exit 3\n")
    out = _on_terminal(launching, launch_build(launching, engine, "-t", name, str(folder)))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out).replace("\r", "\n")
    assert re.search(r"✓ 2/\d+ RUN seq 3  \d+\.\d s", text)
    assert "7000\n\n7001\n\n7002\n\n7003\n" in text
    assert "failed: it ended with 3" in text


def _on_terminal(launching: Launching, words: list[str]) -> str:
    """Return what a command shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        launching.env |= {"TERM": "xterm", "COLUMNS": "100"}
        process = launching.start(*words, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = screen.read(4096)
            except OSError:  # so a terminal says that nobody writes to it any more
                break
            if not part:
                break
            shown += part
    assert process.wait(DEADLINE_S) == 1
    return shown.decode()


def test_no_docker(launching: Launching, folder: Path) -> None:
    """A machine without Docker is said to be one, with the remedy."""
    launching.env["DOCKER_HOST"] = f"unix://{folder}/nothing.sock"
    done = launching.run("build", str(folder))
    assert done.code == 3
    assert "install Docker" in done.err
    assert "Traceback" not in done.err
