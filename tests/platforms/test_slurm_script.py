"""What Slurm is asked for, and how steps are started: text against text, without any Slurm."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from launcher import config
from launcher.cluster import ClusterSpec, Task
from launcher.container import Container
from launcher.errors import InputError
from launcher.layout import Job
from launcher.placement import Moves, moved
from launcher.plan import plan
from launcher.platforms import Request
from launcher.platforms.slurm import Slurm
from launcher.platforms.slurm.allocation import Allocation, Node, step_environ
from launcher.platforms.slurm.options import sbatch_environ
from launcher.platforms.slurm.script import gpus_a_node
from launcher.platforms.slurm.settings import KEPT, Kept, Runtime, Settings, read_kept
from launcher.platforms.slurm.step import SCRIPT, Places, apptainer_image, binds, enroot_image
from launcher.task import TaskId, TaskType
from tests.conftest import Launching, until

JOB = Job("train", "/home/me/train.py", ("--epochs", "3"), "/home/me")
RUN = "lab-1"


def spec_of(text: str) -> ClusterSpec:
    return config.parse(text, elsewhere=True)


def request(text: str, run_dir: str = "/home/me/runs/lab-1") -> Request:
    return Request(spec_of(text), JOB, RUN, run_dir)


def prepared(text: str, run_dir: str = "/home/me/runs/lab-1", **settings: Any) -> Any:
    settings.setdefault("python", "/opt/venv/bin/python")
    return Slurm(Settings(**settings), {}).prepare(request(text, run_dir))


def options(text: str, **settings: Any) -> list[str]:
    script = prepared(text, **settings).script.splitlines()
    return [line.removeprefix("#SBATCH ") for line in script if line.startswith("#SBATCH")]


def test_the_script() -> None:
    """It says in Slurm's own words what cluster.yaml says, and ends in one readable command."""
    text = "tasks: {chief: {gpus: 1}, worker: {count: 3, gpus: 1}}\ntimeouts: {grace_s: 60}\n"
    made = prepared(
        text,
        time="01:00:00",
        partition="gpu",
        account="lab",
        nodes=2,
        options=("--exclusive", "--qos=long"),
        setup=("module load cuda",),
    )
    assert (
        made.script
        == """\
#!/bin/bash
# Run lab-1 of launch. Its folder is one that this machine and the nodes
# share; submitted again (sbatch of this file) the run goes on from its last checkpoint.
#SBATCH --job-name=lab-1
#SBATCH --comment=launch:lab-1
#SBATCH --chdir=/home/me
#SBATCH --output=/home/me/runs/lab-1/slurm-%j.out
#SBATCH --open-mode=append
#SBATCH --time=01:00:00
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --nodes=2
#SBATCH --ntasks=4
#SBATCH --gpus-per-task=1
#SBATCH --signal=B:TERM@90
#SBATCH --requeue
#SBATCH --exclusive
#SBATCH --qos=long

module load cuda
# The launcher has the place of this shell: Slurm sends SIGTERM to it alone when the job
# is near its end, and to everything when it ends it.
exec /opt/venv/bin/python -m launcher submit inside /home/me/runs/lab-1
"""
    )
    assert made.command == ("sbatch", "--parsable", "/home/me/runs/lab-1/job.sh")
    assert made.text().startswith(made.script) and made.text().endswith(" ".join(made.command))


@pytest.mark.parametrize(
    ("text", "settings", "asked"),
    [
        ("tasks: {worker: {count: 2}}", {}, []),
        ("tasks: {worker: {count: 2, gpus: 4}}", {}, ["--gpus-per-task=4"]),
        ("tasks: {chief: {gpus: 1}, worker: {count: 2, gpus: 1}, ps: {}}", {}, ["--gpus=3"]),
        (
            "tasks: {chief: {gpus: 1}, worker: {count: 2, gpus: 2}, ps: {}}",
            {"nodes": 2},
            ["--nodes=2", "--gpus-per-node=3"],
        ),
        (
            "cpus: 2.5\nmemory: 6g\ntasks: {worker: {count: 2}}",
            {},
            ["--cpus-per-task=3", "--mem-per-cpu=2048M"],
        ),
        ("tasks: {worker: {}}", {"requeue": False}, ["--no-requeue"]),
    ],
)
def test_what_tasks_need(text: str, settings: dict[str, Any], asked: list[str]) -> None:
    """GPUs, cores, memory and nodes are asked for as Slurm counts them."""
    usual = ("--job-name", "--comment", "--chdir", "--output", "--open-mode", "--ntasks",
             "--signal", "--requeue")  # fmt: skip
    assert [o for o in options(text, **settings) if not o.startswith(usual)] == asked


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("", {"options": ("--time=5",)}, "--time=5: the launcher itself sets it (from the key"),
        ("", {"options": ("-N2",)}, "-N2: the launcher itself sets it (from the key 'platforms"),
        ("", {"options": ("--array=1-9",)}, "--array=1-9: the launcher itself sets it"),
        ("", {"options": ("exclusive",)}, "expected one option"),
        ("", {"options": ("--a\nrm -rf /",)}, "expected one option"),
        ("", {"options": ("--output /tmp/x",)}, "expected one option"),
        ("", {"options": ("--exclusive --signal=B:KILL@1",)}, "expected one option"),
        ("", {"options": ("--comment='x",)}, "expected one option"),
        ("", {"options": ("--",)}, "expected one option"),
        ("", {"options": ("--sig=B:KILL@5",)}, "--sig=B:KILL@5: the launcher itself sets it"),
        ("", {"options": ("--'sig'nal=B:KILL@5",)}, "the launcher itself sets it"),
        ("", {"options": ("--node=2",)}, "the launcher itself sets it (from the key 'platforms"),
        ("", {"options": ("-HN2",)}, "-HN2: the launcher itself sets it (from the key 'platforms"),
        ("", {"options": ("--test-only",)}, "--test-only: with it sbatch "),
        ("", {"options": ("-W",)}, "-W: with it sbatch "),
        ("", {"options": ("--wai",)}, "--wai: with it sbatch "),
        ("", {"options": ("-Mother",)}, "-Mother: with it sbatch "),
        ("", {"partition": "gpu\n#SBATCH"}, "platforms.slurm.partition: expected one word"),
        ("", {"partition": 'a b"c'}, "platforms.slurm.partition: expected one word"),
        ("", {"setup": ("#SBATCH --output=/x",)}, "platforms.slurm.setup: sbatch would take"),
        ("", {"account": "a b"}, "platforms.slurm.account: expected one word"),
        ("", {"time": "5'"}, "platforms.slurm.time: expected one word"),
        ("", {"container": Runtime.PYXIS}, "pyxis needs the key 'image'"),
        ("image: img\n", {}, "what runs img? expected one of apptainer, singularity, pyxis"),
        ("secrets: {key: {env: KEY}}\n", {}, "secrets: Slurm has no place for them"),
        ("volumes: [{path: '/a:b', at: /c}]\nimage: i\n", {"container": Runtime.APPTAINER},
         "/a:b: apptainer takes no `:` or `,`"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(text: str, settings: dict[str, Any], said: str) -> None:
    """What would tear the script, or contradict it, is refused with what was expected."""
    with pytest.raises(InputError) as refused:
        prepared(f"{text}tasks: {{worker: {{}}}}\n", **settings)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "option", ["--mem=0", "--exclusive", '--constraint="a&b"', "--wait-all-nodes=1", "-qlong", "-H",
               "--mail-type=END", "--nodelist=n1", "--ntasks-per-node=2", "--gres=gpu:1"],
)  # fmt: skip
def test_what_else_may_be_asked_for(option: str) -> None:
    """Slurm's other options stand in the script as they were given."""
    assert options("tasks: {worker: {}}\n", options=(option,))[-1] == option


def test_variables_override_nothing() -> None:
    """Of sbatch's variables those stay that fill in what the script leaves open."""
    names = ("SIGNAL", "OUTPUT", "TIMELIMIT", "ARRAY_INX", "ACCOUNT", "PARTITION", "QOS", "WAIT",
             "MEM_PER_NODE", "CLUSTERS", "CONSTRAINT", "REQUEUE", "NO_REQUEUE")  # fmt: skip
    given = {**{f"SBATCH_{name}": "x" for name in names}, "PATH": "/bin", "SLURM_CLUSTERS": "y"}
    made = options("tasks: {worker: {}}\n", time="5", account="lab", options=("-qlong",))
    kept = {"SBATCH_PARTITION": "x", "SBATCH_CONSTRAINT": "x", "PATH": "/bin"}
    assert sbatch_environ(given, made) == kept


def test_uneven_gpus_need_a_number_of_nodes() -> None:
    """Slurm would spread them as it likes, and a task might find too few on any node."""
    with pytest.raises(InputError, match=r"platforms\.slurm\.nodes: tasks with different numbers"):
        prepared("tasks: {chief: {gpus: 1}, worker: {gpus: 2}}\n")


texts = st.text()  # of all characters but surrogates, which are none


@given(
    args=st.lists(texts, max_size=3),
    value=texts,
    grace_s=st.floats(0, allow_nan=False, allow_infinity=False),
)
@example(args=["a\x7f", "\x85\u2028", "\ufeff\ufffe"], value="null", grace_s=1e-05)
def test_the_job_is_told_what_was_asked(args: list[str], value: str, grace_s: float) -> None:
    """Whatever an argument or a variable holds, the job reads it as it was given."""
    spec = spec_of("env: {A: b}\ntasks: {worker: {}}\n")
    spec = spec._replace(env={"A": value}, timeouts=spec.timeouts._replace(grace_s=grace_s))
    job = JOB._replace(args=tuple(args))
    made = Kept(RUN, job, spec, Runtime.PYXIS, value)
    with TemporaryDirectory() as folder:
        (Path(folder) / KEPT).write_text(json.dumps(made.to_dict()), encoding="utf-8")
        kept = read_kept(folder)
    assert (kept.job, kept.image, kept.spec.env) == (job, value, {"A": value})
    assert kept.spec.timeouts == spec.timeouts


def test_what_is_no_text() -> None:
    """Bytes that are not UTF-8 are refused before a job waits for its turn with them."""
    asked = request("tasks: {worker: {}}\n")
    asked = asked._replace(job=JOB._replace(args=("--name=\udcff",)))
    with pytest.raises(InputError, match=r"argument '--name=.udcff': .*expected UTF-8"):
        Slurm(Settings(), {}).prepare(asked)


# placing


def allocation(*nodes: Node) -> Allocation:
    return Allocation("7", nodes, {})


def test_tasks_stand_where_slurm_counts_them() -> None:
    """As many on each node as it has slots, those with GPUs where GPUs are, none given twice."""
    spec = spec_of("tasks: {chief: {gpus: 1}, worker: {count: 2, gpus: 1}, ps: {}, evaluator: {}}")
    given = allocation(
        Node("n1", "10.0.0.1", 3, ("0", "1")), Node("n2", "10.0.0.2", 2, ("3",), frozenset({1}))
    )
    placed = given.placed(spec)
    made = plan(placed, JOB, RUN, given.facts(5), run_dir="/r", python="python")
    assert [(str(c.task), c.host, c.gpus) for c in made.tasks] == [
        ("chief:0", "n1", ("0",)),
        ("worker:0", "n1", ("1",)),
        ("worker:1", "n2", ("3",)),
        ("ps:0", "n1", ()),
        ("evaluator:0", "n2", ()),
    ]
    assert len({c.address for c in made.tasks}) == 5
    assert {c.address.host for c in made.tasks} == {"10.0.0.1", "10.0.0.2"}


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    spare=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    data=st.data(),
)
def test_tasks_fit_where_the_script_counted_them(
    sizes: list[int], spare: list[int], data: st.DataObject
) -> None:
    """With as many GPUs on each node as were asked for, or more, each task finds its own there."""
    numbers = st.lists(st.integers(0, 12), min_size=len(spare), max_size=len(spare))
    slots = data.draw(numbers, label="slots")
    ids = (TaskId(TaskType.WORKER, i) for i in range(len(sizes)))
    tasks = tuple(Task(each, None, None, n, {}, ()) for each, n in zip(ids, sizes, strict=True))
    spec = spec_of("tasks: {worker: {}}")._replace(tasks=tasks)
    asked = gpus_a_node(spec.tasks, len(spare))
    nodes = [
        Node(f"n{i}", f"10.0.0.{i}", slots[i], tuple(map(str, range(asked + more))))
        for i, more in enumerate(spare)
    ]
    placed = allocation(*nodes).placed(spec)
    assert [task.id for task in placed.tasks] == [task.id for task in tasks]
    for node in nodes:
        on = [task.gpus for task in placed.tasks if task.host == node.name]
        assert sum(on) <= len(node.gpus)


def test_who_lives_keeps_its_gpus() -> None:
    """What starts elsewhere finds room beside those that stay, and none on a lost node."""
    spec = spec_of("tasks: {chief: {gpus: 1}, worker: {gpus: 1}, evaluator: {gpus: 1}}")
    nodes = [Node(f"n{i}", f"10.0.0.{i}", 2, ("0", "1", "2")) for i in (1, 2)]
    job = allocation(*nodes)
    made = plan(job.placed(spec), JOB, RUN, job.facts(3), run_dir="/runs/lab-1", python="/py")
    chief, worker, evaluator = made.tasks
    assert (chief.host, worker.host, evaluator.host) == ("n1", "n2", "n1")

    def again(*staying: Container, lost: str) -> Mapping[str, Container]:
        starting = {c.task for c in made.tasks} - {c.task for c in staying}
        moves = Moves(frozenset(starting), frozenset([lost]), staying)
        placed = job.placed(moved(spec, moves))
        return {
            str(c.task): c
            for c in plan(placed, JOB, RUN, job.facts(3), run_dir="/runs/lab-1", python="/py").tasks
        }

    found = again(evaluator, lost="n2")
    assert found["evaluator:0"] == evaluator
    assert {c.host for c in found.values()} == {"n1"}
    assert len({gpu for c in found.values() for gpu in c.gpus}) == 3
    with pytest.raises(InputError, match="n1 is lost, and chief:0 is to find another place first"):
        again(chief, worker, lost="n1")


def test_ports_that_are_taken_are_not_given() -> None:
    """Of a node's free ports there are more than tasks, and none that somebody has."""
    taken = frozenset(range(20000, 31990))
    ports = allocation(Node("n1", "a", 1, (), taken)).facts(3)["n1"].free_ports
    assert set(ports) == set(range(31990, 32000))


def test_steps_know_nothing_of_the_jobs_options() -> None:
    """What Slurm has set for the job would be options to srun; the user's own stays."""
    given = {"SLURM_JOB_ID": "7", "SLURM_CONF": "/c", "SLURM_MEM_PER_CPU": "5", "SLURM_NTASKS": "9",
             "CUDA_VISIBLE_DEVICES": "0", "TF_CONFIG": "{}", "PATH": "/bin"}  # fmt: skip
    kept = {"SLURM_JOB_ID": "7", "SLURM_CONF": "/c", "PATH": "/bin"}
    assert step_environ(given) == kept


# steps


def places(text: str, container: Runtime | None, image: str = "") -> Places:
    spec = spec_of(text)
    kept = prepared(text, container=container).kept
    spec = spec._replace(python=spec.python or ("python" if container else None))
    given = allocation(Node("n1", "10.0.0.1", 2, ("2",)))
    made = plan(given.placed(spec), JOB, RUN, given.facts(1), run_dir="/runs/lab-1", python="/py")
    return Places(made, container, image or kept.image or "", binds(kept, "/runs/lab-1"), True)


SRUN = ["srun", "--overlap", "--mem=0", "--mpi=none", "--input=none", "--quiet", "--nodes=1",
        "--ntasks=1", "--nodelist=n1", "--job-name=worker-0.2", "--chdir=/home/me",
        "--cpu-bind=none"]  # fmt: skip
TASK = ["/home/me/train.py", "--epochs", "3"]
STEP = ["/bin/sh", "/runs/lab-1/step.sh", "2"]


def test_a_step_of_a_process() -> None:
    """One task on its node, sharing the job's resources; its GPU is told to its shell."""
    made = places("tasks: {worker: {gpus: 1}}", None)
    assert list(made.argv(made.plan.tasks[0], 2)) == [*SRUN, *STEP, "/py", *TASK]
    assert "TF_CONFIG" in made.env(made.plan.tasks[0])


IMAGE = (
    "image: registry.lab/t:1\ndata: {path: /nfs/d}\nvolumes: [{path: /nfs/s, at: /scratch}]\n"
    "env: {A: 'x,y'}\ntasks: {worker: {gpus: 1}}"
)


def test_a_step_in_apptainer() -> None:
    """The image sees the run's folders at their own paths, and the environment of the task."""
    made = places(IMAGE, Runtime.APPTAINER)
    assert list(made.argv(made.plan.tasks[0], 2)) == [
        *(*SRUN, *STEP, "apptainer", "exec", "--cleanenv", "--no-home", "--pwd=/home/me"),
        *("--bind=/runs/lab-1:/runs/lab-1", "--bind=/home/me:/home/me"),
        *("--bind=/nfs/d:/nfs/d:ro", "--bind=/nfs/s:/scratch"),
        *("--nv", "docker://registry.lab/t:1", "python", *TASK),
    ]
    env = made.env(made.plan.tasks[0])
    assert env["APPTAINERENV_A"] == "x,y" and "worker" in env["APPTAINERENV_TF_CONFIG"]


def test_a_step_in_singularity_from_a_file() -> None:
    """The older name of the program; an image in a file is taken as it is."""
    made = places(IMAGE, Runtime.SINGULARITY, "/nfs/t.sif")
    words = list(made.argv(made.plan.tasks[0], 2))
    assert words[words.index("singularity") :][-6:] == ["--nv", "/nfs/t.sif", "python", *TASK]
    assert made.env(made.plan.tasks[0])["SINGULARITYENV_A"] == "x,y"


def test_a_step_by_pyxis() -> None:
    """srun itself makes the container, in which the step's shell runs."""
    made = places(IMAGE, Runtime.PYXIS)
    assert list(made.argv(made.plan.tasks[0], 2)) == [
        *(*SRUN, "--container-image=registry.lab#t:1", "--container-workdir=/home/me"),
        "--container-mounts=/runs/lab-1:/runs/lab-1,/home/me:/home/me,/nfs/d:/nfs/d:ro,"
        "/nfs/s:/scratch",
        *("--no-container-mount-home", *STEP, "python", *TASK),
    ]


def packed(text: str, *, cwd: str = "/home/me", **settings: Any) -> Any:
    asked = request(text)._replace(job=JOB._replace(cwd=cwd), code_in_image=True)
    return Slurm(Settings(**settings), {}).prepare(asked)


def test_a_step_whose_image_has_the_code() -> None:
    """The image's script runs, not that of the nodes, and no folder of theirs hides it."""
    text = "image: registry.lab/t:1\ncode: /home/me\ntasks: {worker: {}}\n"
    kept = packed(text, container=Runtime.APPTAINER, cwd="/home/me/here").kept
    assert kept.job.script == "/data/train.py"
    assert [source for source, _, _ in binds(kept, "/r")] == ["/r", "/home/me/here"]


def test_what_would_run_instead_of_a_packed_image() -> None:
    """Neither another image nor a folder of the nodes takes the place of what was packed."""
    text = "image: registry.lab/t:1\ntasks: {worker: {}}\n"
    with pytest.raises(InputError, match=r"platforms\.slurm\.image: is another image"):
        packed(text, container=Runtime.APPTAINER, image="/nfs/old.sif")
    with pytest.raises(InputError, match="/data: would hide /data of the image"):
        packed(text, container=Runtime.APPTAINER, cwd="/data")


@pytest.mark.parametrize(
    ("image", "apptainer", "enroot"),
    [
        ("tensorflow/tensorflow:2.21", "docker://tensorflow/tensorflow:2.21",
         "tensorflow/tensorflow:2.21"),
        ("reg:5000/t@sha256:0", "docker://reg:5000/t@sha256:0", "reg:5000#t@sha256:0"),
        ("localhost/t", "docker://localhost/t", "localhost#t"),
        ("/nfs/t.sqsh", "/nfs/t.sqsh", "/nfs/t.sqsh"),
        ("oras://reg/t:1", "oras://reg/t:1", "oras://reg/t:1"),
    ],
)  # fmt: skip
def test_how_images_are_called(image: str, apptainer: str, enroot: str) -> None:
    """Docker's name of an image in the words of Apptainer and of enroot."""
    assert (apptainer_image(image), enroot_image(image)) == (apptainer, enroot)


class Shell(NamedTuple):
    """The shell of a step, without Slurm."""

    process: "subprocess.Popen[str]"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def send(self, *names: str) -> bool:
        """Send signals; whether it has ended."""
        for name in names:
            self.process.send_signal(signal.Signals[f"SIG{name}"])
        return self.process.poll() is not None

    def end(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            rest = out.read()  # communicate() would pass over what readline() has
        return self.process.wait(timeout=20), rest


def shell(tmp_path: Path, *command: str) -> Shell:
    (tmp_path / "step.sh").write_text(SCRIPT)
    env = {"SLURM_STEP_ID": "5", "SLURMD_NODENAME": "n1", "CUDA_VISIBLE_DEVICES": "0,1,2"}
    path = {"PATH": "/usr/bin:/bin"}
    argv = ["/bin/sh", str(tmp_path / "step.sh"), "2", *command]
    process = subprocess.Popen(argv, env={**env, **path}, stdout=subprocess.PIPE, text=True)
    made = Shell(process)
    assert made.line() == '@launch {"kind":"step","id":"5","node":"n1"}\n'
    return made


def test_the_steps_shell_passes_the_end_on(tmp_path: Path) -> None:
    """A task's exit code is the step's; of a killed one it is that of a shell; its GPU is set."""
    made = shell(tmp_path, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; exit 42")
    assert made.end() == (42, "2\n")
    assert shell(tmp_path, "sh", "-c", "kill -9 $$").end()[0] == 137
    assert shell(tmp_path, "no-such-program").end()[0] == 127


@pytest.mark.parametrize("ask", ["USR2", "URG"])
def test_the_steps_shell_shields_the_task(tmp_path: Path, ask: str) -> None:
    """SIGTERM is not passed on; what the launcher sends is, once, as SIGTERM to all of the task."""
    assert shutil.which("setsid")
    task = "trap 'echo asked; exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    made = shell(tmp_path, "sh", "-c", task)
    assert made.line() == "ready\n"
    made.send("TERM", "TERM")
    until(lambda: made.send(ask), "the step to end")
    assert made.end() == (42, "asked\n")


# what nodes say


def test_what_a_nodes_step_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's own GPUs, and each port that somebody has there; a step that fails is run again."""
    fake = tmp_path / "srun"
    fake.write_text(  # a fake: it runs the step here, the first time after it has failed once
        f"#!/bin/sh\n[ -e {tmp_path}/tried ] || {{ : >{tmp_path}/tried; exit 1; }}\n"
        'while [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n'
    )
    fake.chmod(0o755)
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho NodeName=n1 NodeAddr=10.0.0.1 Port=6818\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_TASKS_PER_NODE": "2(x1)"}
    given = {"SLURMD_NODENAME": "n1", "PATH": os.environ["PATH"]}
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(
            "launcher.platforms.slurm.allocation.step_environ",
            lambda _: {**given, "CUDA_VISIBLE_DEVICES": "2,3"},
        )
        (node,) = Allocation.read({**job, **given}).nodes
    assert node[:4] == ("n1", "10.0.0.1", 2, ("2", "3"))
    assert taken in node.taken_ports


def test_what_is_not_inside_a_job(launching: Launching) -> None:
    """What a job runs says what it lacks where somebody else runs it."""
    done = launching.run("submit", "inside", "runs/none")
    assert done.code == 2 and "expected the folder of a submitted run" in done.err
    launching.cluster("tasks: {worker: {}}\n")
    launching.env["PATH"] = f"{launching.folder}/bin"
    launching.write("bin/sbatch", "#!/bin/sh\necho 12\n")  # a fake: nothing is queued
    done = launching.run("submit", "--platform", "slurm", "--", "true")
    assert done.out.endswith(": submitted as 12\n"), done.err
    done = launching.run("submit", "inside", str(launching.run_dir()))
    assert (done.code, "$SLURM_JOB_ID: not set" in done.err) == (2, True)


@pytest.mark.parametrize("key", Settings._fields)
def test_every_key_is_documented(key: str) -> None:
    """The user guide has a row for each key of cluster.yaml's part for Slurm."""
    guide = Path(__file__).resolve().parents[2] / "docs/platforms.md"
    assert f"| `{key}` | " in guide.read_text()
