"""What the Docker Engine is asked to create, as a value."""

import json

from launcher import config, creation
from launcher.container import MASK
from launcher.layout import Job
from launcher.placement import HostFacts
from launcher.plan import Plan, plan, plan_single

LAB = """
image: lab/mnist:v1
hosts:
  gpu1: {address: 10.0.0.11, gpus: [3, GPU-aa], nccl_interface: eth1}
  gpu2: {address: 10.0.0.12}
tasks:
  chief: {host: gpu1, gpus: 2, memory: 2g, cpus: 1.5}
  worker: {host: gpu2}
data: {sync: /home/me/digits, at: /data/data}
volumes: [{path: /nfs/scratch, at: /scratch}]
env: {API_KEY: hush}
secrets: {wandb: {env: WANDB}}
shm_size: 2g
memory: 8g
ulimits: {memlock: -1, nofile: "1024:4096"}
nccl_interface: eth0
"""
JOB = Job("train", "/home/me/train.py", ("--epochs", "3"), "/home/me")
VOLUMES = {"/home/me/digits": "launch-data-abc"}


def planned(text: str = LAB) -> Plan:
    spec = config.parse(text)
    facts = dict.fromkeys(spec.hosts, HostFacts((20000, 20001)))
    return plan(spec, JOB, "r1", facts, run_dir="/srv/runs/r1", python="python3")


def requests(made: Plan) -> list[dict[str, object]]:
    return [creation.request(made, c, 1, "sha256:1", VOLUMES, True) for c in made.tasks]


def test_a_task_with_gpus() -> None:
    """GPUs are given as device ids, and every limit of the file reaches the engine."""
    body = requests(planned())[0]
    host = body["HostConfig"]
    assert isinstance(host, dict)
    gpus = {"DeviceIDs": ["3", "GPU-aa"], "Capabilities": [["gpu"]]}
    assert host["DeviceRequests"] == [gpus]
    assert (host["ShmSize"], host["Memory"], host["MemorySwap"]) == (2 << 30, 2 << 30, 2 << 30)
    assert host["NanoCpus"] == 1_500_000_000
    assert host["Ulimits"] == [
        {"Name": "memlock", "Soft": -1, "Hard": -1},
        {"Name": "nofile", "Soft": 1024, "Hard": 4096},
    ]
    env = dict(entry.partition("=")[::2] for entry in body["Env"])  # type: ignore[attr-defined]
    assert "CUDA_VISIBLE_DEVICES" not in env  # it sees just its own, under numbers of their own
    assert env["NCCL_SOCKET_IFNAME"] == "eth1"


def test_a_task_without_gpus_sees_none() -> None:
    """No device request, and nothing that an image or a default runtime could make of it."""
    body = requests(planned())[1]
    host = body["HostConfig"]
    assert isinstance(host, dict) and "DeviceRequests" not in host
    assert host["Memory"] == 8 << 30
    env = dict(entry.partition("=")[::2] for entry in body["Env"])  # type: ignore[attr-defined]
    assert (env["CUDA_VISIBLE_DEVICES"], env["NVIDIA_VISIBLE_DEVICES"]) == ("", "void")
    assert env["NCCL_SOCKET_IFNAME"] == "eth0"


def test_what_runs() -> None:
    """The plan's argv is all that runs, under init, and Docker itself restarts nothing."""
    body = requests(planned())[0]
    assert body["Entrypoint"] == ["python"]
    assert body["Cmd"] == ["/data/train.py", "--epochs", "3"]
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert host["Init"] is True
    assert not {"RestartPolicy", "AutoRemove", "Privileged"} & set(host)


def test_mounts() -> None:
    """Synced data comes from its volume, results go to the task's own one."""
    host = requests(planned())[0]["HostConfig"]
    assert isinstance(host, dict)
    mounts = {mount["Target"]: (mount["Type"], mount["Source"]) for mount in host["Mounts"]}
    assert mounts == {
        "/scratch": ("bind", "/nfs/scratch"),
        "/data/data": ("volume", "launch-data-abc"),
        "/data/checkpoints": ("volume", "launch-r1-checkpoints"),
        "/data/output": ("volume", "launch-r1-chief-0-output"),
    }
    labels = [m["VolumeOptions"]["Labels"] for m in host["Mounts"] if m["Type"] == "volume"]
    assert labels == [{}, creation.run_labels("r1"), creation.run_labels("r1")]


def test_labels_tell_nothing_secret() -> None:
    """Labels hold no env value, no path of the launching machine, and of secrets names alone."""
    for body in requests(planned()):
        text = json.dumps(body["Labels"])
        assert not any(word in text for word in ("hush", "WANDB", "/home/me", "/srv"))
    assert "hush" not in json.dumps(planned().to_dict())
    assert MASK in json.dumps(planned().to_dict())


def test_one_engine_has_a_network_of_its_own() -> None:
    """On one machine every task has a name of its own, and all may have the same port."""
    made = planned("image: i\ntasks: {chief: {}, worker: {count: 2}}")
    assert made.network == "launch-r1"
    assert [str(c.address) for c in made.tasks] == [
        "chief-0:2222",
        "worker-0:2222",
        "worker-1:2222",
    ]
    body = requests(made)[2]
    assert body["Hostname"] == "worker-1"
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"launch-r1": {"Aliases": ["worker-1"]}}}
    assert creation.PORT_LABEL not in dict(body["Labels"])  # type: ignore[call-overload]
    assert "LAUNCH_HOST_TASKS=3" in body["Env"]  # type: ignore[operator]


def test_a_container_does_not_see_its_launcher() -> None:
    """What serves in a container watches its chief itself: nobody else would end it."""
    env = [str(body["Env"]) for body in requests(planned())]
    assert not any("LAUNCH_SUPERVISED" in each for each in env)


def test_a_single_task_in_a_container() -> None:
    """It gets one GPU where there is one, and no TF_CONFIG."""
    made = plan_single(
        JOB, "r1", ("0", "1"), run_dir="/srv/r1", python="python3", host="localhost", image="i"
    )
    body = creation.request(made, made.tasks[0], 1, "sha256:1", {})
    assert isinstance(body["HostConfig"], dict)
    assert body["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["0"]
    assert not any(entry.startswith("TF_CONFIG") for entry in body["Env"])  # type: ignore[attr-defined]
