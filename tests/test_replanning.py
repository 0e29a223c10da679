"""What a run's label tells of its plan, and where its tasks then find other places."""

import pytest

from launcher import config, creation, plan_label, replanning
from launcher.cluster import Host
from launcher.container import Container
from launcher.errors import InputError
from launcher.layout import Job
from launcher.placement import HostFacts, Moves
from launcher.plan import Plan, plan
from launcher.task import CHIEF, TaskId, TaskType

JOB = Job("train", "/home/me/train.py", (), "/home/me")
WORKER, WORKER_1 = TaskId(TaskType.WORKER, 0), TaskId(TaskType.WORKER, 1)
PS = TaskId(TaskType.PS, 0)
LAB = """
image: lab/mnist:v1
hosts: {gpu1: {address: 10.0.0.11, gpus: 2}, gpu2: {address: 10.0.0.12, gpus: 2}}
tasks:
  chief: {host: gpu1, gpus: 1}
  worker: {hosts: [gpu1, gpu2], count: 2, gpus: 1}
  ps: {host: gpu2, port: 2222, env: {A: b}}
checkpoints: /nfs
restarts: {move: true}
secrets: {token: {env: TOKEN}}
"""
HOSTS = {"gpu1": Host("10.0.0.11", 2), "gpu2": Host("10.0.0.12", 2)}


def read_again(text: str = LAB) -> Plan:
    """Return what the label of a run's containers tells of its plan."""
    spec = config.parse(text)
    facts = dict.fromkeys(spec.hosts, HostFacts((20000, 20001, 20002)))
    made = plan(spec, JOB, "r1", facts, run_dir="/srv/runs/r1", python="python3")
    return plan_label.read("r1", plan_label.written(made), "/there/r1")


def places(made: Plan) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    return {str(c.task): (c.host, str(c.address), c.gpus) for c in made.tasks}


FREE = {name: HostFacts((30000, 30001, 30002)) for name in HOSTS}


def moves(*lost: str, staying: tuple[Container, ...] = ()) -> Moves:
    """All tasks start but those that stay."""
    stay = {container.task for container in staying}
    starting = {c.task for c in read_again().tasks} - stay
    return Moves(frozenset(starting), frozenset(lost), staying)


def test_what_a_label_tells() -> None:
    """A label tells whose port is given, who can stand for whom, and the names of secrets."""
    made = read_again()
    assert made.fixed_ports == (PS,)
    assert made.alike == ((CHIEF, WORKER, WORKER_1),)
    assert set(made.secrets) == {"token"}
    assert plan_label.read("r1", plan_label.written(made), "/there/r1") == made
    assert "TOKEN" not in plan_label.written(made)
    later = made._replace(number=3)
    assert plan_label.read("r1", plan_label.written(later), "/there/r1") == later


def test_other_ports() -> None:
    """Tasks stay where they are, with ports that are free now; a port of the file stays."""
    again = replanning.placed_anew(read_again(), HOSTS, FREE, moves())
    assert places(again) == {
        "chief:0": ("gpu1", "10.0.0.11:30000", ("0",)),
        "worker:0": ("gpu1", "10.0.0.11:30001", ("1",)),
        "worker:1": ("gpu2", "10.0.0.12:30000", ("0",)),
        "ps:0": ("gpu2", "10.0.0.12:2222", ()),
    }
    config = again.tf_config(WORKER_1)
    assert config and config.to_json() == again.env(again.tasks[2])["TF_CONFIG"]
    assert "10.0.0.12:30000" in config.to_json()


def test_without_a_host() -> None:
    """What stood on a lost host moves to those that are left, with a port of its own there."""
    hosts = {**HOSTS, "gpu3": Host("10.0.0.13", 4)}
    facts = {**FREE, "gpu3": HostFacts((30000, 30001))}
    again = replanning.placed_anew(read_again(), hosts, facts, moves("gpu2"))
    assert places(again)["worker:1"] == ("gpu3", "10.0.0.13:30000", ("0",))
    assert places(again)["ps:0"] == ("gpu3", "10.0.0.13:30001", ())
    assert places(again)["chief:0"][0] == "gpu1"
    assert again.fixed_ports == ()


def test_who_lives_stays() -> None:
    """What starts elsewhere gets no GPU and no port of those that go on where they are."""
    made = read_again()
    staying = (made.tasks[1]._replace(gpus=("0",)),)  # worker:0, on gpu1
    again = replanning.placed_anew(made, HOSTS, FREE, moves(staying=staying))
    assert places(again) == {
        "chief:0": ("gpu1", "10.0.0.11:30000", ("1",)),
        "worker:0": ("gpu1", str(made.tasks[1].address), ("0",)),
        "worker:1": ("gpu2", "10.0.0.12:30000", ("0",)),
        "ps:0": ("gpu2", "10.0.0.12:2222", ()),
    }
    assert again.fixed_ports == (PS,)


def test_no_room() -> None:
    """Where the tasks of a lost host find no GPUs, it is said who lacks them."""
    with pytest.raises(InputError, match="worker:1 wants 1 of a host's GPUs; none has so many"):
        replanning.placed_anew(read_again(), HOSTS, FREE, moves("gpu2"))


def test_on_a_bridge_every_task_keeps_its_address() -> None:
    """On one engine each container has a network address of its own: no port is ever taken."""
    made = read_again("image: x\ntasks: {chief: {}, worker: {}}\n")
    assert replanning.placed_anew(made, {}, {}, moves()) is made


def test_a_container_made_after_that_of_a_task_that_is_alike() -> None:
    """It has all that one had, but for its place: name, address, GPUs and its own volume."""
    made = replanning.placed_anew(read_again(), HOSTS, FREE, moves())
    old, shared = ({"Source": s, "Target": "/x"} for s in ("launch-r1-worker-0-output", "/nfs"))
    described = {
        "Image": "sha256:1",
        "Config": {
            "Entrypoint": ["python"], "Cmd": ["train.py"], "User": "", "WorkingDir": "/data",
            "Env": ["A=b", "TF_CONFIG={old}"], "Labels": {"of": "the image"},
        },
        "HostConfig": {"Mounts": [old, shared], "DeviceRequests": [{"DeviceIDs": ["7"]}]},
    }  # fmt: skip
    container = made.tasks[2]
    body = creation.request_again(described, WORKER, made, container, 4)
    host, labels = body["HostConfig"], body["Labels"]
    assert isinstance(host, dict) and isinstance(labels, dict)
    assert body["Env"] == ["A=b", f"TF_CONFIG={made.env(container)['TF_CONFIG']}"]
    assert host["DeviceRequests"] == [{"DeviceIDs": ["0"]}]
    assert [mount["Source"] for mount in host["Mounts"]] == ["launch-r1-worker-1-output", "/nfs"]
    assert (labels["of"], labels["launch.task"], labels["launch.attempt"]) == (
        "the image", "worker:1", "4",
    )  # fmt: skip
    assert plan_label.read("r1", labels["launch.plan"], made.run_dir) == made


def test_a_chief_made_after_a_worker_sees_the_checkpoints() -> None:
    """Where no folder is shared it has its host's volume for them; a worker after it has not."""
    spec = config.parse(LAB.replace("checkpoints: /nfs\n", ""))
    facts = dict.fromkeys(spec.hosts, HostFacts((20000, 20001, 20002)))
    first = plan(spec, JOB, "r1", facts, run_dir="/srv/runs/r1", python="python3")
    made = plan_label.read("r1", plan_label.written(first), "/there/r1")
    assert made.alike == ((CHIEF, WORKER, WORKER_1),)

    bodies = [creation.request(first, c, 1, "sha256:1", {}) for c in first.tasks]
    for of, to in ((1, 0), (0, 1), (0, 0), (1, 2)):
        config_of = {key: bodies[of][key] for key in ("Env", "Labels", "Entrypoint", "Cmd")}
        earlier = {**bodies[of], "Config": config_of}
        again = creation.request_again(earlier | {"Image": "sha256:1"}, first.tasks[of].task, made,
                                       made.tasks[to], 2)  # fmt: skip
        assert sorted(again["Env"]) == sorted(bodies[to]["Env"])  # type: ignore[call-overload]
        assert mounts(again) == mounts(bodies[to])


def mounts(body: dict[str, object]) -> list[str]:
    host = body["HostConfig"]
    assert isinstance(host, dict)
    return sorted(map(str, host["Mounts"]))
