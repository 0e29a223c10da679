"""What launcher.tf_config promises: each form met in the field becomes the one TensorFlow takes."""

import json
import subprocess
import sys
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import TfConfigError
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType
from launcher.tf_config import TfConfig

AUTO = Strategy.AUTO
MWMS = Strategy.MULTI_WORKER_MIRRORED
PSS = Strategy.PARAMETER_SERVER
A, B, C, D, E = (f"10.0.0.{n}:2222" for n in range(1, 6))

MASTER = "TensorFlow 2 refuses the master role"
NO_PS = "multi_worker_mirrored has no parameter servers"
ALONE = "only the evaluator itself may see it"


class Row(NamedTuple):
    """A TF_CONFIG in, what comes out, and what is said."""

    promise: str
    cluster: object
    task: object
    becomes: dict[str, Any]
    task_becomes: tuple[str, int] | None
    said: list[str]
    strategy: Strategy = AUTO
    resolved: Strategy = MWMS


def worker(index: object = 0) -> dict[str, object]:
    return {"type": "worker", "index": index}


ACCEPTED = [
    Row(
        "chief and worker stay as they are",
        {"chief": [A], "worker": [B]},
        {"type": "chief", "index": 0},
        {"chief": [A], "worker": [B]},
        ("chief", 0),
        [],
    ),
    Row(
        "master in the cluster",
        {"master": [A], "worker": [B]},
        worker(),
        {"chief": [A], "worker": [B]},
        ("worker", 0),
        [f"change: cluster.master is now chief: {MASTER}"],
    ),
    Row(
        "master in the task",
        {"chief": [A], "worker": [B]},
        {"type": "master", "index": 0},
        {"chief": [A], "worker": [B]},
        ("chief", 0),
        [f"change: task.type master is now chief: {MASTER}"],
    ),
    Row(
        "master in both",
        {"master": [A], "worker": [B]},
        {"type": "master", "index": 0},
        {"chief": [A], "worker": [B]},
        ("chief", 0),
        [
            f"change: cluster.master is now chief: {MASTER}",
            f"change: task.type master is now chief: {MASTER}",
        ],
    ),
    Row(
        "master and chief with one address",
        {"master": [A], "chief": [A], "worker": [B]},
        worker(),
        {"chief": [A], "worker": [B]},
        ("worker", 0),
        ["change: cluster.master is dropped: chief names the same address"],
    ),
    Row(
        "a task index as a string",
        {"worker": [A, B]},
        worker("1"),
        {"worker": [A, B]},
        ("worker", 1),
        [
            'change: task.index "1" is now a number: every reader agrees on a number',
            "note: worker:0 acts as the chief: no chief is listed, TensorFlow's own rule",
        ],
    ),
    Row(
        "the chief is missing though the task is worker 0",
        {"worker": [A, B]},
        worker(),
        {"worker": [A, B]},
        ("worker", 0),
        ["note: worker:0 acts as the chief: no chief is listed, TensorFlow's own rule"],
    ),
    Row(
        "a single task",
        {"chief": [A]},
        {"type": "chief", "index": 0},
        {"chief": [A]},
        ("chief", 0),
        [],
    ),
    Row("an empty cluster without a task", {}, None, {}, None, []),
    Row("an empty cluster with a task", {}, worker(), {}, ("worker", 0), []),
    Row(
        "a dense object of index to address",
        {"chief": {"0": A}, "worker": {"1": C, "0": B}},
        worker(1),
        {"chief": [A], "worker": [B, C]},
        ("worker", 1),
        [
            "change: cluster.chief is a list now: an object of index → address says the same",
            "change: cluster.worker is a list now: an object of index → address says the same",
        ],
    ),
    Row(
        "a type without tasks crashes TensorFlow",
        {"chief": [A], "worker": [B], "ps": []},
        worker(),
        {"chief": [A], "worker": [B]},
        ("worker", 0),
        ["change: cluster.ps is left out: TensorFlow fails on a task type without tasks"],
    ),
    Row(
        "the empty object that Kubeflow writes for a ps",
        {"chief": [A], "ps": {}},
        {"type": "chief", "index": 0},
        {"chief": [A]},
        ("chief", 0),
        ["change: cluster.ps is left out: TensorFlow fails on a task type without tasks"],
    ),
    Row(
        "ps under auto",
        {"chief": [A], "worker": [B], "ps": [C]},
        {"type": "ps", "index": 0},
        {"chief": [A], "worker": [B], "ps": [C]},
        ("ps", 0),
        [],
        resolved=PSS,
    ),
    Row(
        "ps under multi_worker_mirrored hangs TensorFlow",
        {"chief": [A], "worker": [B], "ps": [C]},
        worker(),
        {"chief": [A], "worker": [B]},
        ("worker", 0),
        [f"change: cluster.ps is left out: {NO_PS} and hangs when one is listed"],
        strategy=MWMS,
    ),
    Row(
        "the ps itself under multi_worker_mirrored",
        {"chief": [A], "ps": [C]},
        {"type": "ps", "index": 0},
        {"chief": [A], "ps": [C]},
        ("ps", 0),
        [f"note: ps:0 is not needed: {NO_PS}"],
        strategy=MWMS,
    ),
    Row(
        "a worker does not see the evaluator",
        {"chief": [A], "worker": [B], "evaluator": [C]},
        worker(),
        {"chief": [A], "worker": [B]},
        ("worker", 0),
        [f"change: cluster.evaluator is left out: {ALONE}"],
    ),
    Row(
        "nor does the chief under parameter_server",
        {"chief": [A], "worker": [B], "ps": [C], "evaluator": [D]},
        {"type": "chief", "index": 0},
        {"chief": [A], "worker": [B], "ps": [C]},
        ("chief", 0),
        [f"change: cluster.evaluator is left out: {ALONE}"],
        resolved=PSS,
    ),
    Row(
        "the evaluator sees itself alone",
        {"chief": [A], "worker": [B], "evaluator": [C]},
        {"type": "evaluator", "index": 0},
        {"evaluator": [C]},
        ("evaluator", 0),
        ["change: the cluster is cut to the evaluator: it is part of no strategy"],
    ),
    Row(
        "an evaluator that is not listed",
        {"chief": [A], "worker": [B]},
        {"type": "evaluator", "index": 0},
        {},
        ("evaluator", 0),
        ["change: the cluster is cut to the evaluator: it is part of no strategy"],
    ),
    Row(
        "IPv6",
        {"chief": ["[fd00::1]:2222"], "worker": ["[fd00::2]:2222"]},
        worker(),
        {"chief": ["[fd00::1]:2222"], "worker": ["[fd00::2]:2222"]},
        ("worker", 0),
        [],
    ),
    Row(
        "types are listed in our order",
        {"ps": [A], "worker": [B], "chief": [C]},
        worker(),
        {"chief": [C], "worker": [B], "ps": [A]},
        ("worker", 0),
        [],
        resolved=PSS,
    ),
]


def text_of(cluster: object, task: object) -> str:
    value = {"cluster": cluster}
    return json.dumps(value if task is None else {**value, "task": task})


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.promise)
def test_normalised(row: Row) -> None:
    """Each form becomes the one TensorFlow takes; every change and finding is said in full."""
    config = TfConfig.parse(text_of(row.cluster, row.task), row.strategy)
    said = json.loads(config.to_json())
    assert list(said["cluster"].items()) == list(row.becomes.items())
    assert said.get("task") == (
        {"type": row.task_becomes[0], "index": row.task_becomes[1]} if row.task_becomes else None
    )
    assert [str(finding) for finding in config.findings] == row.said
    assert config.strategy is row.resolved


def one_of_types(got: str) -> str:
    return f"task.type: expected one of chief, worker, ps, evaluator, master, got {got}"


NEEDS = "missing: parameter_server needs a chief, a worker and a ps"
GAP = "is missing: TensorFlow errors or hangs on a sparse cluster; list the address of every task"
KNOWN = "(expected one of chief, worker, ps, evaluator, master)"

REFUSED: list[tuple[str, object, object, list[str]]] = [
    (
        "master and chief with different addresses",
        {"master": [A], "chief": [B], "worker": [C]},
        worker(),
        [f"cluster: both master ({A}) and chief ({B}) are given and differ; expected one of them"],
    ),
    (
        "no task",
        {"worker": [A]},
        None,
        ['task: missing: expected {"type": …, "index": …} beside the cluster'],
    ),
    ("a list for the task", {"worker": [A]}, [], ["task: expected an object, got a list"]),
    ("no type", {"worker": [A]}, {"index": 0}, [one_of_types("nothing")]),
    (
        "no index",
        {"worker": [A]},
        {"type": "worker"},
        ["task.index: expected an integer ≥ 0, got nothing"],
    ),
    (
        "a negative index",
        {"worker": [A]},
        worker(-1),
        ["task.index: expected an integer ≥ 0, got -1"],
    ),
    (
        "a boolean index",
        {"worker": [A]},
        worker(True),
        ["task.index: expected an integer ≥ 0, got True"],
    ),
    (
        "a fractional index",
        {"worker": [A]},
        worker(0.5),
        ["task.index: expected an integer ≥ 0, got 0.5"],
    ),
    (
        "a word as index",
        {"worker": [A]},
        worker("first"),
        ["task.index: expected an integer ≥ 0, got 'first'"],
    ),
    (
        "an index outside the cluster",
        {"worker": [A, B]},
        worker(2),
        ["task.index: worker:2 is not in the cluster, which has 2 worker"],
    ),
    (
        "a task of a type that is not listed",
        {"worker": [A]},
        {"type": "chief", "index": 0},
        ["task.index: chief:0 is not in the cluster, which has 0 chief"],
    ),
    (
        "a second evaluator",
        {"worker": [A]},
        {"type": "evaluator", "index": 1},
        ["task.index: evaluator:1 is not in the cluster, which has 0 evaluator"],
    ),
    (
        "an unknown task type",
        {"worker": [A]},
        {"type": "wroker", "index": 0},
        [one_of_types("'wroker', did you mean 'worker'?")],
    ),
    (
        "an unknown type in the cluster",
        {"worker": [A], "boss": [B]},
        worker(),
        [f"cluster.boss: unknown task type {KNOWN}"],
    ),
    (
        "a mistyped type in the cluster",
        {"chief": [A], "workers": [B]},
        worker(),
        [f"cluster.workers: unknown task type, did you mean 'worker'? {KNOWN}"],
    ),
    (
        "a gap in the indices",
        {"worker": {"0": A, "2": B}},
        worker(),
        [f"cluster.worker: expected every index from 0 to 2, 1 {GAP}"],
    ),
    (
        "Kubeflow's sparse form",
        {"chief": [A], "worker": {"1": B}},
        worker(1),
        [f"cluster.worker: expected every index from 0 to 1, 0 {GAP}"],
    ),
    (
        "an index that is no number",
        {"worker": {"first": A}},
        worker(),
        ["cluster.worker.first: expected a task index (0, 1, …) as the key"],
    ),
    (
        "an index that stands twice",
        {"worker": {"0": A, "00": B}},
        worker(),
        ["cluster.worker.00: the index 0 stands twice"],
    ),
    (
        "duplicate addresses",
        {"chief": [A], "worker": [B, A]},
        worker(),
        [f"cluster.worker[1]: {A} is the address of cluster.chief[0] already"],
    ),
    (
        "two chiefs",
        {"chief": [A, B]},
        {"type": "chief", "index": 0},
        ["cluster.chief: expected at most one, got 2"],
    ),
    (
        "two evaluators",
        {"worker": [A], "evaluator": [B, C]},
        worker(),
        ["cluster.evaluator: expected at most one, got 2"],
    ),
    (
        "no port, a wrong port, a wrong type",
        {"worker": ["h", "h:99999", "h:x", 7, None, ["h:1"], "::1"]},
        worker(),
        [
            "cluster.worker[0]: expected host:port, got 'h' without a port",
            "cluster.worker[1]: expected a port in 1..65535, got '99999' in 'h:99999'",
            "cluster.worker[2]: expected a port in 1..65535, got 'x' in 'h:x'",
            "cluster.worker[3]: expected host:port, got a number",
            "cluster.worker[4]: expected host:port, got null",
            "cluster.worker[5]: expected host:port, got a list",
            "cluster.worker[6]: expected [::1]:port, got '::1'",
        ],
    ),
    (
        "a string for a list",
        {"worker": A},
        worker(),
        ["cluster.worker: expected a list of host:port, got a string"],
    ),
    (
        "a list for the cluster",
        [A],
        worker(),
        ["cluster: expected an object of task types, got a list"],
    ),
    (
        "parameter_server without a chief and a worker",
        {"ps": [A]},
        {"type": "ps", "index": 0},
        [f"cluster.chief: {NEEDS}", f"cluster.worker: {NEEDS}"],
    ),
    (
        "several things at once",
        {"master": [A], "chief": [B], "boss": [C], "ps": "x"},
        {"type": "chef", "index": "one"},
        [
            f"cluster.boss: unknown task type {KNOWN}",
            "cluster.ps: expected a list of host:port, got a string",
            f"cluster: both master ({A}) and chief ({B}) are given and differ; expected one of "
            "them",
            one_of_types("'chef', did you mean 'chief'?"),
            "task.index: expected an integer ≥ 0, got 'one'",
        ],
    ),
]


def problems_of(text: str, strategy: Strategy = AUTO) -> list[str]:
    with pytest.raises(TfConfigError) as raised:
        TfConfig.parse(text, strategy)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("cluster", "task", "problems"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(cluster: object, task: object, problems: list[str]) -> None:
    """What no TensorFlow process could use is refused, every problem with its key path."""
    assert problems_of(text_of(cluster, task)) == problems


@pytest.mark.parametrize(
    ("cluster", "task", "strategy", "problems"),
    [
        (
            {"chief": [A], "worker": [B]},
            worker(),
            PSS,
            [f"cluster.ps: {NEEDS}"],
        ),
        (
            {"ps": [A]},
            {"type": "ps", "index": 0},
            MWMS,
            ["cluster: expected a chief or a worker: nobody would train"],
        ),
    ],
)
def test_refused_under_a_strategy(
    cluster: object, task: object, strategy: Strategy, problems: list[str]
) -> None:
    """A cluster that cannot train under the chosen strategy is refused."""
    assert problems_of(text_of(cluster, task), strategy) == problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1 column 1: not JSON: Expecting value"),
        ('{"cluster":\n {x}}', "line 2 column 3: not JSON: Expecting property name"),
        ("chief", "line 1 column 1: not JSON: Expecting value"),
        ("[]", "expected a JSON object, got a list"),
        ("null", "expected a JSON object, got null"),
        ("3", "expected a JSON object, got a number"),
        ("true", "expected a JSON object, got a boolean"),
        ('"x"', "expected a JSON object, got a string"),
        ('{"cluster": {}, "cluster": {}}', "cluster: this key stands twice in one object"),
        ("[" * 100_000, "not JSON that can be read: "),
        ('{"task": {"index": ' + "9" * 5000 + "}}", "not JSON that can be read: "),
        (text_of({"worker": [A]}, worker("9" * 5000)), "task.index: expected an integer ≥ 0"),
        (text_of({"worker": {"9" * 5000: A}}, worker()), "cluster.worker.999"),
    ],
)
def test_what_is_no_object_is_refused(text: str, problem: str) -> None:
    """Text that is not one readable JSON object is refused, with where it breaks."""
    assert problems_of(text)[0].startswith(problem)


def test_other_keys_are_kept() -> None:
    """Keys that TensorFlow does not own are kept in their order, inside `task` too."""
    given = {
        "environment": "cloud",
        "cluster": {"master": [A]},
        "rpc_layer": "grpc",
        "task": {"cloud": "x", "type": "master", "index": 0, "trial": "3"},
        "job": {"args": ["--é"], "none": None},
    }
    assert json.loads(TfConfig.parse(json.dumps(given)).to_json()) == {
        "cluster": {"chief": [A]},
        "task": {"type": "chief", "index": 0, "cloud": "x", "trial": "3"},
        "environment": "cloud",
        "rpc_layer": "grpc",
        "job": {"args": ["--é"], "none": None},
    }


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, False),
        ({"TF_CONFIG": ""}, False),
        ({"TF_CONFIG": "  \n"}, False),
        ({"TF_CONFIG": text_of({"worker": [A]}, worker())}, True),
    ],
)
def test_read_from_the_environment(environ: dict[str, str], found: bool) -> None:
    """An unset or blank $TF_CONFIG is none."""
    assert (TfConfig.from_environ(environ) is not None) is found


CLUSTER = {
    TaskType.CHIEF: (A,),
    TaskType.WORKER: (B, C),
    TaskType.PS: (D,),
    TaskType.EVALUATOR: (E,),
}


@pytest.mark.parametrize(
    ("task", "strategy", "visible", "role", "is_chief"),
    [
        (CHIEF, PSS, ["chief", "worker", "ps"], Role.COORDINATE, True),
        (TaskId(TaskType.WORKER, 1), PSS, ["chief", "worker", "ps"], Role.SERVE, False),
        (TaskId(TaskType.PS, 0), PSS, ["chief", "worker", "ps"], Role.SERVE, False),
        (EVALUATOR, PSS, ["evaluator"], Role.EVALUATE, False),
        (CHIEF, MWMS, ["chief", "worker"], Role.TRAIN, True),
        (TaskId(TaskType.WORKER, 0), MWMS, ["chief", "worker"], Role.TRAIN, False),
        (EVALUATOR, MWMS, ["evaluator"], Role.EVALUATE, False),
    ],
)
def test_what_each_task_is_told(
    task: TaskId, strategy: Strategy, visible: list[str], role: Role, is_chief: bool
) -> None:
    """A task of a whole cluster sees what its strategy lets it see, and that is normal already."""
    config = TfConfig.for_task(CLUSTER, task, strategy)
    assert [task_type.value for task_type in config.cluster] == visible
    assert (config.role, config.is_chief) == (role, is_chief)
    assert config.address(task) == CLUSTER[task.type][task.index]
    again = TfConfig.parse(config.to_json(), strategy)
    assert again.cluster == config.cluster
    assert again.findings == ()


PLATFORM = {"master": [A], "ps": [A.replace("2222", "2223")], "worker": [B, C]}


@pytest.mark.parametrize("strategy", [MWMS, PSS])
@pytest.mark.parametrize(
    ("index", "here", "meant"),
    [
        (0, A, CHIEF),  # counted from the master, as a platform's documents have it
        (1, B, TaskId(TaskType.WORKER, 0)),
        (2, C, TaskId(TaskType.WORKER, 1)),
        (0, B, TaskId(TaskType.WORKER, 0)),  # counted as listed, as its SDK has it
        (1, C, TaskId(TaskType.WORKER, 1)),
        (0, D, TaskId(TaskType.WORKER, 0)),  # behind a bridge nobody can tell
    ],
)
def test_workers_counted_from_the_master(
    strategy: Strategy, index: int, here: str, meant: TaskId
) -> None:
    """A worker's index means the address that is this machine's, where there is a master."""
    text = json.dumps({"cluster": PLATFORM, "task": worker(index)})
    host = here.partition(":")[0]
    found = TfConfig.parse(text, strategy, lambda each: each == host)
    assert found.task == meant
    said = [finding.what for finding in found.findings]
    changed = meant != TaskId(TaskType.WORKER, index)
    assert (f"task worker:{index} is now {meant}" in said) == changed
    assert TfConfig.parse(found.to_json(), strategy, lambda each: each == host)[:3] == found[:3]


def test_a_machine_that_is_all_of_them() -> None:
    """Where all addresses are one machine's, indices are as listed; so they are in chief form."""
    text = json.dumps({"cluster": PLATFORM, "task": worker(0)})
    assert TfConfig.parse(text, MWMS, lambda _: True).task == TaskId(TaskType.WORKER, 0)
    text = text.replace("master", "chief")
    only_chief = TfConfig.parse(text, MWMS, lambda host: A.startswith(host))
    assert only_chief.task == TaskId(TaskType.WORKER, 0)

    def nobody_asks(host: str) -> bool:
        raise AssertionError(host)

    of_ps = json.dumps({"cluster": PLATFORM, "task": {"type": "ps", "index": 0}})
    assert TfConfig.parse(of_ps, PSS, nobody_asks).task == TaskId(TaskType.PS, 0)


def test_worker_0_is_chief_without_one() -> None:
    """Where no chief is listed worker 0 is it (TensorFlow's rule); a process alone is its own."""
    cluster = {TaskType.WORKER: (A, B)}
    chiefs = [
        TfConfig.for_task(cluster, TaskId(TaskType.WORKER, index), MWMS).is_chief
        for index in (0, 1)
    ]
    assert chiefs == [True, False]
    assert TfConfig.parse("{}").is_chief
    assert TfConfig.parse("{}").role is None


# properties

addresses = st.builds(
    "10.1.{}.{}:{}".format, *(st.integers(1, 3), st.integers(0, 9)), st.sampled_from([2222, 2223])
)
listed = st.lists(addresses, max_size=3, unique=True)
indexed = listed.map(lambda each: {str(i): address for i, address in enumerate(each)})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | addresses,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
type_names = st.sampled_from(["chief", "master", "worker", "ps", "evaluator"])
likely = st.fixed_dictionaries(
    {"cluster": st.dictionaries(type_names, listed | indexed, max_size=5)},
    optional={
        "task": st.fixed_dictionaries(
            {"type": type_names, "index": st.integers(0, 2) | st.sampled_from(["0", "1"])},
            optional={"cloud": json_values},
        ),
        "environment": json_values,
        "rpc_layer": st.just("grpc"),
    },
)
broken = st.fixed_dictionaries(
    {},
    optional={
        "cluster": json_values | st.dictionaries(type_names | st.text(max_size=3), json_values),
        "task": json_values | st.dictionaries(st.sampled_from(["type", "index"]), json_values),
        "environment": json_values,
    },
)
strategies = st.sampled_from(list(Strategy))


@given(likely, strategies)
def test_normalising_again_changes_nothing(value: object, strategy: Strategy) -> None:
    """What was accepted once reads back as the same JSON, and no change is found in it."""
    try:
        once = TfConfig.parse(json.dumps(value), strategy)
    except TfConfigError:
        return
    again = TfConfig.parse(once.to_json(), strategy)
    assert again.to_json() == once.to_json()
    assert [finding for finding in again.findings if finding.kind == "change"] == []


@given(likely, strategies)
def test_no_dangerous_cluster_comes_out(value: object, strategy: Strategy) -> None:
    """What hangs or crashes TensorFlow never comes out: master, an empty type, a stray ps."""
    try:
        config = TfConfig.parse(json.dumps(value), strategy)
    except TfConfigError:
        return
    said = json.loads(config.to_json())
    assert "master" not in said["cluster"]
    assert all(said["cluster"].values())
    is_evaluator = config.task == EVALUATOR
    assert set(said["cluster"]) <= {"evaluator"} or not is_evaluator
    assert "evaluator" not in said["cluster"] or is_evaluator
    if config.role is Role.TRAIN:
        assert "ps" not in said["cluster"]
    each = [address for addresses in said["cluster"].values() for address in addresses]
    assert len(each) == len(set(each))


@given(st.one_of(broken, likely, json_values).map(json.dumps) | st.text(), strategies)
def test_no_text_fails_otherwise(text: str, strategy: Strategy) -> None:
    """Whatever a TF_CONFIG holds, it is read or refused as TfConfigError, with words."""
    try:
        TfConfig.parse(text, strategy).to_json()
    except TfConfigError as error:
        assert error.problems
        assert all(problem.what for problem in error.problems)


def test_importing_is_light() -> None:
    """`import launcher.tf_config` brings in nothing heavy: it fits into any training process."""
    heavy = {
        "tensorflow",
        "keras",
        "numpy",
        "docker",
        "paramiko",
        "yaml",
        "absl",
        "json",
        "ipaddress",
        "dataclasses",
        "inspect",
        "difflib",
        "subprocess",
        "socket",
        "threading",
        "pathlib",
        "logging",
        "argparse",
        "launcher.config",
        "launcher.plan",
    }
    program = "import launcher.tf_config, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert heavy & set(ran.stdout.split()) == set()
