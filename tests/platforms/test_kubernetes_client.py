"""Runs on a Kubernetes cluster: the official client and a kubeconfig, against a fake API server."""

import base64
import json
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from launcher import config
from launcher.errors import HostError, InputError
from launcher.layout import Job
from launcher.platforms import Line, Request, State
from launcher.platforms.kubernetes import Kubernetes, client, following
from launcher.platforms.kubernetes.settings import Settings
from tests.conftest import DEADLINE_S, Launching, until
from tests.platforms.fake_kubernetes import TOKEN, FakeKubernetes, kubeconfig, serving

PS = "image: lab/img\ntasks: {chief: {}, worker: {count: 2}, ps: {}, evaluator: {}}\n"
GANG = "image: lab/img\ntasks: {chief: {}, worker: {}}\n"
SENT = Settings(output="results", apply=True)


@pytest.fixture
def fake() -> FakeKubernetes:
    """A cluster without any run."""
    return FakeKubernetes()


@pytest.fixture
def server(fake: FakeKubernetes) -> Iterator[str]:
    """Where it answers."""
    with serving(fake) as address:
        yield address


@pytest.fixture
def environ(server: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who can log in there."""
    (tmp_path / "kubeconfig").write_text(kubeconfig(server))
    return {"KUBECONFIG": str(tmp_path / "kubeconfig")}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than a test has to."""
    monkeypatch.setattr(client, "BACKOFFS_S", (0.0, 0.0, 0.01, 0.01))
    monkeypatch.setattr(following, "LOOK_S", 0.05)


def sent(platform: Kubernetes, tmp_path: Path, text: str = GANG, run_id: str = "lab-1") -> str:
    """Submit a run; return its job id."""
    spec = config.parse(text, elsewhere=True)
    job = Job("train", None, ("train",), "/")
    prepared = platform.prepare(Request(spec, job, run_id, str(tmp_path / "runs" / run_id)))
    submitted = platform.submit(prepared)
    assert submitted
    return submitted.id


def kinds(fake: FakeKubernetes) -> list[str]:
    return [kind for kind, _ in fake.objects]


def test_all_that_was_shown_is_sent(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """What is made on the server is what `text` shows, in its order; the file is kept."""
    platform = Kubernetes(SENT, environ)
    assert sent(platform, tmp_path, PS) == "lab-1"
    assert kinds(fake) == ["Service", "Job", "Job", "Job", "Job"]
    assert (tmp_path / "runs/lab-1/manifests.yaml").read_text().startswith("# The run lab-1\n---\n")
    job = platform.job("lab-1")
    assert (job.state, job.name, job.since is not None) == (State.PENDING, "lab-1", True)


def test_without_apply_nothing_is_sent(fake: FakeKubernetes, tmp_path: Path) -> None:
    """The manifests are kept, and no kubeconfig is needed."""
    platform = Kubernetes(Settings(output="results"), {})
    spec = config.parse(GANG, elsewhere=True)
    request = Request(spec, Job("t", None, ("t",), "/"), "lab-1", str(tmp_path / "runs/lab-1"))
    assert platform.submit(platform.prepare(request)) is None
    assert (tmp_path / "runs/lab-1/manifests.yaml").is_file() and not fake.asked


def test_a_gang_from_start_to_end(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """It is pending, starting, running, and has succeeded once all of it has."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    chief = fake.run("chief:0")
    assert platform.job(job).state is State.STARTING
    worker = fake.run("worker:0", node="node-2")
    found = platform.job(job)
    assert found.state is State.RUNNING
    assert found.details == {"chief:0": "Running, on node-1", "worker:0": "Running, on node-2"}
    fake.end(chief)
    fake.conclude("chief", "Complete")
    assert platform.job(job).state is State.RUNNING
    fake.end(worker)
    fake.conclude("worker", "Complete")
    found = platform.job(job)
    assert found.state is State.SUCCEEDED and "Completed" in found.details["worker:0"]


def test_the_chief_of_servers_decides(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """Its success is the run's, whoever still runs; an evaluator that failed fails nothing."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path, PS)
    for task in ("chief:0", "worker:0", "worker:1", "ps:0", "evaluator:0"):
        fake.run(task)
    fake.conclude("evaluator", "Failed", "FailedIndexes")
    assert platform.job(job).state is State.RUNNING
    fake.conclude("chief", "Complete")
    assert platform.job(job).state is State.SUCCEEDED


def test_a_run_that_failed(fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path) -> None:
    """The reason and the words of Kubernetes are told, and each task's exit code."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    fake.run("chief:0")
    fake.end(fake.run("worker:0"), 137)
    fake.conclude("worker", "Failed", "FailedIndexes", "Job has failed indexes: 0")
    found = platform.job(job)
    assert (found.state, found.said) == (State.FAILED, "FailedIndexes")
    assert found.details["why"] == "Job has failed indexes: 0"
    assert found.details["worker:0"] == "Failed, on node-1, Error, exit code 137"


def test_stop_and_delete(fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path) -> None:
    """A run that is stopped has no pods and is there until it is deleted; one that runs stays."""
    platform = Kubernetes(SENT, environ)
    job, other = sent(platform, tmp_path, PS), sent(platform, tmp_path, PS, "lab-2")
    fake.run("chief:0")
    with pytest.raises(InputError, match="it runs; `launch submit stop --platform kubernetes"):
        platform.delete(job)
    platform.stop(job)
    assert platform.job(job).state is State.STOPPED and "Pod" not in kinds(fake)
    platform.stop(job)
    assert [(run.id, run.state) for run in platform.jobs()] == [
        (job, State.STOPPED),
        (other, State.PENDING),
    ]
    platform.delete(job)
    assert [run.id for run in platform.jobs()] == [other]
    assert not [o for o in fake.objects.values() if o["metadata"]["labels"]["launch/run"] == job]
    with pytest.raises(InputError, match=f"{job}: no such job in the namespace ml"):
        platform.job(job)


def test_deleting_what_kubernetes_has_left(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """Of a run whose Jobs have been removed already, the rest goes too."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    for name in ("lab-1-chief", "lab-1-worker"):
        del fake.objects["Job", name]
    platform.delete(job)
    assert not fake.objects
    for gone in (job, "no label!"):
        with pytest.raises(InputError, match="no such job"):
            platform.delete(gone)


def test_deleting_what_still_has_pods(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """A run whose evaluator still evaluates has succeeded, and is not deleted until it stops."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path, "image: lab/img\ntasks: {chief: {}, evaluator: {}}\n")
    chief, _ = fake.run("chief:0"), fake.run("evaluator:0")
    fake.end(chief)
    fake.conclude("chief", "Complete")
    assert platform.job(job).state is State.SUCCEEDED
    with pytest.raises(InputError, match="it runs; `launch submit stop"):
        platform.delete(job)
    assert "Job" in kinds(fake)
    platform.stop(job)
    platform.delete(job)
    assert not fake.objects


def test_stopping_what_has_ended(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """It changes nothing of it, and ends the rest of a run that failed."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    fake.conclude("chief", "Failed", "PodFailurePolicy")
    platform.stop(job)
    patched = [asked.path.rpartition("/")[2] for asked in fake.asked if asked.method == "PATCH"]
    assert patched == ["lab-1-worker"]
    assert platform.job(job).state is State.FAILED


def test_a_tfjob(fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path) -> None:
    """A TFJob is one object; its conditions are the run's states."""
    platform = Kubernetes(SENT._replace(operator="tfjob"), environ)
    job = sent(platform, tmp_path)
    assert kinds(fake) == ["TFJob"] and platform.job(job).state is State.PENDING
    fake.conclude("chief", "Created")
    fake.conclude("chief", "Running")
    chief = fake.run("chief:0")
    fake.write(chief, "hello")
    assert platform.job(job).state is State.RUNNING
    plain = Kubernetes(SENT, environ)  # asking after it needs no --operator
    assert [run.state for run in plain.jobs()] == [State.RUNNING]
    assert list(plain.logs(job, follow=False)) == [Line("chief:0", "hello")]
    plain.stop(job)
    assert plain.job(job).state is State.STOPPING
    fake.conclude("chief", "Suspended")
    assert plain.job(job).state is State.STOPPED
    plain.delete(job)
    assert not fake.objects


@pytest.mark.parametrize(
    ("condition", "state"), [("Succeeded", State.SUCCEEDED), ("Failed", State.FAILED),
                             ("Restarting", State.STARTING), ("Dreaming", State.UNKNOWN)],
)  # fmt: skip
def test_states_of_a_tfjob(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path, condition: str, state: State
) -> None:
    """Each word of the operator has one of ours; an unknown one is shown as it is."""
    platform = Kubernetes(SENT._replace(operator="tfjob"), environ)
    job = sent(platform, tmp_path)
    fake.conclude("chief", condition, "Because", "of this")
    found = platform.job(job)
    assert (found.state, found.said) == (state, condition)
    assert found.details.get("why") == ("of this" if state is State.FAILED else None)


def test_no_operator_there(fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path) -> None:
    """A cluster that knows no TFJob is named as one, and plain runs need none."""
    fake.has_tfjobs = False
    with pytest.raises(HostError, match="Kubeflow's training operator"):
        sent(Kubernetes(SENT._replace(operator="tfjob"), environ), tmp_path)
    platform = Kubernetes(SENT, environ)
    sent(platform, tmp_path)
    assert len(platform.jobs()) == 1


def test_logs_that_are_there(fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path) -> None:
    """Each attempt's lines come in order, under their task; whatever they hold."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    first, worker = fake.run("chief:0"), fake.run("worker:0")
    fake.write(first, "a", "b c", "")
    fake.end(first, 1)
    fake.write(worker, "é 2026-01-01T00:00:00Z x")
    fake.write(fake.run("chief:0"), "again")
    assert list(platform.logs(job, follow=False)) == [
        *(Line("chief:0", text) for text in ("a", "b c", "")),
        Line("worker:0", "é 2026-01-01T00:00:00Z x"),
        Line("chief:0", "again"),
    ]


def test_logs_are_followed_to_the_end(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """Lines of pods that come later too; a log that is cut off goes on without a line twice."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    chief = fake.run("chief:0")
    fake.write(chief, *(f"line {n}" for n in range(12)))
    heard: list[Line] = []
    thread = threading.Thread(target=lambda: heard.extend(_told(platform, job, heard)))
    thread.start()
    until(lambda: len(heard) == 12, "the first lines")
    fake.write(chief, "line 12", cut=True)
    until(lambda: len(heard) == 13, "the line at the cut")
    worker = fake.run("worker:0")
    fake.write(worker, "late")
    fake.write(chief, "line 13")
    until(lambda: len(heard) == 15, "both tasks")
    for task, pod in (("chief", chief), ("worker", worker)):
        fake.write(pod, "bye")
        fake.end(pod)
        fake.conclude(task, "Complete")
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    of_chief = [line.text for line in heard if line.source == "chief:0"]
    assert of_chief == [*(f"line {n}" for n in range(14)), "bye"]
    assert [line.text for line in heard if line.source == "worker:0"] == ["late", "bye"]


@contextmanager
def following_all(platform: Kubernetes, job: str, fake: FakeKubernetes) -> Iterator[list[Line]]:
    """Yield the lines that are heard; behind the block the run ends, and they do."""
    heard: list[Line] = []
    thread = threading.Thread(target=lambda: heard.extend(_told(platform, job, heard)))
    thread.start()
    try:
        yield heard
    finally:
        for (kind, name), pod in list(fake.objects.items()):
            if kind == "Pod" and pod["status"]["phase"] == "Running":
                fake.end(name)
        for task in ("chief", "worker"):
            fake.conclude(task, "Complete")
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def of_logs(fake: FakeKubernetes) -> list[dict[str, str]]:
    """Return how logs were asked for."""
    return [asked.query for asked in fake.asked if asked.path.endswith("/log")]


def test_a_container_that_starts_again_is_followed(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is down, its old lines are told once, and it is not asked in one go."""
    monkeypatch.setattr(following, "LOOK_S", 0.0123)
    waits: list[float] = []
    sleep = time.sleep

    def told(wait_s: float) -> None:
        waits.append(wait_s)
        sleep(wait_s)

    monkeypatch.setattr(time, "sleep", told)
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    chief = fake.run("chief:0")
    with following_all(platform, job, fake) as heard:
        fake.write(chief, "before")
        until(lambda: len(heard) == 1, "the line before")
        fake.crash(chief)
        until(lambda: len(of_logs(fake)) > 25, "many looks")
        fake.start_again(chief)
        fake.write(chief, "after")
        until(lambda: len(heard) == 2, "the line after")
    assert [line.text for line in heard] == ["before", "after"]
    assert waits.count(0.0123) >= 20


def test_a_pod_that_takes_anothers_name_is_followed(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """A pod is known by its uid: an operator gives a later one the same name."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    chief = fake.run("chief:0")
    with following_all(platform, job, fake) as heard:
        fake.write(chief, "first")
        until(lambda: len(heard) == 1, "the first pod")
        fake.end(chief, 1)
        until(lambda: len(of_logs(fake)) == 2, "the last look at it")
        fake.run("chief:0", name=chief)
        fake.write(chief, "second")
        until(lambda: len(heard) == 2, "the second pod")
    assert [line.text for line in heard] == ["first", "second"]


def test_opening_a_log_is_tried_again(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """A server that is busy for a moment ends no log, and it is the task's own container's."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    fake.write(fake.run("chief:0"), "line")
    fake.fail("GET", "/log", 503)
    fake.fail("GET", "/log", 0)
    with following_all(platform, job, fake) as heard:
        until(lambda: len(heard) == 1, "the line")
    assert {query["container"] for query in of_logs(fake)} == {"tensorflow"}


def test_a_silent_log_is_opened_anew(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that brings nothing for long may be dead: another takes its place."""
    monkeypatch.setattr(client, "_FOLLOWING_S", (10, 0.05))
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    chief = fake.run("chief:0")
    with following_all(platform, job, fake) as heard:
        fake.write(chief, "before")
        until(lambda: len(of_logs(fake)) > 2, "another connection")
        fake.write(chief, "after")
        until(lambda: len(heard) == 2, "both lines")
    assert [line.text for line in heard] == ["before", "after"]


def _told(platform: Kubernetes, job: str, heard: list[Line]) -> Iterator[Line]:
    for line in platform.logs(job, follow=True):
        heard.append(line)
    yield from ()


def test_lists_have_pages(fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path) -> None:
    """A list is read to its end."""
    fake.page_size = 2
    platform = Kubernetes(SENT, environ)
    ids = [sent(platform, tmp_path, run_id=f"lab-{n}") for n in range(3)]
    assert [run.id for run in platform.jobs()] == ids


@pytest.mark.parametrize("status", [0, 500, 503, 429])
@pytest.mark.parametrize("done", [False, True], ids=["lost", "answer lost"])
def test_made_once_whatever_is_tried_again(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path, status: int, done: bool
) -> None:
    """A request that may or may not have come through is asked again, and its object made once."""
    fake.fail("POST", "/jobs", status, done=done)
    sent(Kubernetes(SENT, environ), tmp_path)
    assert kinds(fake) == ["Service", "Job", "Job"]


def test_reading_is_tried_again(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """A server that is busy for a moment is no failure; one that stays so is."""
    platform = Kubernetes(SENT, environ)
    job = sent(platform, tmp_path)
    fake.fail("GET", "/jobs", 503, times=2)
    fake.fail("GET", "/pods", 0, times=2)
    assert platform.job(job).state is State.PENDING
    fake.fail("GET", "/jobs", 503, times=9)
    with pytest.raises(HostError, match=r"cannot list Jobs: fake 503 \(503\)"):
        platform.job(job)


def test_a_name_that_is_taken(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """What is another's stays as it is, and nothing of the new run is left."""
    platform = Kubernetes(SENT, environ)
    sent(platform, tmp_path)
    service = fake.objects.pop(("Service", "lab-1"))
    with pytest.raises(HostError, match=r"cannot make Job lab-1-chief: Job .* already exists"):
        sent(platform, tmp_path)
    assert service and kinds(fake) == ["Job", "Job"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, r"cannot make Job lab-1-worker: fake 403 \(403\); ask for that right"),
        (401, "log in anew"),
        (422, r"fake 422 \(422\)"),
    ],
)
def test_what_was_made_goes_where_the_rest_is_refused(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path, status: int, said: str
) -> None:
    """A refusal is told with what helps; what was made before it is removed."""
    platform = Kubernetes(SENT, environ)
    fake.fail("POST", "/jobs", 201, done=True)
    fake.fail("POST", "/jobs", status)
    with pytest.raises(HostError, match=said):
        sent(platform, tmp_path)
    assert not fake.objects
    fake.fail("POST", "/jobs", 403)
    fake.fail("DELETE", "/services", 403)
    with pytest.raises(HostError, match="what was made before is still there: cannot remove"):
        sent(platform, tmp_path)


def test_nothing_is_left_of_what_came_through_unheard(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """An object that was made though every answer was lost goes too."""
    fake.fail("POST", "/jobs", 0, done=True)
    fake.fail("POST", "/jobs", 0, times=4)
    with pytest.raises(HostError, match="cannot be reached"):
        sent(Kubernetes(SENT, environ), tmp_path)
    assert not fake.objects


def test_removing_goes_on_past_a_failure(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path
) -> None:
    """What can be removed is; the error names the run that has the rest."""
    fake.fail("POST", "/jobs", 201, done=True)
    fake.fail("POST", "/jobs", 403)
    fake.fail("DELETE", "/jobs", 403)
    with pytest.raises(HostError, match="delete") as caught:
        sent(Kubernetes(SENT, environ), tmp_path)
    assert kinds(fake) == ["Job"] and "stop --platform kubernetes lab-1`" in str(caught.value)


@pytest.mark.parametrize("body", ["<html>gateway</html>", "[1]", "null", '{"items": 7', ""])
def test_answers_that_are_none_of_kubernetes(
    fake: FakeKubernetes, environ: dict[str, str], body: str
) -> None:
    """What does not answer as Kubernetes does is said to be none."""
    fake.fail("GET", "/jobs", 200, body or " ", times=9)
    with pytest.raises(HostError, match="does not answer as Kubernetes does"):
        Kubernetes(SENT, environ).jobs()


def test_nobody_there(tmp_path: Path) -> None:
    """No kubeconfig, a wrong one, a server that is down, no such context: all in words."""
    file = tmp_path / "kubeconfig"
    environ = {"KUBECONFIG": str(file)}
    with pytest.raises(HostError, match="kubeconfig: no kubeconfig; expected one there"):
        Kubernetes(SENT, environ).jobs()
    for wrong in ("", "{", "clusters: 7", "a: b", kubeconfig("http://x").replace("lab", "lob", 1)):
        file.write_text(wrong)
        with pytest.raises(HostError, match="kubeconfig"):
            Kubernetes(SENT, environ).jobs()
    file.write_text(kubeconfig("http://127.0.0.1:1"))
    with pytest.raises(HostError, match=r"http://127.0.0.1:1 cannot be reached: .*refused"):
        Kubernetes(SENT, environ).jobs()
    with pytest.raises(HostError, match="no-such"):
        Kubernetes(SENT._replace(context="no-such"), environ).jobs()


def test_no_folder_of_a_run_that_cannot_be_sent(tmp_path: Path) -> None:
    """Without a kubeconfig nothing is written either."""
    with pytest.raises(HostError, match="no kubeconfig"):
        sent(Kubernetes(SENT, {"KUBECONFIG": str(tmp_path / "none")}), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_login_that_is_not_taken(server: str, tmp_path: Path) -> None:
    """A token that the server does not take is told as one, and not shown."""
    (tmp_path / "kubeconfig").write_text(kubeconfig(server, "stale-token"))
    with pytest.raises(HostError, match=r"Unauthorized \(401\); the kubeconfig's login") as caught:
        Kubernetes(SENT, {"KUBECONFIG": str(tmp_path / "kubeconfig")}).jobs()
    assert "stale-token" not in str(caught.value)


@pytest.mark.parametrize("token", ["SECRET\nX: y", "SECRET\u0447", "SECRET\rX", "SECRET\0x"])
def test_a_token_that_no_header_holds(
    server: str, tmp_path: Path, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said to be none, and not shown."""
    (tmp_path / "kubeconfig").write_text(kubeconfig(server, token))
    with pytest.raises(HostError, match="login") as caught:
        Kubernetes(SENT, {"KUBECONFIG": str(tmp_path / "kubeconfig")}).jobs()
    assert "SECRET" not in f"{caught.value}{capfd.readouterr()}"


def test_a_token_with_a_line_end(server: str, tmp_path: Path) -> None:
    """A token that was read from a file, with the end of its line, is taken."""
    (tmp_path / "kubeconfig").write_text(kubeconfig(server, f"{TOKEN}\n"))
    assert Kubernetes(SENT, {"KUBECONFIG": str(tmp_path / "kubeconfig")}).jobs() == []


def test_which_namespace(environ: dict[str, str], tmp_path: Path) -> None:
    """The settings' is taken, else that of their context, else that of the current one."""
    for given in (SENT._replace(namespace="no"), SENT._replace(context="other")):
        with pytest.raises(HostError, match='namespaces "no" not found'):
            sent(Kubernetes(given, environ), tmp_path)


def test_no_key_is_left(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], tmp_path: Path
) -> None:
    """Certificates of a kubeconfig lie in no file once they are read."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    file = Path(environ["KUBECONFIG"])
    whole = json.loads(file.read_text())
    whole["users"][0]["user"]["client-key-data"] = "c2VjcmV0"
    whole["users"][0]["user"]["client-certificate-data"] = "Y2VydA=="
    file.write_text(json.dumps(whole))
    assert Kubernetes(SENT, environ).jobs() == []
    assert list(folder.iterdir()) == []


def test_certificates(
    monkeypatch: pytest.MonkeyPatch, fake: FakeKubernetes, tmp_path: Path
) -> None:
    """A server that shows a certificate and wants one is reached, and no key is left in a file."""
    folder, pem = tmp_path / "tmp", tmp_path / "pem"
    folder.mkdir()
    pem.write_bytes(certificate())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    tls.load_verify_locations(pem)
    tls.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    data = base64.b64encode(pem.read_bytes()).decode()
    with serving(fake, tls) as address:
        whole = json.loads(kubeconfig(address))
        whole["clusters"][0]["cluster"]["certificate-authority-data"] = data
        own = {"client-certificate-data": data, "client-key-data": data}
        whole["users"][0]["user"] |= own
        (tmp_path / "kubeconfig").write_text(json.dumps(whole))
        platform = Kubernetes(SENT, {"KUBECONFIG": str(tmp_path / "kubeconfig")})
        assert platform.jobs() == [] and list(folder.iterdir()) == []
        (tmp_path / "kubeconfig").write_text(kubeconfig(address))
        stranger = Kubernetes(SENT, {"KUBECONFIG": str(tmp_path / "kubeconfig")})
        with pytest.raises(HostError, match=r"cannot be reached: .*certificate verify failed"):
            stranger.jobs()


def certificate() -> bytes:
    """Return a key and a certificate for 127.0.0.1 that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.private_bytes(*plain) + made.public_bytes(Encoding.PEM)


@pytest.fixture
def lab(launching: Launching, environ: dict[str, str]) -> Launching:
    """A launcher whose cluster.yaml goes to the fake cluster."""
    launching.env |= environ
    launching.cluster(f"{GANG}platforms: {{kubernetes: {{output: results}}}}\n")
    launching.write("train.py", "print('hi')\n")
    return launching


def test_command(lab: Launching, fake: FakeKubernetes) -> None:
    """Printed without --apply, sent with it; waited for, read, stopped and deleted by its name."""
    on = ("--platform", "kubernetes")
    shown = lab.run("submit", *on, "./train.py")
    assert (shown.code, shown.err) == (0, "") and "kind: Job\n" in shown.out
    assert not fake.asked and (lab.run_dir() / "manifests.yaml").read_text() == shown.out
    tfjob = lab.run("submit", *on, "--operator=tfjob", "--dry-run", "--json", "./train.py").out
    assert [o["kind"] for o in json.loads(tfjob)["objects"]] == ["ConfigMap", "TFJob"]
    done = lab.run("submit", *on, "--apply", "./train.py")
    assert (done.code, done.err) == (0, ""), done.err
    job = done.out.split()[-1]
    fake.write(fake.run("chief:0"), "hello")
    assert lab.run("submit", "logs", *on, job).out == "chief:0 | hello\n"
    assert job in lab.run("submit", "list", *on).out
    assert lab.run("submit", "stop", *on, job).out == f"{job}: stopped (Suspended)\n"
    assert lab.run("submit", "delete", *on, job).code == 0
    assert not fake.objects
    assert TOKEN not in done.out


def test_without_the_client(lab: Launching) -> None:
    """Manifests need no more packages than the launcher; sending them says which."""
    lab.write("hiding/kubernetes/__init__.py", "raise ModuleNotFoundError('', name='kubernetes')\n")
    lab.env["PYTHONPATH"] = str(lab.folder / "hiding")
    on = ("submit", "--platform", "kubernetes")
    assert lab.run(*on, "--dry-run", "./train.py").code == 0
    done = lab.run(*on, "--apply", "./train.py")
    assert (done.code, done.out) == (3, "")
    assert done.err.endswith("pip install 'tf-config-launch[kubernetes]'\n")


def test_waiting_for_the_job(lab: Launching, fake: FakeKubernetes) -> None:
    """`--apply --wait` ends with the job's code, having told its states."""
    process = lab.start("submit", "--platform", "kubernetes", "--apply", "--wait", "./train.py")
    until(lambda: kinds(fake).count("Job") == 2, "the Jobs")
    fake.conclude("worker", "Failed", "FailedIndexes")
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err.splitlines()[-1].endswith("failed (FailedIndexes)")


def test_interrupted_before_and_while_it_is_undone(
    fake: FakeKubernetes, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal before anything is made leaves nothing; a second one names what stays."""
    create, when = client.Client.create, ["lab-1"]

    def interrupted(self: client.Client, made: dict[str, Any]) -> None:
        if made["metadata"]["name"] == when[0]:
            signal.raise_signal(signal.SIGINT)
        create(self, made)

    monkeypatch.setattr(client.Client, "create", interrupted)
    platform = Kubernetes(SENT, environ)
    with pytest.raises(KeyboardInterrupt):
        sent(platform, tmp_path)
    assert not fake.objects
    when[:] = ["lab-1-worker"]
    monkeypatch.setattr(client.Client, "remove", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(HostError, match=r"interrupted\nwhat .* before 2 of its objects") as caught:
        sent(platform, tmp_path)
    assert "stop --platform kubernetes lab-1`" in str(caught.value)
    assert kinds(fake) == ["Service", "Job"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_submission(
    lab: Launching, fake: FakeKubernetes, number: signal.Signals, code: int
) -> None:
    """A signal while the objects are made ends it, and leaves none of them, nor one unheard of."""
    fake.hold = "worker"
    process = lab.start("submit", "--platform", "kubernetes", "--apply", "./train.py")
    until(lambda: kinds(fake).count("Job") == 2, "the Jobs")
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (code, "")
    assert not fake.objects


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--operator", "mpi"], "--operator: expected one of none, tfjob"),
        (["--opreator", "tfjob"], "did you mean '--operator'?"),
        (["--wait"], "nothing was sent"),
    ],
)
def test_wrong_words(lab: Launching, words: list[str], said: str) -> None:
    """Options of a platform are checked as all are."""
    done = lab.run("submit", "--platform", "kubernetes", *words, "./train.py")
    assert done.code == 2 and said in done.err


def test_options_are_the_platforms_own(lab: Launching) -> None:
    """They are in its help, and unknown where another platform is named."""
    assert "--operator NAME" in lab.run("submit", "--platform", "kubernetes", "--help").out
    done = lab.run("submit", "--operator", "tfjob", "./train.py")
    assert done.code == 2 and "--operator not recognized" in done.err
