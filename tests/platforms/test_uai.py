"""UAI Train: the client, against a fake of the platform (see fake_uai)."""

import itertools
import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import config, platforms, trainer
from launcher.errors import HostError, InputError
from launcher.layout import Job
from launcher.platforms import Request, State
from launcher.platforms.uai import UaiTrain, calls, images, needs
from launcher.platforms.uai.log_cursor import Cursor
from launcher.platforms.uai.settings import Settings
from launcher.platforms.uai.signature import Value, as_text, sign
from launcher.schema import settings_table
from tests.conftest import Launching
from tests.platforms.fake_uai import MOST_LINES, PRIVATE_KEY, PUBLIC_KEY, FakeUai

IMAGE = "uhub.service.ucloud.cn/lab/mnist@sha256:" + "ab" * 32
UFS = "10.19.1.2:/ufs-x1y2/"
CREATE, LIST = "CreateUAITrainJob", "GetUAITrainJobList"
LOG = "GetUAITrainRunningLog"
TWO_NODES = f"""\
image: {IMAGE}
strategy: multi_worker_mirrored
tasks:
  chief: {{gpus: 2}}
  worker: {{gpus: 2}}
platforms:
  uai: {{data: "{UFS}mnist/", output: "{UFS}out/", max_hours: 6, endpoint: ENDPOINT, poll_s: 0.05}}
"""


@pytest.fixture
def fake() -> Iterator[FakeUai]:
    """The fake platform."""
    with FakeUai() as made:
        yield made


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are as many as ever, and short."""
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr(calls, "_READ_S", 0.3)


def platform(fake: FakeUai, **settings: Any) -> UaiTrain:
    given = {"data": f"{UFS}mnist/", "output": f"{UFS}out/", "max_hours": 6, "poll_s": 0.05}
    return UaiTrain(Settings(**{**given, "endpoint": fake.url, **settings}), fake.environ())


def request(text: str = TWO_NODES, args: Sequence[str] = (), run_id: str = "run-1") -> Request:
    spec = config.parse(text, elsewhere=True)
    return Request(spec, Job("mnist_dist", "/x/mnist_dist.py", tuple(args), "/x"), run_id, "/runs")


def problems(text: str, args: Sequence[str] = (), **settings: Any) -> str:
    """Return all that is wrong with a file for this platform."""
    given = {"data": f"{UFS}mnist/", "output": f"{UFS}out/", "max_hours": 6, **settings}
    with pytest.raises(InputError) as refused:
        needs.of(request(text, args), Settings(**given))
    return str(refused.value)


# signature


def test_the_documents_own_example() -> None:
    """A signature is the one that UCloud's documents compute."""
    params: dict[str, Value] = {
        "Action": "CreateUHostInstance",
        "CPU": 2,
        "ChargeType": "Month",
        "DiskSpace": 10,
        "ImageId": "f43736e1-65a5-4bea-ad2e-8a46e18883c2",
        "LoginMode": "Password",
        "Memory": 2048,
        "Name": "Host01",
        "Password": "VUNsb3VkLmNu",
        "PublicKey": "ucloudsomeone@example.com1296235120854146120",
        "Quantity": 1,
        "Region": "cn-bj2",
        "Zone": "cn-bj2-04",
    }
    key = "46f09bb9fab4f12dfc160dae12273d5332b5debe"
    assert sign(params, key) == "4f9ef5df2abab2c6fccd1e9515cb7e2df8c6bb65"
    backwards = dict(reversed(params.items()))
    assert sign({**backwards, "Signature": "old"}, key) == sign(params, key)


def test_values_are_signed_as_they_are_sent() -> None:
    """Booleans are written in lower case, lists joined by commas."""
    assert as_text(True) == "true" and as_text(["a", 2, False]) == "a,2,false"
    assert sign({"a": True, "b": ["x", "y"]}, "k") == sign({"a": "true", "b": "x,y"}, "k")


# what a file asks for


def test_what_is_sent(fake: FakeUai) -> None:
    """N nodes of G GPUs, image and command are sent, with the ids that the platform has."""
    prepared = platform(fake).prepare(request(args=["--epochs", "3"]))
    assert prepared.params == {
        "TrainJobName": "run-1",
        "TrainJobMemo": "",
        "BusinessGroup": "default",
        "TrainModeId": 102,
        "TrainWorkId": 12,
        "TrainWorkAmount": 2,
        "DistAIFrame": 1,
        "CodeUhubPath": IMAGE,
        "DockerCmd": "-m launcher exec --strategy=multi_worker_mirrored -- "
        "python -u /data/mnist_dist.py --epochs 3",
        "DataUfilePath": f"{UFS}mnist/",
        "InputDataBackendId": 202,
        "OutputUfilePath": f"{UFS}out/",
        "OutputDataBackendId": 202,
        "MaxExecuteTime": 6,
    }
    assert CREATE not in fake.actions() and fake.jobs == {}


def test_one_node(fake: FakeUai) -> None:
    """A single node is a job of its own kind, which may keep its data in UFile too."""
    one = f"image: {IMAGE}\ntasks: {{chief: {{gpus: 4}}}}\nenv: {{MODE: a b}}\n"
    ufile = "https://bucket.cn-bj.ufileos.com/mnist/"
    prepared = platform(fake, data=ufile, gpu="v100").prepare(request(one))
    params = prepared.params
    assert (params["TrainModeId"], params["TrainWorkId"], params["DistAIFrame"]) == (101, 15, 0)
    assert (params["InputDataBackendId"], params["OutputDataBackendId"]) == (201, 202)
    command = "-m launcher exec --alone '--env=MODE=a b' -- python -u /data/mnist_dist.py"
    assert params["DockerCmd"] == command
    assert "GetUAITrainAvailableDistAIFramework" not in fake.actions()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("worker: {gpus: 2}", "worker: {gpus: 1}"), "tasks: all nodes are alike there"),
        (("worker: {gpus: 2}", "worker: {gpus: 2}\n  evaluator: {}"), "evaluator: there are no"),
        (("worker: {gpus: 2}", "worker: {gpus: 2, args: [-x]}"), "tasks.worker.args: all nodes"),
        (("worker: {gpus: 2}", "worker: {gpus: 2, env: {A: b}}"), "tasks.worker.env: all nodes"),
        (("tasks:", "volumes: [{path: /a, at: /b}]\ntasks:"), "volumes: nodes see nothing"),
        (("tasks:", "secrets: {a: {env: A}}\ntasks:"), "secrets: nodes see nothing"),
        (("tasks:", "data: {path: /nfs, at: /mnt}\ntasks:"), "data.at: data is at /data/data"),
        (("tasks:", "env: {API_TOKEN: x}\ntasks:"), "env.API_TOKEN: would be part of the command"),
        ((IMAGE, "mnist:v1"), "image: names no registry"),
        ((f"image: {IMAGE}", "name: x"), "image: expected an image"),
    ],
)
def test_what_cannot_be_expressed(change: tuple[str, str], said: str) -> None:
    """What N equal nodes with one command cannot be is refused, with its line in the file."""
    text = TWO_NODES.replace(*change)
    assert text != TWO_NODES
    told = problems(text)
    assert said in told and told.startswith("cluster.yaml"), told


def test_parameter_servers(fake: FakeUai) -> None:
    """There is one ps a node, on the CPU: a cluster of that shape fits, another does not."""
    two = TWO_NODES.replace("multi_worker_mirrored", "parameter_server")
    fits = two.replace("  worker:", "  ps: {count: 2}\n  worker:")
    prepared = platform(fake).prepare(request(fits))
    assert "--strategy=parameter_server" in str(prepared.params["DockerCmd"])
    told = problems(two.replace("  worker:", "  ps: {count: 1, gpus: 1}\n  worker:"))
    assert "tasks.ps: every node has one ps there: expected 2 (chief and workers), got 1" in told
    assert "tasks.ps.gpus: a ps has no GPU there" in told


def test_the_old_form(fake: FakeUai) -> None:
    """A file in the old form, as of the platform's own examples, is as good as one in the new."""
    old = TWO_NODES.partition("tasks:")[0] + (
        "cluster: {master: ['10.0.0.1:2222'], worker: ['10.0.0.2:2222'],\n"
        "          ps: ['10.0.0.1:2223', '10.0.0.2:2223']}\n"
        "tasks: {chief: {gpus: 2}, worker: {gpus: 2}}\n"
    )
    prepared = platform(fake).prepare(request(old))
    assert prepared.params == platform(fake).prepare(request()).params
    served = old.replace("multi_worker_mirrored", "auto")
    command = str(platform(fake).prepare(request(served)).params["DockerCmd"])
    assert "--strategy=parameter_server" in command


@pytest.mark.parametrize("path", ["", "/nfs/mnist", "./data", "10.0.0.1:/tmp/", f"{UFS}../x/",
                                  "https://example.com/x/", "file:///data/"])  # fmt: skip
def test_what_does_not_last_is_refused(path: str) -> None:
    """Data and output must lie where they outlive a node."""
    told = problems(TWO_NODES, data=path, output=path)
    assert "platforms.uai.data" in told and "platforms.uai.output" in told
    assert "expected IP:/ufs-ID/PATH/ (UFS), got" in told


def test_arguments_that_mean_something_else_there() -> None:
    """What the platform gives itself, and folders that are lost with a node, are refused."""
    told = problems(TWO_NODES, ["--output_dir=/x", "--model_dir", "/models", "--log_dir=/data/x"])
    assert "--output_dir: the platform gives this argument itself" in told
    assert "--model_dir: /models is lost there with its node" in told
    assert "--log_dir: /data/x is lost" in told
    needs.of(request(args=["--model_dir=/data/output/m"]), platform_settings())


def platform_settings(**given: Any) -> Settings:
    return Settings(**{"data": UFS, "output": UFS, "max_hours": 1, **given})


def test_how_long_it_may_run() -> None:
    """The file's own limit is the platform's, in whole hours; there must be one."""
    assert "platforms.uai: how long may it run there?" in problems(TWO_NODES, max_hours=None)
    text = f"{TWO_NODES}timeouts: {{run_s: 3601}}\n"
    assert needs.of(request(text), platform_settings(max_hours=None)).hours == 2


def test_all_problems_at_once(fake: FakeUai) -> None:
    """A file's problems and missing keys are told together; the platform is asked nothing."""
    text = TWO_NODES.replace("worker: {gpus: 2}", "worker: {gpus: 1}")
    nobody = UaiTrain(Settings(endpoint=fake.url), {"HOME": "/nonexistent"})
    with pytest.raises(InputError) as refused:
        nobody.prepare(request(text))
    told = str(refused.value)
    for said in ("all nodes are alike", "uai.data", "uai.output", "how long", "no keys"):
        assert said in told
    assert fake.requests == []


@pytest.mark.parametrize(
    ("settings", "gpus", "said"),
    [
        ({}, 4, "cluster.yaml:7 platforms.uai.gpu: several kinds of nodes fit; expected one of "
         "P40, V100"),
        ({"gpu": "A100"}, 4, "no node with 4-A100; it has 1-P40, 2-P40, 4-P40, 4-V100"),
        ({}, 3, "no node with 3 GPUs; it has"),
        ({"framework": "tensorflw"}, 2, "no framework 'tensorflw', did you mean 'TensorFlow'?"),
    ],
)  # fmt: skip
def test_what_the_platform_does_not_have(
    fake: FakeUai, settings: dict[str, Any], gpus: int, said: str
) -> None:
    """What is missing there is told with what there is."""
    text = TWO_NODES.replace("gpus: 2", f"gpus: {gpus}")
    with pytest.raises(InputError) as refused:
        platform(fake, **settings).prepare(request(text))
    assert said in str(refused.value)


def test_an_image_without_a_digest(fake: FakeUai, tmp_path: Path) -> None:
    """A tag is not sent unless the file says so: it may mean another image tomorrow."""
    tagged = IMAGE.partition("@")[0] + ":v1"
    text = TWO_NODES.replace(IMAGE, tagged)
    unknown = UaiTrain(
        platform(fake).settings, {**fake.environ(), "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    )
    with pytest.raises(InputError, match=r"image: no digest is known here of .*@sha256:…"):
        unknown.prepare(request(text))
    prepared = platform(fake, by_digest=False).prepare(request(text))
    assert prepared.params["CodeUhubPath"] == tagged


def test_the_digest_that_docker_knows(fake: FakeUai, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag becomes the digest under which this machine's Docker pushed it to that registry."""
    other, own = "registry.lab/mnist@sha256:" + "cd" * 32, IMAGE
    monkeypatch.setattr(images, "_known", lambda image, environ: (other, own))
    text = TWO_NODES.replace(IMAGE, IMAGE.partition("@")[0] + ":v1")
    assert platform(fake).prepare(request(text)).params["CodeUhubPath"] == IMAGE
    with pytest.raises(InputError, match="no digest is known here"):
        platform(fake).prepare(request(text.replace("/lab/mnist", "/lab/mnis")))


@pytest.mark.parametrize(
    ("exec_", "job", "command"),
    [
        (False, ("/x/train.py", ("--a", "b c")), "-u /data/train.py --a 'b c'"),
        (False, (None, ("python3", "-m", "pkg")), "-m pkg"),
        (True, (None, ("python3", "-m", "pkg")),
         "-m launcher exec --strategy=multi_worker_mirrored -- python3 -m pkg"),
    ],
)  # fmt: skip
def test_the_command(exec_: bool, job: Any, command: str) -> None:
    """The platform's interpreter is followed by `launch exec`, or by the script alone."""
    script, args = job
    asked = request()._replace(job=Job("train", script, args, "/x"))
    assert needs.of(asked, platform_settings(exec=exec_)).command == command


def test_a_command_without_python() -> None:
    """What is no Python program can only be reached through `launch exec`."""
    asked = request()._replace(job=trainer.command(["sh", "-c", "x"], "/x"))
    with pytest.raises(InputError, match="runs Python alone"):
        needs.of(asked, platform_settings(exec=False))


# keys


def credential_file(folder: Path, *entries: dict[str, Any]) -> str:
    path = folder / ".ucloud" / "credential.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(list(entries)))
    return str(path)


def test_keys_from_the_ucloud_commands_file(fake: FakeUai, tmp_path: Path) -> None:
    """The active profile's keys and project are used, or those of the profile that is named."""
    good = {"profile": "me", "public_key": PUBLIC_KEY, "private_key": PRIVATE_KEY}
    credential_file(
        tmp_path, {"profile": "x", "public_key": "wrong-key", "private_key": "y" * 9}, good
    )
    (tmp_path / ".ucloud/config.json").write_text(
        json.dumps([{"profile": "x", "active": False}, {"profile": "me", "active": True,
                                                          "project_id": "org-7"}])
    )  # fmt: skip
    mine = UaiTrain(Settings(endpoint=fake.url), {"HOME": str(tmp_path)})
    assert mine.jobs() == []
    assert fake.requests[-1]["ProjectId"] == "org-7"
    assert fake.requests[-1]["Region"] == "cn-bj2" and fake.requests[-1]["Zone"] == "cn-bj2-04"
    wrong = UaiTrain(Settings(endpoint=fake.url, profile="x"), {"HOME": str(tmp_path)})
    with pytest.raises(HostError, match="nobody has this public key"):
        wrong.jobs()
    environ = {"HOME": str(tmp_path), **fake.environ(), "UCLOUD_PROJECT_ID": "org-8"}
    UaiTrain(Settings(endpoint=fake.url, profile="x"), environ).jobs()
    assert fake.requests[-1]["ProjectId"] == "org-8"


@pytest.mark.parametrize(
    ("content", "environ", "said"),
    [
        (None, {}, "no keys: $UCLOUD_PUBLIC_KEY and $UCLOUD_PRIVATE_KEY are not set"),
        ("{", {}, "expected JSON"),
        ('[{"profile": "a"}]', {}, "expected public_key and private_key"),
        (None, {"UCLOUD_PUBLIC_KEY": "x" * 9}, "$UCLOUD_PRIVATE_KEY: is not set"),
        (None, {"UCLOUD_PUBLIC_KEY": "x" * 9, "UCLOUD_PRIVATE_KEY": "a b" * 9}, "without spaces"),
    ],
)
def test_keys_that_are_none(
    tmp_path: Path, content: str | None, environ: dict[str, str], said: str
) -> None:
    """What is wrong with the keys is told without a word of them."""
    if content is not None:
        Path(credential_file(tmp_path)).write_text(content)
    with pytest.raises(InputError) as refused:
        UaiTrain(Settings(), {"HOME": str(tmp_path), **environ}).jobs()
    assert said in str(refused.value) and "a ba b" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://api.ucloud.cn", "ftp://x", "api.ucloud.cn", "https://",
                                 "https://me:pw@host", "http://127.0.0.1:x"])  # fmt: skip
def test_endpoints_that_would_give_keys_away(fake: FakeUai, url: str) -> None:
    """Keys cross a network only where it is encrypted."""
    with pytest.raises(InputError, match=r"platforms\.uai\.endpoint"):
        platform(fake, endpoint=url).jobs()


def test_a_wrong_private_key(fake: FakeUai) -> None:
    """A refused signature is told once: nothing is tried again, and no key is shown."""
    environ = {**fake.environ(), "UCLOUD_PRIVATE_KEY": "not-the-right-one"}
    with pytest.raises(HostError) as refused:
        UaiTrain(Settings(endpoint=fake.url), environ).jobs()
    assert "the private key is not that of the public key" in str(refused.value)
    assert "not-the-right-one" not in str(refused.value) + repr(refused.value.__dict__)
    assert len(fake.requests) == 1


def test_an_answer_that_repeats_a_key(fake: FakeUai) -> None:
    """What the platform says back of a key is masked, however it is written."""
    message = f"bad key {PRIVATE_KEY} \\u00{ord(PUBLIC_KEY[0]):02x}{PUBLIC_KEY[1:]} %40"
    fake.fault(LIST, '{"RetCode": 5, "Message": "' + message + '"}')
    with pytest.raises(HostError) as refused:
        platform(fake).jobs()
    assert str(refused.value) == f"{LIST} was refused: bad key ******** ******** %40 (5)"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with its key."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    more = ("-nodes", "-subj", "/CN=fake", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    subprocess.run([*words, *more, "-keyout", file, "-out", f"{file}.crt"], check=True,
                   capture_output=True)  # fmt: skip
    with file.open("ab") as both:
        both.write(Path(f"{file}.crt").read_bytes())
    return file


def test_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not prove that he is the platform is sent nothing; who does is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeUai(context) as fake:
        with pytest.raises(HostError, match="does not prove who it is"):
            platform(fake).jobs()
        assert fake.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        assert platform(fake).jobs() == []
        assert fake.actions() == [LIST]


# from start to end


def test_a_job_from_its_start_to_its_end(fake: FakeUai) -> None:
    """Made, listed, asked after, stopped and removed, each as its state allows."""
    train = platform(fake)
    job = train.submit(train.prepare(request()))
    assert (job.id, job.name, job.state) == ("uaitrain-0001", "run-1", State.PENDING)
    assert [each.id for each in train.jobs()] == [job.id]
    states = [train.job(job.id).state for _ in range(3)]
    assert states == [State.PENDING, State.STARTING, State.RUNNING]
    with pytest.raises(InputError, match="it is running; expected a job that has ended"):
        train.delete(job.id)
    train.rename(job.id, "other")
    told = platform(fake).job(job.id)
    assert told.name == "other" and told.details["image"] == IMAGE
    assert told.details["tensorboard"] == "http://10.1.2.3:6006/"
    assert (told.details["running"], told.details["cost"]) == ("61 s", "12.34 CNY")
    train.stop(job.id)
    train.stop(job.id)
    assert train.job(job.id).state is State.STOPPED
    train.stop(job.id)
    assert fake.actions().count("StopUAITrainJob") == 1
    assert platform(fake).job(job.id).details["cost"] == "42.00 CNY"
    train.delete(job.id)
    assert train.jobs() == []
    with pytest.raises(InputError, match="uaitrain-0001: no such job"):
        train.job(job.id)
    keys = [set(sent) & {"TrainPrivateKey", "TrainPublicKey"} for sent in fake.requests]
    assert sum(map(bool, keys)) == 1  # they go with the job alone


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("pending", State.PENDING),
        ("starting", State.STARTING),
        ("Doing", State.RUNNING),
        ("stopping", State.STOPPING),
        ("Done", State.SUCCEEDED),
        ("Stopped", State.STOPPED),
        ("Error", State.FAILED),
        ("Frozen", State.UNKNOWN),
    ],
)
def test_states(fake: FakeUai, said: str, state: State) -> None:
    """Each of its words has one of ours; one that is new is shown as it is."""
    fake.add("j1", said)
    job = platform(fake).job("j1")
    assert (job.state, job.said) == (state, said)


def test_lists_come_in_pages(fake: FakeUai) -> None:
    """Every job is listed once, the oldest first, whatever a page holds."""
    for number in range(12):
        fake.add(f"j{number:02}", "Done")
    fake.longest_page = 5
    assert [job.id for job in platform(fake).jobs()] == [f"j{n:02}" for n in range(12)]
    assert fake.actions() == [LIST] * 3


# faults


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "504", "html", "half", "cut",
                                   "reset", "silent", "code-150", "code-110", "{}"])  # fmt: skip
def test_what_may_be_asked_again_is(fake: FakeUai, fault: str) -> None:
    """A failure that may pass is tried again, a bounded number of times."""
    fake.add("j1", "Done")
    fake.fault(LIST, fault, fault)
    assert [job.id for job in platform(fake).jobs()] == ["j1"]
    assert fake.actions() == [LIST] * 3
    if fault != "silent":
        fake.fault(LIST, *[fault] * calls.TRIES)
        with pytest.raises(HostError, match=LIST):
            platform(fake).jobs()
        assert fake.actions() == [LIST] * (3 + calls.TRIES)


def test_the_pauses_between_tries(fake: FakeUai, monkeypatch: pytest.MonkeyPatch) -> None:
    """They double, half of each is chance, and a platform that names its time gets it."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr(calls, "time", clock)
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 1.0)
    fake.fault(LIST, "429:7", "503:9999", "500", "500")
    assert platform(fake).jobs() == []
    assert slept[:2] == [7.0, 30.0]
    assert 2 <= slept[2] <= 4 and 4 <= slept[3] <= 8
    assert len(set(itertools.chain(*(calls.pauses() for _ in range(9))))) > 30


@pytest.mark.parametrize("fault", ["302", "400", "403", "404"])
def test_what_will_not_pass_is_not(fake: FakeUai, fault: str) -> None:
    """What would be refused again is not asked again, and no key follows a redirection."""
    fake.fault(LIST, fault)
    with pytest.raises(HostError, match=f"HTTP {fault}"):
        platform(fake).jobs()
    assert len(fake.requests) == 1


def test_nobody_answers() -> None:
    """A platform that cannot be reached is named."""
    with FakeUai() as gone:
        train = platform(gone)
    with pytest.raises(HostError, match=r"127\.0\.0\.1:.* cannot be reached"):
        train.jobs()


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "code-150"])
def test_a_job_that_was_not_made_is_made(fake: FakeUai, fault: str) -> None:
    """Where the platform says that it cannot now, and lists no such job, it is asked again."""
    train = platform(fake)
    fake.fault(CREATE, fault, fault)
    assert train.submit(train.prepare(request())).id == "uaitrain-0001"
    asked = [action for action in fake.actions() if action in (CREATE, LIST)]
    assert asked == [CREATE, LIST, CREATE, LIST, CREATE]
    assert len(fake.jobs) == 1


@pytest.mark.parametrize("fault", ["late-500", "late-504", "late-html", "late-half", "late-cut",
                                   "late-reset", "late-silent", "late-{}"])  # fmt: skip
def test_a_job_is_made_once(fake: FakeUai, fault: str) -> None:
    """Where the answer is lost, the job is found by its name; it is never made twice."""
    for number in range(7):
        fake.add(f"old-{number}", "Done")
    fake.longest_page = 3
    train = platform(fake)
    fake.fault(CREATE, fault)
    assert train.submit(train.prepare(request())).id == "uaitrain-0008"
    assert fake.actions().count(CREATE) == 1


@pytest.mark.parametrize("fault", ["504", "html", "half", "reset", "silent"])
def test_a_job_of_which_nobody_knows(fake: FakeUai, fault: str) -> None:
    """Where the first request may still be at work, no second one is sent; that is said."""
    train = platform(fake)
    prepared = train.prepare(request())
    fake.fault(CREATE, fault)
    with pytest.raises(HostError) as failed:
        train.submit(prepared)
    assert "whether there is a job run-1 now is not known" in str(failed.value)
    assert fake.actions().count(CREATE) == 1 and fake.actions().count(LIST) == calls.TRIES


def test_a_job_that_is_refused(fake: FakeUai) -> None:
    """A refusal is told with the platform's words, and not tried again."""
    train = platform(fake)
    prepared = train.prepare(request())
    fake.fault(CREATE, '{"RetCode": 520, "Message": "UAccount balance is not enough"}')
    with pytest.raises(HostError, match=r"UAccount balance is not enough \(520\)"):
        train.submit(prepared)
    assert fake.actions().count(CREATE) == 1


@pytest.mark.parametrize("action", ["StopUAITrainJob", "RemoveUAITrainJob"])
def test_what_was_done_though_the_answer_was_lost(fake: FakeUai, action: str) -> None:
    """A stop or removal whose first answer is lost has happened, and is no error."""
    fake.add("j1", "Doing" if action.startswith("Stop") else "Done")
    fake.fault(action, "late-reset")
    train = platform(fake)
    if action.startswith("Stop"):
        train.stop("j1")
        assert train.job("j1").state is State.STOPPED
    else:
        train.delete("j1")
        assert train.jobs() == []
    assert fake.actions().count(action) == 2


# logs


def test_a_followed_log_has_every_line_once(fake: FakeUai) -> None:
    """The platform shows a log's end again and again; each line comes once, through faults too."""
    job = fake.add("j1", "pending", "starting", "Doing", "Doing", "Doing", "Doing", "Doing", "Done")
    job.logs = {"worker-0": [], "ps-0": ["serves"]}
    parts = [
        [f"step {n}" for n in range(a, b)] for a, b in ((0, 30), (30, 70), (70, 70), (70, 110))
    ]
    job.to_come = {"worker-0": parts}
    fake.fault(LOG, "500", "half", "reset")
    lines = list(platform(fake).logs("j1", follow=True))
    of_worker = [line.text for line in lines if line.source == "worker-0"]
    assert of_worker == [f"step {n}" for n in range(110)]
    assert [line.text for line in lines if line.source == "ps-0"] == ["serves"]


def test_a_log_as_it_is(fake: FakeUai) -> None:
    """Without following, what is shown now is printed; a job that has not begun has nothing."""
    fake.add("j1", "Done").logs = {"worker-0": [f"line {n}\r" for n in range(60)]}
    fake.add("j2", "pending")
    lines = [line.text for line in platform(fake).logs("j1", follow=False)]
    assert lines == [f"line {n}" for n in range(60 - MOST_LINES, 60)]
    assert list(platform(fake).logs("j2", follow=False)) == []
    with pytest.raises(InputError, match="j9: no such job"):
        list(platform(fake).logs("j9", follow=True))


@pytest.mark.parametrize("follow", [False, True])
def test_a_log_that_is_gone(fake: FakeUai, follow: bool) -> None:
    """Where the platform no longer shows a log, the file that holds it is named."""
    fake.add("j1", "Done", LogFileURL="http://logs/j1")
    fake.fault("GetUAITrainRunningLogTopicList", '{"RetCode": 8032, "Message": "gone"}')
    with pytest.raises(HostError, match="the log file is http://logs/j1"):
        list(platform(fake).logs("j1", follow=follow))


def test_a_log_that_never_was(fake: FakeUai) -> None:
    """A job that was stopped before it began has no log; whoever followed it is told nothing."""
    fake.add("j1", "pending", "Stopped")
    fake.fault("GetUAITrainRunningLogTopicList", *['{"RetCode": 8032, "Message": "none"}'] * 2)
    assert list(platform(fake).logs("j1", follow=True)) == []


@given(
    log=st.lists(st.sampled_from("abc"), max_size=60),
    steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=12),
)
def test_no_line_twice(log: list[str], steps: list[tuple[int, int]]) -> None:
    """Views of a growing log's end, late ones among them, never yield a line a second time.

    Lines are numbered here, so that none is like another; a view shows ten, and none passes unseen
    between two.
    """
    numbered = [f"{n} {word}" for n, word in enumerate(log)]
    cursor, size = Cursor(), 0
    got: list[str] = []
    for more, late in steps:
        size = min(len(numbered), size + more)
        shown = max(0, size - late)
        got += cursor.new(numbered[max(0, shown - 10) : shown])
    assert got == sorted(set(got), key=numbered.index)
    assert got == numbered[: len(got)]


def test_lines_that_are_alike() -> None:
    """Of equal lines as many are new as the view has more of them."""
    cursor = Cursor()
    assert cursor.new(["a", "a"]) == ["a", "a"]
    assert cursor.new(["a", "a", "a"]) == ["a"]
    assert cursor.new(["a", "a", "a"]) == []
    assert cursor.new(["a", "b", "a"]) == ["b", "a"]


# the command line


@pytest.fixture
def user(launching: Launching, fake: FakeUai) -> Launching:
    """Starts `launch` as a user of the fake platform."""
    launching.env |= fake.environ()
    launching.cluster(TWO_NODES.replace("ENDPOINT", fake.url))
    launching.write("train.py", "")
    return launching


def test_a_dry_run_shows_what_would_be_sent(user: Launching, fake: FakeUai) -> None:
    """Exactly the parameters of the request are shown, keys and signature masked."""
    done = user.run("submit", "--platform", "uai", "--dry-run", "--json", "./train.py", "--lr", "1")
    assert (done.code, done.err) == (0, "")
    assert PRIVATE_KEY not in done.out and PUBLIC_KEY not in done.out
    shown = json.loads(done.out)
    assert shown["url"] == fake.url and fake.jobs == {}
    done = user.run("submit", "--platform", "uai", "./train.py", "--lr", "1")
    assert done.code == 0 and "submitted as uaitrain-0001" in done.out
    sent = fake.requests[-1]
    masked = ("PublicKey", "TrainPublicKey", "TrainPrivateKey", "Signature")
    expected = {key: str(value) for key, value in shown["parameters"].items()}
    for key in masked:
        assert expected.pop(key) == "********"
    expected.pop("TrainJobName")
    named = {k: v for k, v in sent.items() if k not in (*masked, "TrainJobName")}
    assert named == expected
    text = user.run("submit", "--platform", "uai", "--dry-run", "./train.py").out
    assert "2 x 2-P40 of UAI Train\nPOST http" in text and "Signature=********" in text
    assert "note: the image must hold /data/train.py" in text


def test_waiting_and_following(user: Launching, fake: FakeUai) -> None:
    """A job that is followed to its end gives its exit code."""
    fake.add("j1", "Doing", "Error").logs = {"worker-0": ["one", "two"]}
    done = user.run("submit", "logs", "-f", "--platform", "uai", "j1")
    assert (done.code, done.out) == (1, "worker-0 | one\nworker-0 | two\n")
    assert "failed (Error)" in user.run("submit", "status", "--platform", "uai", "j1").out


PAGE = (Path(__file__).parent.parent.parent / "docs/platforms.md").read_text(encoding="utf-8")


def test_the_documents_table() -> None:
    """The page's table of settings is what the types say."""
    assert settings_table(Settings) in PAGE, settings_table(Settings)


def test_the_documents_example(fake: FakeUai, tmp_path: Path) -> None:
    """The page's cluster.yaml is accepted, and becomes a job."""
    section = PAGE.partition("## UAI Train")[2].partition("\n## ")[0]
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    settings = config.platform_settings(str(file), "uai", Settings, given=True)
    train = UaiTrain(settings._replace(endpoint=fake.url), fake.environ())
    assert train.prepare(request(text)).params["TrainWorkAmount"] == 4


def test_found_by_its_name() -> None:
    """The platform comes with the launcher."""
    assert platforms.find("uai") is UaiTrain
