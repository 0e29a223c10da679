"""What launcher.config promises: both forms are read, every problem of a file is told at once."""

from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launcher.cluster import Backend, ClusterSpec, Data, Host, Restarts, Ssh, Timeouts, Volume
from launcher.config import parse, read
from launcher.errors import InputError
from launcher.strategy import Strategy
from launcher.task import TaskId, TaskType

ROOT = Path(__file__).parent.parent
LAB = """
name: lab
backend: docker
image: registry.lab/mnist_dist:v1
strategy: auto
hosts:
  gpu1: {address: 10.0.0.11, gpus: 4, ssh: {user: ml}}
  gpu2: {address: 10.0.0.12, gpus: 4, ssh: {user: ml, host: gpu2.lab, port: 2022}}
tasks:
  chief:  {host: gpu1, gpus: 1}
  worker: {count: 3, gpus: 1}
  ps:     {count: 2, hosts: [gpu1, gpu2], env: {OMP: 4}, args: [--verbosity, 1, "a b"]}
  evaluator: {host: gpu2}
data: {path: /nfs/mnist, at: /data/data, read_only: true}
volumes: [{path: /nfs/scratch, at: /scratch}]
checkpoints: /nfs/runs
env: {NCCL_DEBUG: WARN}
restarts: {max: 3, backoff_s: 5}
timeouts: {start_s: 300, stalled_s: null, run_s: null, grace_s: 30}
"""
OLD = """
image: registry.lab/mnist_dist:v1
cluster: {master: ["10.0.0.11:2222"], ps: ["10.0.0.11:2223", "10.0.0.12:2223"], \
worker: ["10.0.0.12:2222"]}
"""


def where_each_stands(spec: ClusterSpec) -> list[tuple[str, str | None, int | None]]:
    return [(str(task.id), task.host, task.port) for task in spec.tasks]


def test_the_default_cluster() -> None:
    """The shipped cluster.yaml is a chief and a worker on this machine, as processes."""
    spec = read(str(ROOT / "cluster.yaml"))
    assert spec.backend is Backend.PROCESS
    assert spec.strategy is Strategy.MULTI_WORKER_MIRRORED
    assert spec.hosts == {"localhost": Host("127.0.0.1")}
    assert where_each_stands(spec) == [
        ("chief:0", "localhost", None),
        ("worker:0", "localhost", None),
    ]
    assert spec.notes == ()


def test_the_new_form() -> None:
    """Every key of the new form arrives in the spec."""
    spec = parse(LAB)
    assert (spec.name, spec.image) == ("lab", "registry.lab/mnist_dist:v1")
    assert (spec.backend, spec.strategy) == (Backend.DOCKER, Strategy.PARAMETER_SERVER)
    assert spec.hosts == {
        "gpu1": Host("10.0.0.11", 4, Ssh(user="ml")),
        "gpu2": Host("10.0.0.12", 4, Ssh(user="ml", host="gpu2.lab", port=2022)),
    }
    assert where_each_stands(spec) == [
        ("chief:0", "gpu1", None),
        ("worker:0", None, None),
        ("worker:1", None, None),
        ("worker:2", None, None),
        ("ps:0", "gpu1", None),
        ("ps:1", "gpu2", None),
        ("evaluator:0", "gpu2", None),
    ]
    assert [task.gpus for task in spec.tasks] == [1, 1, 1, 1, 0, 0, 0]
    ps = spec.tasks[4]
    assert (ps.env, ps.args) == ({"OMP": "4"}, ("--verbosity", "1", "a b"))
    assert spec.data == Data("/nfs/mnist", None, "/data/data", True)
    assert spec.volumes == (Volume("/nfs/scratch", "/scratch"),)
    assert spec.checkpoints == "/nfs/runs"
    assert spec.env == {"NCCL_DEBUG": "WARN"}
    assert (spec.restarts, spec.timeouts) == (Restarts(), Timeouts())
    assert spec.notes == ()


def test_hosts_need_not_share_a_folder_for_checkpoints() -> None:
    """Tasks may move without one, and an evaluator may stand on any host."""
    text = "image: i\nhosts: {a: {address: 10.0.0.1}}\ntasks: {chief: {}, evaluator: {}}\n"
    spec = parse(f"{text}restarts: {{move: true}}\n")
    assert spec.restarts.move and spec.checkpoints is None
    assert spec.notes == ()


def test_the_old_form() -> None:
    """Hosts and ports are read out of a TF_CONFIG's cluster, and master becomes chief."""
    spec = parse(OLD)
    assert (spec.backend, spec.strategy) == (Backend.DOCKER, Strategy.PARAMETER_SERVER)
    assert spec.hosts == {"10.0.0.11": Host("10.0.0.11"), "10.0.0.12": Host("10.0.0.12")}
    assert where_each_stands(spec) == [
        ("chief:0", "10.0.0.11", 2222),
        ("worker:0", "10.0.0.12", 2222),
        ("ps:0", "10.0.0.11", 2223),
        ("ps:1", "10.0.0.12", 2223),
    ]
    assert spec.notes == ("cluster.master is now chief: TensorFlow 2 refuses the master role",)


def test_the_old_form_with_hosts_and_tasks() -> None:
    """`hosts` may say more about an address or be named by it, and `tasks` give GPUs, env, args."""
    spec = parse(
        """
image: x
cluster: {chief: ["10.0.0.11:2222"], worker: {"0": "gpu2:2222", "1": "Node_3:1"}}
hosts:
  first: {address: 10.0.0.11, gpus: 2}
  gpu2: {address: 10.0.0.12, gpus: 2}
tasks:
  worker: {gpus: 0, env: {A: 1}, args: [-v]}
  chief: {gpus: 2}
"""
    )
    assert where_each_stands(spec) == [
        ("chief:0", "first", 2222),
        ("worker:0", "gpu2", 2222),
        ("worker:1", "node_3", 1),
    ]
    assert spec.hosts["node_3"] == Host("Node_3")
    assert [(task.gpus, dict(task.env), task.args) for task in spec.tasks] == [
        (2, {}, ()),
        (0, {"A": "1"}, ("-v",)),
        (0, {"A": "1"}, ("-v",)),
    ]


def test_hosts_of_the_old_form_are_never_confused() -> None:
    """Two addresses are two hosts even where the nearest name of both is one."""
    spec = parse('{image: x, cluster: {worker: ["[fd00::1]:1", "fd00--1:1"]}}')
    hosts = {name: host.address for name, host in spec.hosts.items()}
    assert hosts == {"fd00--1": "fd00::1", "fd00--1-": "fd00--1"}
    assert [task.host for task in spec.tasks] == list(hosts)


def test_idle_ps_of_the_old_form_are_left_out() -> None:
    """multi_worker_mirrored with ps tasks in an old-form cluster works, and one line says so."""
    spec = parse(OLD, strategy=Strategy.MULTI_WORKER_MIRRORED)
    assert [str(task.id) for task in spec.tasks] == ["chief:0", "worker:0"]
    assert spec.strategy is Strategy.MULTI_WORKER_MIRRORED
    assert spec.notes[1:] == (
        "the ps tasks are left out: multi_worker_mirrored has no use for them",
    )


@pytest.mark.parametrize(
    ("text", "chosen", "strategy"),
    [
        ("tasks: {chief: , worker: }", Strategy.AUTO, Strategy.MULTI_WORKER_MIRRORED),
        ("tasks: {chief: , worker: , ps: }", Strategy.AUTO, Strategy.PARAMETER_SERVER),
        (
            "{strategy: parameter_server, tasks: {chief: , worker: }}",
            Strategy.MULTI_WORKER_MIRRORED,
            Strategy.MULTI_WORKER_MIRRORED,
        ),
    ],
)
def test_the_strategy(text: str, chosen: Strategy, strategy: Strategy) -> None:
    """`auto` looks for ps tasks; the command line's choice is above the file's."""
    assert parse(text, strategy=chosen).strategy is strategy


def test_ports_count_up_on_each_host() -> None:
    """`port` is the first task's on each host; the next one there takes the next port."""
    spec = parse(
        """
image: x
hosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}
tasks: {worker: {count: 3, hosts: [a, b], port: 2222}}
"""
    )
    assert [(task.host, task.port) for task in spec.tasks] == [
        ("a", 2222),
        ("b", 2222),
        ("a", 2223),
    ]


def test_hosts_give_the_count() -> None:
    """Without `count` there is one task for each of `hosts`."""
    spec = parse(
        """
image: x
hosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}
tasks: {worker: {hosts: [a, b]}}
"""
    )
    assert [task.host for task in spec.tasks] == ["a", "b"]


# problems

KEYS = (
    "(expected one of name, backend, image, strategy, hosts, tasks, cluster, data, volumes, "
    "checkpoints, env, restarts, timeouts, python, code, image_transfer, secrets, shm_size, "
    "memory, cpus, ulimits, nccl_interface, allow_public, platforms)"
)
ONE = "tasks: {chief: {}}\n"
TWO_HOSTS = "image: x\nhosts:\n  a: {address: 10.0.0.1, gpus: 2}\n  b: {address: 10.0.0.2}\n"

PROBLEMS: list[tuple[str, str, list[str]]] = [
    (
        "unknown key",
        ONE + "timeout: 3",
        [f"2 timeout: unknown key, did you mean 'timeouts'? {KEYS}"],
    ),
    (
        "unknown key far from any",
        ONE + "xyzzy: 3",
        [f"2 xyzzy: unknown key {KEYS}"],
    ),
    (
        "unknown key inside",
        "tasks:\n  worker: {cuont: 2}",
        [
            "2 tasks.worker.cuont: unknown key, did you mean 'count'? (expected one of count, "
            "host, hosts, port, gpus, memory, cpus, env, args)"
        ],
    ),
    (
        "unknown task type",
        "tasks:\n  chief:\n  master: {}",
        ["3 tasks.master: unknown key (expected one of chief, worker, ps, evaluator)"],
    ),
    (
        "wrong type",
        "tasks:\n  chief: {gpus: two}\nenv: [A]\nname: 3",
        [
            "2 tasks.chief.gpus: expected an integer from 0 to 1024, got 'two'",
            "3 env: expected a mapping, got a list",
            "4 name: expected a name of a-z, 0-9, '_', '.' and '-' that begins with a letter or "
            "digit, got 3",
        ],
    ),
    (
        "wrong type of a host's GPUs, and nothing that would follow from it",
        "hosts:\n  a:\n    address: 127.0.0.1\n    gpus: two\ntasks: {chief: {gpus: 1}}",
        [
            "4 hosts.a.gpus: expected an integer from 0 to 1024, a list (of an integer ≥ 0 or a "
            "text) or auto, got 'two'"
        ],
    ),
    (
        "an empty host, and nothing that would follow from it",
        "hosts:\n  a:\ntasks: {chief: {gpus: 1}, worker: {count: 2, port: 1}}",
        ["2 hosts.a: expected a mapping, got nothing"],
    ),
    (
        "a host without its address",
        "hosts:\n  a: {gpus: 1}\ntasks: {chief: {gpus: 1, port: 1}, worker: {port: 1}}",
        ["2 hosts.a: the key 'address' is missing"],
    ),
    (
        "wrong backend, and nothing that would follow from it",
        "backend: podman\nhosts: {a: {address: 10.0.0.1}}\n" + ONE,
        ["1 backend: expected one of process, docker, got 'podman'"],
    ),
    (
        "unknown host",
        TWO_HOSTS + "tasks:\n  chief: {host: c}\n  worker: {hosts: [a, bb]}",
        [
            "6 tasks.chief.host: unknown host 'c'",
            "7 tasks.worker.hosts: unknown host 'bb', did you mean 'b'?",
        ],
    ),
    (
        "host and hosts",
        TWO_HOSTS + "tasks:\n  chief: {host: a, hosts: [b]}",
        ["6 tasks.chief.hosts: expected host or hosts, got both"],
    ),
    (
        "no hosts",
        TWO_HOSTS + "tasks:\n  chief: {hosts: []}",
        ["6 tasks.chief.hosts: expected at least one host"],
    ),
    (
        "two chiefs",
        "tasks:\n  chief: {count: 2}",
        ["2 tasks.chief.count: expected 1, a cluster has one chief, got 2"],
    ),
    (
        "two chiefs by hosts",
        TWO_HOSTS + "tasks:\n  chief: {hosts: [a, b]}",
        ["6 tasks.chief.count: expected 1, a cluster has one chief, got 2"],
    ),
    (
        "two chiefs, old form",
        'cluster:\n  chief: ["127.0.0.1:1", "127.0.0.1:2"]',
        ["2 cluster.chief: expected at most one, got 2"],
    ),
    (
        "evaluator count above 1",
        ONE.replace("}}", "}, evaluator: {count: 2}}"),
        ["1 tasks.evaluator.count: expected 1, a cluster has one evaluator, got 2"],
    ),
    (
        "no count",
        "tasks:\n  worker: {count: 0}",
        ["2 tasks.worker.count: expected an integer from 1 to 100000, got 0"],
    ),
    (
        "duplicate host:port",
        "tasks:\n  chief: {port: 2223}\n  worker: {count: 2, port: 2222}",
        ["3 tasks.worker.port: worker:1 would have 127.0.0.1:2223, the address of chief:0"],
    ),
    (
        "duplicate host:port, old form",
        'cluster:\n  chief: ["127.0.0.1:1"]\n  worker:\n    - "127.0.0.1:2"\n    - "127.0.0.1:1"',
        ["5 cluster.worker[1]: 127.0.0.1:1 is the address of cluster.chief[0] already"],
    ),
    (
        "ports beyond the last",
        "tasks:\n  worker: {count: 2, port: 65535}",
        ["2 tasks.worker.port: worker:1 would get port 65536; expected at most 65535"],
    ),
    (
        "an address twice",
        "image: x\nhosts:\n  a: {address: 10.0.0.1}\n  b: {address: 10.0.0.1}\n" + ONE,
        ["4 hosts.b.address: 10.0.0.1 is the address of a already"],
    ),
    (
        "more GPUs than the host has",
        TWO_HOSTS + "tasks:\n  chief: {host: a, gpus: 1}\n  worker: {count: 2, host: a, gpus: 1}",
        ["3 hosts.a.gpus: its tasks want 3 GPUs, it has 2"],
    ),
    (
        "more GPUs than all hosts have",
        TWO_HOSTS + "tasks:\n  chief: {host: a, gpus: 1}\n  worker: {count: 2, gpus: 1}",
        ["5 tasks: 2 GPUs are wanted on any host, 1 are free"],
    ),
    (
        "a GPU listed twice",
        'hosts:\n  a: {address: 127.0.0.1, gpus: [0, 1, "1"]}\n' + ONE,
        ["2 hosts.a.gpus: one GPU is listed twice"],
    ),
    (
        "ps under multi_worker_mirrored",
        "strategy: multi_worker_mirrored\ntasks:\n  chief:\n  ps: {count: 2}",
        ["4 tasks.ps: multi_worker_mirrored has no ps tasks; expected none, or parameter_server"],
    ),
    (
        "parameter_server without a chief",
        "tasks:\n  worker:\n  ps:",
        ["1 tasks: parameter_server needs a chief, none is given"],
    ),
    (
        "parameter_server without a worker and a ps",
        "strategy: parameter_server\ntasks:\n  chief:",
        [
            "2 tasks: parameter_server needs a worker, none is given",
            "2 tasks: parameter_server needs a ps, none is given",
        ],
    ),
    (
        "nobody trains",
        "tasks:\n  evaluator:",
        ["1 tasks: expected a chief or a worker: nobody would train"],
    ),
    (
        "localhost in a cluster of several hosts",
        "image: x\nhosts:\n  a: {address: 10.0.0.1}\n  b: {address: localhost}\n"
        "tasks: {worker: {hosts: [a, b]}}",
        [
            "4 hosts.b.address: localhost means another machine to every host; expected the "
            "address at which the other hosts reach it"
        ],
    ),
    (
        "localhost in a cluster of several hosts, old form",
        'image: x\ncluster:\n  worker: ["127.0.0.1:1", "10.0.0.1:1"]',
        [
            "2 cluster: 127.0.0.1 means another machine to every host; expected the address at "
            "which the other hosts reach it"
        ],
    ),
    (
        "an address to listen on",
        "image: x\nhosts:\n  a: {address: 0.0.0.0}\n" + ONE,
        ["3 hosts.a.address: nobody can connect to 0.0.0.0; expected its own"],
    ),
    (
        "an address that is none",
        "image: x\nhosts:\n  a: {address: http://a}\n" + ONE,
        ["3 hosts.a.address: expected an IPv6 address, got 'http://a'"],
    ),
    (
        "a public address",
        "image: x\nhosts:\n  a: {address: 8.8.8.8}\n" + ONE,
        [
            "3 hosts.a.address: 8.8.8.8 is reachable from the internet, and TensorFlow's servers "
            "obey anyone; expected a private address, or allow_public: true"
        ],
    ),
    (
        "a host's name that cannot be a path",
        "hosts:\n  GPU 1: {address: 127.0.0.1}\n" + ONE,
        [
            "2 hosts.GPU 1: expected a name of a-z, 0-9, '_', '.' and '-' that begins with a "
            "letter or digit as the host's name"
        ],
    ),
    (
        "processes elsewhere",
        "hosts:\n  a: {address: 10.0.0.1}\n" + ONE,
        [
            "2 hosts.a: processes run on this machine alone, 10.0.0.1 is another; expected a "
            "loopback address, or an image for the docker backend"
        ],
    ),
    ("docker without an image", "backend: docker\n" + ONE,
     ["1 backend: docker needs the key 'image'"]),
    (
        "an image for processes",
        "backend: process\nimage: x\n" + ONE,
        ["2 image: the process backend uses no image; expected backend: docker"],
    ),
    (
        "a mount that is not absolute",
        "image: x\ndata: {path: mnist}\nvolumes:\n- {path: /a, at: b}\ncheckpoints: runs\n" + ONE,
        [
            "2 data.path: expected an absolute path, got 'mnist'",
            "4 volumes[0].at: expected an absolute path, got 'b'",
            "5 checkpoints: expected an absolute path, got 'runs'",
        ],
    ),
    (
        "two mounts at one place",
        "image: x\ndata: {path: /a, at: /c}\nvolumes:\n- {path: /b, at: /c}\n" + ONE,
        ["4 volumes[0]: data is mounted at /c already"],
    ),
    (
        "a variable that the launcher sets",
        "env: {TF_CONFIG: x}\ntasks:\n  chief:\n    env:\n      LAUNCH_RUN: x\n      A=B: x",
        [
            "1 env.TF_CONFIG: the launcher itself sets this variable",
            "4 tasks.chief.env: expected the name of an environment variable, got 'A=B'",
            "5 tasks.chief.env.LAUNCH_RUN: the launcher itself sets this variable",
        ],
    ),
    (
        "the old form's own problems",
        'cluster:\n  worker:\n  - "127.0.0.1"\n  - 3\n  ps: x\n  boss: ["127.0.0.1:1"]',
        [
            "3 cluster.worker[0]: expected host:port, got '127.0.0.1' without a port",
            "4 cluster.worker[1]: expected host:port, got a number",
            "5 cluster.ps: expected a list of host:port, got a string",
            "6 cluster.boss: unknown task type (expected one of chief, worker, ps, evaluator, "
            "master)",
        ],
    ),
    (
        "placement beside the old form",
        'cluster: {chief: ["127.0.0.1:1"]}\ntasks:\n  chief: {count: 1}\n  worker: {gpus: 0}',
        [
            "3 tasks.chief: beside cluster count, hosts and ports may not be given here",
            "4 tasks.worker: cluster lists no worker",
        ],
    ),
    ("an old form without tasks", "cluster: {}", ["1 cluster: expected at least one task"]),
    ("a key twice", ONE + ONE, ["2 tasks: this key stands already on line 1"]),
    ("a list", "- 1", ["1: expected a mapping of keys, got a list"]),
    ("YAML that does not parse", "tasks:\n  chief: {host: @}",
     ["2:17: not YAML: found character that cannot start any token while scanning for the next "
      "token"]),
]  # fmt: skip


def problems_of(text: str) -> list[str]:
    with pytest.raises(InputError) as raised:
        parse(text, "dir name/c.yaml")
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("text", "problems"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS]
)
def test_each_problem(text: str, problems: list[str]) -> None:
    """Every kind of problem is told with file:line, key path and what was expected instead."""
    assert problems_of(text) == [f"dir name/c.yaml:{problem}" for problem in problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty; expected tasks or cluster"),
        ("# nothing\n", "the file is empty; expected tasks or cluster"),
        ("name: x", "nothing to run: expected tasks (or cluster, the old form)"),
        ("tasks: {}", "nothing to run: expected tasks (or cluster, the old form)"),
    ],
)
def test_nothing_to_run(text: str, problem: str) -> None:
    """A file that asks for nothing says what it should ask for."""
    assert problems_of(text) == [f"dir name/c.yaml: {problem}"]


def test_every_problem_at_once() -> None:
    """All problems of a file are told in one reading, in the order of its lines."""
    text = """
nmae: lab
image: 7
strategy: mirrored
hosts:
  gpu1: {address: 10.0.0.11, gpus: 1, shh: {user: ml}}
  gpu2: {address: 127.0.0.1}
tasks:
  chief: {count: 2, host: gpu3}
  worker: {count: 2, hosts: [gpu1, gpu2], gpus: 1, port: 70000}
  ps: {args: --x}
data: {path: nfs}
env: {TF_CONFIG: "{}"}
timeouts: {grace_s: -1}
"""
    problems = problems_of(dedent(text))
    lines = [int(problem.split(":")[1].split(" ")[0]) for problem in problems]
    paths = [
        problem.removeprefix("dir name/c.yaml:").split(" ")[1].strip(":") for problem in problems
    ]
    assert lines == sorted(lines)
    assert paths == [
        "nmae", "image", "strategy", "hosts.gpu1.shh", "hosts.gpu2.gpus",
        "hosts.gpu2.address", "tasks.chief.host", "tasks.chief.count", "tasks.worker.port",
        "tasks.ps.args",
        "data.path", "env.TF_CONFIG", "timeouts.grace_s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file; expected a cluster.yaml"),
        (b"name: \xff", "not UTF-8 text, byte 6"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A file that is not there, or is no text, is one problem."""
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read(str(path))
    assert str(raised.value) == f"{path}: {problem}"


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    """A folder in the file's place is named, with the system's reason."""
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read(str(tmp_path))


# properties


def survives(text: str) -> None:
    try:
        spec = parse(text)
    except InputError as error:
        assert error.problems
        assert all(str(problem) for problem in error.problems)
        return
    assert spec.tasks
    assert {task.host for task in spec.tasks} <= {None, *spec.hosts}
    assert len({task.id for task in spec.tasks}) == len(spec.tasks)


yamlish = st.text(alphabet="[]{}:,-&*!?|>#'\"%@`~<= \nab01./", max_size=60)


@given(st.text() | yamlish)
def test_no_text_fails(text: str) -> None:
    """Any text is read or refused as InputError."""
    survives(text)


@given(st.sampled_from([LAB, OLD]), st.data())
def test_no_edit_of_a_valid_file_fails(text: str, data: st.DataObject) -> None:
    """A valid file with a part cut out or replaced is read or refused as InputError."""
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(yamlish.filter(lambda t: len(t) < 9)) + text[end:]
    survives(text)


@given(st.sampled_from([LAB, OLD]), st.data())
def test_no_edit_of_a_value_fails(text: str, data: st.DataObject) -> None:
    """A valid document with any value replaced or removed is read or refused as InputError."""
    document = yaml.safe_load(text)
    values = st.sampled_from(
        [None, 0, 1, -1, 2.5, True, "", "x", "/", "gpu1", [], {}, ["gpu1"], {"a": None}, [None],
         {"address": None}, 10**9, "10.0.0.11:2222"]
    )  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        inner = document
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = data.draw(st.sampled_from(keys)) if keys else None
            if key is None:
                break
            deeper = inner[key]
            if isinstance(deeper, dict | list) and data.draw(st.booleans()):
                inner = deeper
                continue
            if isinstance(inner, dict) and data.draw(st.booleans()):
                del inner[key]
            else:
                inner[key] = data.draw(values)
            break
        if not document:
            break
    survives(yaml.safe_dump(document))


def test_tasks_are_in_order() -> None:
    """Tasks come by type and index whatever the file's order is."""
    spec = parse("tasks: {evaluator: , ps: , worker: {count: 2}, chief: }")
    assert [task.id for task in spec.tasks] == [
        TaskId(TaskType.CHIEF, 0),
        TaskId(TaskType.WORKER, 0),
        TaskId(TaskType.WORKER, 1),
        TaskId(TaskType.PS, 0),
        TaskId(TaskType.EVALUATOR, 0),
    ]
