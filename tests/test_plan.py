"""What launcher.plan promises: the whole run decided from values alone, the same way every time."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import config
from launcher.cluster import Backend, ClusterSpec, Host, Task
from launcher.container import MASK, Limits, Mount
from launcher.errors import InputError
from launcher.layout import Job
from launcher.placement import HostFacts
from launcher.plan import Plan, plan, plan_single
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType

ROOT = Path(__file__).parent.parent
RUN = "/srv/runs/r1"
TRAINER = Job(
    "mnist_dist", "/code/trainers/mnist_dist.py", ("--epochs", "3"), "/home/me",
    platform_args=True, data_dir="/code/trainers/data",
)  # fmt: skip
COMMAND = Job("echo", None, ("echo", "a  b", "'c'"), "/home/me")
HERE = {"localhost": HostFacts(tuple(range(20000, 20010)), ("0", "1"))}
LAB = """
name: lab
image: registry.lab/mnist_dist:v1
hosts:
  gpu1: {address: 10.0.0.11, gpus: 4, ssh: {user: ml}}
  gpu2: {address: 10.0.0.12, gpus: 4, ssh: {user: ml}}
tasks:
  chief:  {host: gpu1, gpus: 1}
  worker: {count: 3, gpus: 1}
  ps:     {count: 2, hosts: [gpu1, gpu2], env: {OMP: 4}, args: [--ps, 1]}
  evaluator: {host: gpu2}
data: {path: /nfs/mnist, at: /data/mnist}
volumes: [{path: /nfs/scratch, at: /scratch}]
checkpoints: /nfs/runs
env: {NCCL_DEBUG: WARN}
"""


def planned(text: str, job: Job = TRAINER, facts: dict[str, HostFacts] | None = None) -> Plan:
    spec = config.parse(text)
    free = dict.fromkeys(spec.hosts, HostFacts(tuple(range(20000, 20020))))
    return plan(spec, job, "r1", facts or free, run_dir=RUN, python="/venv/bin/python")


def where(made: Plan) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(str(c.task), c.host, str(c.address), c.gpus) for c in made.tasks]


def test_the_default_cluster() -> None:
    """The golden plan of the shipped cluster.yaml: two processes here that train together."""
    made = planned((ROOT / "cluster.yaml").read_text(), facts=HERE)
    addresses = ["127.0.0.1:20000", "127.0.0.1:20001"]
    cluster = {"chief": addresses[:1], "worker": addresses[1:]}

    def task(index: int, task_type: str) -> dict[str, object]:
        output = f"{RUN}/output/{task_type}-0"
        tf_config = {"cluster": cluster, "task": {"type": task_type, "index": 0}}
        return {
            "task": f"{task_type}:0",
            "role": "train",
            "host": "localhost",
            "address": addresses[index],
            "gpus": [],
            "argv": [
                "/venv/bin/python", "/code/trainers/mnist_dist.py",
                "--work_dir=/code/trainers", "--data_dir=/code/trainers/data",
                f"--output_dir={output}", "--num_gpus=0", f"--log_dir={output}/logs",
                "--epochs", "3",
            ],
            "env": {
                "PYTHONUNBUFFERED": "1",
                "LAUNCH_RUN": "r1",
                "LAUNCH_STRATEGY": "multi_worker_mirrored",
                "LAUNCH_MARKERS": "1",
                "LAUNCH_SUPERVISED": "1",
                "LAUNCH_CHECKPOINT_DIR": f"{RUN}/checkpoints",
                "CUDA_VISIBLE_DEVICES": "",
                "TF_CONFIG": json.dumps(tf_config),
            },
            "work_dir": "/home/me",
            "output_dir": output,
            "log": f"{RUN}/logs/{task_type}-0.1.log",
            "image": None,
            "mounts": [],
        }  # fmt: skip

    assert made.to_dict() == {
        "run": "r1",
        "job": "mnist_dist",
        "backend": "process",
        "strategy": "multi_worker_mirrored",
        "run_dir": RUN,
        "checkpoint_dir": f"{RUN}/checkpoints",
        "timeouts": {
            "start_s": 300.0,
            "stalled_s": None,
            "run_s": None,
            "grace_s": 30.0,
            "orphan_s": None,
        },
        "restarts": {
            "max": 3,
            "backoff_s": 5.0,
            "on": ["exit", "signal", "host", "stalled"],
            "move": False,
        },
        "notes": [],
        "tasks": [task(0, "chief"), task(1, "worker")],
    }


def test_a_lab_of_containers() -> None:
    """The golden plan of two hosts with GPUs: placement, ids, ports, paths and mounts."""
    made = planned(LAB)
    assert where(made) == [
        ("chief:0", "gpu1", "10.0.0.11:20000", ("0",)),
        ("worker:0", "gpu2", "10.0.0.12:20000", ("0",)),
        ("worker:1", "gpu1", "10.0.0.11:20001", ("1",)),
        ("worker:2", "gpu2", "10.0.0.12:20001", ("1",)),
        ("ps:0", "gpu1", "10.0.0.11:20002", ()),
        ("ps:1", "gpu2", "10.0.0.12:20002", ()),
        ("evaluator:0", "gpu2", "10.0.0.12:20003", ()),
    ]
    ps = made.tasks[4]
    assert ps.argv == (
        "python", "/data/mnist_dist.py", "--work_dir=/data", "--data_dir=/data/mnist",
        "--output_dir=/data/output", "--num_gpus=0", "--log_dir=/data/output/logs",
        "--ps", "1", "--epochs", "3",
    )  # fmt: skip
    assert (ps.env["OMP"], ps.env["NCCL_DEBUG"]) == ("4", "WARN")
    assert "OMP" not in made.tasks[0].env
    assert (ps.work_dir, ps.image) == ("/data", "registry.lab/mnist_dist:v1")
    assert ps.mounts == (
        Mount("/nfs/scratch", "/scratch", read_only=False),
        Mount("/nfs/mnist", "/data/mnist", read_only=True),
        Mount("/nfs/runs", "/nfs/runs", read_only=False),
        Mount("launch-r1-ps-0-output", "/data/output", read_only=False),
    )
    assert made.network == "host"
    assert ps.limits == Limits(shm_bytes=1 << 30)
    assert made.checkpoint_dir.startswith("/nfs/runs/r1")
    assert made.tasks[0].env["LAUNCH_CHECKPOINT_DIR"] == made.checkpoint_dir


def test_checkpoints_where_hosts_share_no_folder() -> None:
    """The chief and the evaluator have a volume for them; the others' are part of their output."""
    made = planned(LAB.replace("checkpoints: /nfs/runs\n", ""))
    volume = Mount("launch-r1-checkpoints", "/data/checkpoints", read_only=False)
    see = {str(c.task): c.env["LAUNCH_CHECKPOINT_DIR"] for c in made.tasks if volume in c.mounts}
    assert see == dict.fromkeys(("chief:0", "evaluator:0"), "/data/checkpoints")
    assert made.checkpoint_dir == "/data/checkpoints"
    assert made.at_home(made.tasks[0].task, "/data/checkpoints/c-1") == f"{RUN}/checkpoints/c-1"
    others = {c.env["LAUNCH_CHECKPOINT_DIR"] for c in made.tasks if volume not in c.mounts}
    assert others == {"/data/output/checkpoints"}


def test_roles_and_what_each_task_is_told() -> None:
    """Each task's TF_CONFIG shows what its strategy lets it see: the evaluator only to itself."""
    made = planned(LAB)
    told = {}
    for container in made.tasks:
        tf_config = json.loads(made.env(container)["TF_CONFIG"])
        told[str(container.task)] = list(tf_config["cluster"])
        task = tf_config["task"]
        assert f"{task['type']}:{task['index']}" == str(container.task)
    assert told.pop("evaluator:0") == ["evaluator"]
    assert set(map(tuple, told.values())) == {("chief", "worker", "ps")}
    assert [made.role(container.task) for container in made.tasks] == [
        Role.COORDINATE, *[Role.SERVE] * 5, Role.EVALUATE,
    ]  # fmt: skip
    assert made.cluster[TaskType.EVALUATOR] == ("10.0.0.12:20003",)


def test_gpus_as_processes_and_as_containers_see_them() -> None:
    """A process is shown its ids, a container numbers its own anew, without GPUs none is seen."""
    text = (
        "hosts: {h: {address: 127.0.0.1, gpus: [2, GPU-abc]}}\ntasks: {chief: {gpus: 2}, worker: }"
    )
    here = planned(text)
    assert [here.env(c)["CUDA_VISIBLE_DEVICES"] for c in here.tasks] == ["2,GPU-abc", ""]
    order = [here.env(c).get("CUDA_DEVICE_ORDER") for c in here.tasks]
    assert order == ["PCI_BUS_ID", None]  # by default CUDA numbers the fastest first
    assert "--num_gpus=2" in here.tasks[0].argv
    inside = planned("image: x\n" + text)
    assert [inside.env(c).get("CUDA_VISIBLE_DEVICES") for c in inside.tasks] == [None, ""]
    assert [c.gpus for c in inside.tasks] == [("2", "GPU-abc"), ()]


def test_gpus_are_asked_of_the_host() -> None:
    """Under `gpus: auto` the ids are those that were read from the host."""
    text = (
        "hosts: {localhost: {address: 127.0.0.1, gpus: auto}}\ntasks: {worker: {count: 2, gpus: 1}}"
    )
    assert [c.gpus for c in planned(text, facts=HERE).tasks] == [("0",), ("1",)]


def test_fixed_ports_are_kept_and_not_given_twice() -> None:
    """A port of the file is the task's, and no free port that is the same is given to another."""
    made = planned("tasks: {chief: {port: 20000}, worker: {count: 2}}", facts=HERE)
    assert [c.address.port for c in made.tasks] == [20000, 20001, 20002]


def test_a_plain_command_is_run_as_typed() -> None:
    """A command gets nothing of ours, keeps its words whole, and `args` follow it."""
    made = planned("tasks: {worker: {args: [x y]}}", COMMAND, HERE)
    assert made.tasks[0].argv == ("echo", "a  b", "'c'", "x y")
    assert made.tasks[0].work_dir == "/home/me"


def test_an_unmodified_script_gets_no_arguments_of_ours() -> None:
    """A script that knows nothing of us gets just the user's own arguments."""
    job = Job("s", "/x/s.py", ("--its", "a b"), "/home/me")
    made = planned("tasks: {worker: }\npython: /opt/python", job, HERE)
    assert made.tasks[0].argv == ("/opt/python", "/x/s.py", "--its", "a b")


def test_secrets_are_masked_where_they_are_shown() -> None:
    """What looks secret reaches the task, and is masked in the plan that is shown and kept."""
    made = planned(
        "env: {API_KEY: k1, HF_TOKEN: k2, TOKENIZERS: fast, PATH: /bin}\n"
        "tasks: {worker: {env: {db_password: k3, KEYBOARD: us}}}",
        facts=HERE,
    )
    env = made.env(made.tasks[0])
    assert (env["API_KEY"], env["HF_TOKEN"], env["db_password"]) == ("k1", "k2", "k3")
    [task] = json.loads(json.dumps(made.to_dict()))["tasks"]
    shown = {key: task["env"][key] for key in ("API_KEY", "HF_TOKEN", "db_password", "PATH")}
    assert shown == {"API_KEY": MASK, "HF_TOKEN": MASK, "db_password": MASK, "PATH": "/bin"}
    assert task["env"]["KEYBOARD"] == "us"


@pytest.mark.parametrize(("gpus", "seen"), [((), ""), (("0",), "0"), (("3", "4"), "3")])
def test_single(gpus: tuple[str, ...], seen: str) -> None:
    """One task without a cluster has no TF_CONFIG and sees at most one GPU."""
    made = plan_single(TRAINER, "r1", gpus, run_dir=RUN, python="py", host="localhost")
    [container] = made.tasks
    env = made.env(container)
    assert "TF_CONFIG" not in env
    assert "LAUNCH_STRATEGY" not in env
    assert env["CUDA_VISIBLE_DEVICES"] == seen
    assert f"--num_gpus={len(seen)}" in container.argv
    assert made.to_dict()["strategy"] is None
    assert made.tf_config(CHIEF) is None


@pytest.mark.parametrize(
    ("text", "facts", "problem"),
    [
        (
            "hosts: {localhost: {address: 127.0.0.1, gpus: auto}}\ntasks:\n  chief: {gpus: 3}",
            HERE,
            "cluster.yaml:1 hosts.localhost.gpus: chief:0 wants 3 of the GPUs of localhost, which"
            " has 2 left",
        ),
        (
            "image: x\nhosts:\n  a: {address: 10.0.0.1, gpus: 1}\n"
            "  b: {address: 10.0.0.2, gpus: 1}\ntasks:\n  worker: {gpus: 2}",
            {},
            "cluster.yaml:6 tasks.worker: worker:0 wants 2 of a host's GPUs; none has so many left",
        ),
        (
            "tasks: {worker: {count: 2}}",
            {"localhost": HostFacts((20000,))},
            "localhost has no free port left for worker:1",
        ),
        (
            "image: x\nhosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2, gpus: 2}}\n"
            "tasks:\n  chief: {port: 2222, gpus: 1}\n  worker: {port: 2222, gpus: 1}",
            {},
            "cluster.yaml:5 tasks.worker.port: worker:0 would have port 2222 on b, the port of "
            "chief:0",
        ),
    ],
)
def test_what_does_not_fit(text: str, facts: dict[str, HostFacts], problem: str) -> None:
    """Tasks that do not fit on the hosts are refused, with where the file says so."""
    with pytest.raises(InputError) as raised:
        planned(text, facts=facts or dict.fromkeys("ab", HostFacts((20000,))))
    assert str(raised.value) == problem


# properties


@st.composite
def specs(draw: st.DrawFn) -> ClusterSpec:
    hosts = {
        f"h{index}": Host(f"10.0.0.{index + 1}", draw(st.integers(0, 4)))
        for index in range(draw(st.integers(1, 4)))
    }
    anywhere = st.sampled_from([None, None, *hosts])
    ids = [CHIEF, *(TaskId(TaskType.WORKER, i) for i in range(draw(st.integers(0, 6))))]
    ids += [TaskId(TaskType.PS, 0)] * draw(st.integers(0, 1))
    ids += [EVALUATOR] * draw(st.integers(0, 1))
    tasks = [
        Task(task, draw(anywhere), draw(st.sampled_from([None, None, 20000 + position])),
             draw(st.integers(0, 2)), {}, ())
        for position, task in enumerate(ids)
    ]  # fmt: skip
    strategy = draw(st.sampled_from([Strategy.MULTI_WORKER_MIRRORED, Strategy.PARAMETER_SERVER]))
    return ClusterSpec(Backend.DOCKER, strategy, hosts, tuple(tasks), image="x")


@given(specs())
def test_whatever_is_planned_fits(spec: ClusterSpec) -> None:
    """Wishes are kept, no GPU and no port is given twice, and planning again decides the same."""
    facts = dict.fromkeys(spec.hosts, HostFacts(tuple(range(20000, 20020))))
    try:
        made = plan(spec, TRAINER, "r1", facts, run_dir=RUN, python="py")
    except InputError as error:
        assert "GPU" in str(error)
        return
    assert plan(spec, TRAINER, "r1", facts, run_dir=RUN, python="py") == made
    assert [c.task for c in made.tasks] == [task.id for task in spec.tasks]
    for task, container in zip(spec.tasks, made.tasks, strict=True):
        assert task.host in (None, container.host)
        assert task.port in (None, container.address.port)
        assert container.address.host == spec.hosts[container.host].address
        assert len(container.gpus) == task.gpus
        assert made.cluster[task.id.type][task.id.index] == str(container.address)
    given_gpus = Counter((c.host, gpu) for c in made.tasks for gpu in c.gpus)
    assert set(given_gpus.values()) <= {1}
    assert all(int(gpu) < int(str(spec.hosts[host].gpus)) for host, gpu in given_gpus)
    assert len({c.address for c in made.tasks}) == len(made.tasks)


@given(st.integers(1, 5), st.integers(1, 20))
def test_tasks_without_wishes_are_spread(hosts: int, workers: int) -> None:
    """On equal hosts, no host gets two tasks more than another."""
    spec = ClusterSpec(
        Backend.DOCKER,
        Strategy.MULTI_WORKER_MIRRORED,
        {f"h{n}": Host(f"10.0.0.{n}") for n in range(hosts)},
        tuple(Task(TaskId(TaskType.WORKER, n), None, None, 0, {}, ()) for n in range(workers)),
        image="x",
    )
    facts = dict.fromkeys(spec.hosts, HostFacts(tuple(range(20000, 20020))))
    made = plan(spec, TRAINER, "r1", facts, run_dir=RUN, python="py")
    counts = Counter(c.host for c in made.tasks)
    assert max(counts.values()) - min(counts[name] for name in spec.hosts) <= 1
