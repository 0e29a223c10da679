"""What hosts say of themselves, and which plans that rules out."""

import pytest

from launcher import config, preflight, questions, readings
from launcher.errors import HostError
from launcher.layout import Job
from launcher.plan import plan
from launcher.readings import Gpu, Reading

GPUS = (Gpu("0", "GPU-aaaa"), Gpu("1", "GPU-bbbb"))
IDLE = Reading(gpus=GPUS, gives_gpus=True)
JOB = Job("job", None, ("true",), "/home/me")


def problems(reading: Reading, task: str = "gpus: 1", gpus: str = "2") -> list[str]:
    """Return what is wrong with one task on one host that said `reading`."""
    text = (
        f"image: i\nhosts: {{g: {{address: 10.0.0.1, gpus: {gpus}}}}}\ntasks: {{chief: {{{task}}}}}"
    )
    spec = config.parse(text)
    facts = {"g": reading.facts()}
    made = plan(spec, JOB, "r1", facts, run_dir="/r1", python="python3")
    try:
        preflight.check(made, {"g": reading})
    except HostError as error:
        return str(error).splitlines()
    return []


def test_a_host_that_is_ready() -> None:
    """Nothing is said of a host that can do what is planned."""
    assert problems(IDLE) == []
    assert problems(Reading(), "gpus: 0") == []


def test_no_driver() -> None:
    """A host without nvidia-smi is named before anything starts."""
    (only,) = problems(Reading(gives_gpus=True))
    assert only.startswith("g: there is no nvidia-smi")


def test_no_runtime() -> None:
    """A Docker that cannot give GPUs is named, with what to install."""
    (only,) = problems(IDLE._replace(gives_gpus=False))
    assert "its Docker cannot give GPUs to containers: install nvidia-container-toolkit" in only


def test_too_few_gpus() -> None:
    """A host that has fewer GPUs than its file says is told with those it has."""
    (only,) = problems(IDLE, "gpus: 3", "3")
    assert only == "g: has no GPU 2, which chief:0 shall have; it has 0 (GPU-aaaa), 1 (GPU-bbbb)"


def test_a_gpu_in_use() -> None:
    """A GPU that something else uses is not given a second time, whatever named it."""
    busy = IDLE._replace(users={"GPU-bbbb": ("python (pid 7)", "container web")})
    said = "which chief:0 shall have, is used by python (pid 7), container web"
    assert problems(busy) == []
    assert problems(busy, "gpus: 2") == [f"g: GPU 1, {said}"]
    assert problems(busy, gpus="[GPU-bb]") == [f"g: GPU GPU-bb, {said}"]


def test_auto_takes_idle_gpus() -> None:
    """Under `gpus: auto` a GPU in use is left alone."""
    busy = IDLE._replace(users={"GPU-aaaa": ("python (pid 7)",)})
    assert busy.facts().gpus == ("1",)
    assert problems(busy, gpus="auto") == []


def test_a_port_that_is_taken() -> None:
    """A port of the file that somebody has is told; a free one is never a taken one."""
    taken = Reading(frozenset({2222, *range(20000, 31999)}))
    assert problems(taken, "port: 2222") == ["g: port 2222, which chief:0 shall have, is taken"]
    assert taken.facts().free_ports == (31999,)


def test_a_folder_that_is_missing() -> None:
    """Folders that containers shall see must be there; all problems are told at once."""
    reading = Reading(frozenset({2222}), missing=("/nfs/mnist",))
    assert problems(reading, "port: 2222") == [
        "g: there is no /nfs/mnist; containers shall see it",
        "g: port 2222, which chief:0 shall have, is taken",
    ]


def test_the_script_tells_missing_from_forbidden(tmp_path: object) -> None:
    """The question that a host is asked runs in any POSIX shell, whatever the path."""
    import subprocess

    odd = f"{tmp_path}/a b'c"
    script = questions.question(False, [odd, "/"]).script
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
    assert readings._sections(done.stdout)["missing"] == [odd]
    assert readings._sections(done.stdout)["ports"]


@pytest.mark.parametrize("lines", [["none"], []])
def test_no_gpus_are_no_list(lines: list[str]) -> None:
    """A host without nvidia-smi differs from one whose nvidia-smi shows no GPU."""
    assert readings._gpus(lines) == (None if lines else ())
