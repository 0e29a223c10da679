"""What hosts say of themselves, and which plans that rules out."""

import os
import subprocess
import time

import pytest

from launcher import config, preflight, questions, readings
from launcher.errors import HostError
from launcher.gpus import Gpu
from launcher.layout import Job
from launcher.logins import Said
from launcher.plan import plan
from launcher.readings import Clock, Disk, Folder, Reading, clock
from launcher.survey import may_write

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
    odd = f"{tmp_path}/a b'c"
    script = questions.question(False, [odd, "/"]).script
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
    assert readings._sections(done.stdout)["missing"] == [odd]
    assert readings._sections(done.stdout)["ports"]


@pytest.mark.parametrize("lines", [["none"], []])
def test_no_gpus_are_no_list(lines: list[str]) -> None:
    """A host without nvidia-smi differs from one whose nvidia-smi shows no GPU."""
    assert readings._gpus(lines) == (None if lines else ())


def test_a_clock_is_read_without_the_way() -> None:
    """The way to a host and back does not count, nor the time that the host took."""
    for lines in (["1008.0", "1009.0"], ["1008.000000000", "1009.000000000"]):
        assert clock(Said("", 1000.0, 1003.0), lines) == Clock(7.0, 1.0)
    assert clock(Said("", 1000.0, 1003.0), ["1008", "1009"]) == Clock(7.5, 1.0)
    assert clock(Said("", 1000.0, 1003.0), ["1008.5"]) is None
    assert clock(Said("", 1000.0, 1003.0), ["sh: date: not found", ""]) is None


def test_clocks_that_are_apart() -> None:
    """Clocks more than 2 s apart are told, where a slow answer cannot be the reason."""
    assert preflight.notes({"g": Reading(clock=Clock(1.9, 0.0))}) == ()
    assert preflight.notes({"g": Reading(clock=Clock(-3.0, 4.0))}) == ()
    (only,) = preflight.notes({"g": Reading(clock=Clock(-3.0, 0.1))})
    assert only.startswith("g: its clock is 3.0 s behind this machine's")


def test_room() -> None:
    """Little room is noted, with what an image would take; none at all keeps a run away."""
    disk = readings.free("/d", "/dev/sd a 264212084 30187888 2000000 29% /var/lib")
    assert disk == Disk("/d", 2000000 << 10)
    assert readings.free("/d", "df: /d: No such file or directory") is None
    assert preflight.notes({"g": Reading(disk=disk)}) == ()
    (only,) = preflight.notes({"g": Reading(disk=disk)}, {"g": 1 << 30})
    assert only == (
        "g: 2.0 GB are free where its Docker keeps data (/d); image and results may take 3.2 GB"
    )
    full = Reading(disk=Disk("/d", 0))
    assert preflight.notes({"g": full}) == ()
    (only,) = problems(full, "gpus: 0")
    assert only.startswith("g: the disk where its Docker keeps data (/d) is full: 0 B are free")


def test_what_dead_runs_left() -> None:
    """What ended a while ago is told with how to bring it home, unless its run lives elsewhere."""

    def container(run: str, state: str, status: str) -> dict[str, object]:
        return {"Labels": {"launch.run": run}, "State": state, "Status": status}

    ended = readings._ended(
        [
            container("old", "exited", "Exited (0) 2 hours ago"),
            container("old", "exited", "Exited (137) About a minute ago"),
            container("new", "exited", "Exited (0) 5 seconds ago"),
            container("new", "exited", "Exited (0) Less than a second ago"),
            container("up", "running", "Up 2 hours"),
            {"Labels": None, "State": "exited", "Status": "Exited (0) 2 hours ago"},
        ]
    )
    assert ended == {"old": 2}
    assert preflight.notes({"a": Reading(ended={"old": 1}), "b": Reading(ended={"old": 2})}) == (
        "a: holds 1 container of the run old, which has ended; `launch collect old`",
        "b: holds 2 containers of the run old, which has ended; `launch collect old`",
    )
    living = Reading(living=frozenset({"old"}))
    assert preflight.notes({"a": Reading(ended={"old": 1}), "b": living}) == ()


@pytest.mark.parametrize(
    ("user", "mode", "may"),
    [
        ("0", 0o000, True),
        ("root:root", 0o000, True),
        ("1000", 0o700, True),
        ("1001", 0o700, False),
        ("1001:50", 0o730, True),
        ("1001:50", 0o720, False),
        ("1001", 0o777, True),
        ("trainer", 0o777, None),
    ],
)
def test_who_may_write(user: str, mode: int, may: bool | None) -> None:
    """Whether an image's user may write to a folder is told from its owner and permissions."""
    assert may_write(user, Folder("/f", 1000, 50, mode)) is may


def test_the_script_reads_this_machine(tmp_path: object) -> None:
    """Clock, room and a folder's owner are read by any POSIX shell."""
    script = questions.question(False, (), [f"{tmp_path}"]).script
    asked_at = time.time()
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
    found = readings._sections(done.stdout)
    read = clock(Said("", asked_at, time.time()), found["clock"])
    assert read and abs(read.ahead_s) < 1 + read.error_s
    (folder,) = readings._folders(found["folders"])
    assert (folder.path, folder.uid) == (f"{tmp_path}", os.geteuid())
    assert readings.free("/", done.stdout) is None or found["disk"][0].startswith("/")
