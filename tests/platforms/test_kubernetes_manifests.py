"""A run as Kubernetes manifests: what they say, and that every API server takes them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yaml import MappingNode

from launcher import config
from launcher.decode import Decoder
from launcher.errors import InputError
from launcher.layout import Job
from launcher.nodes import compose
from launcher.platforms import Request
from launcher.platforms.kubernetes import names
from launcher.platforms.kubernetes.manifests import Manifests, manifests
from launcher.platforms.kubernetes.settings import Settings, Toleration
from launcher.platforms.kubernetes.text import dumped
from launcher.schema import settings_table
from launcher.tf_config import TfConfig
from tests.platforms import published

PS = (
    "image: lab/img\n"
    "tasks: {chief: {gpus: 1}, worker: {count: 2, gpus: 1}, ps: {}, evaluator: {}}\n"
)
MWMS = "image: lab/img\ntasks: {chief: {}, worker: {count: 2}}\n"
KEPT = Settings(output="results")
COMMAND = Job("train", None, ("train", "--now"), "/")
OPERATORS = [KEPT, KEPT._replace(operator="tfjob")]


def made(
    text: str = MWMS, given: Settings = KEPT, job: Job = COMMAND, run_id: str = "lab-1"
) -> Manifests:
    spec = config.parse(text, elsewhere=True)
    return manifests(Request(spec, job, run_id, f"/runs/{run_id}"), given)


def problems(text: str = MWMS, given: Settings = KEPT, job: Job = COMMAND) -> list[str]:
    with pytest.raises(InputError) as caught:
        made(text, given, job)
    return [str(problem) for problem in caught.value.problems]


def of_kind(run: Manifests, kind: str, name: str = "") -> dict[str, Any]:
    (only,) = [o for o in run.objects if o["kind"] == kind and o["metadata"]["name"].endswith(name)]
    return only


def job_of(run: Manifests, task: str) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(run, "Job", f"-{task}")["spec"]
    return spec


def pod_of(run: Manifests, task: str) -> dict[str, Any]:
    pod: dict[str, Any] = job_of(run, task)["template"]["spec"]
    return pod


def container_of(run: Manifests, task: str) -> dict[str, Any]:
    (container,) = pod_of(run, task)["containers"]
    return dict(container)


def env_of(run: Manifests, task: str, index: int = 0) -> dict[str, str]:
    """Return a task's environment as its container will see it."""
    env: dict[str, str] = {"LAUNCH_TASK_INDEX": str(index)}
    for variable in container_of(run, task)["env"]:
        if "value" in variable:
            env[variable["name"]] = published.expanded(variable["value"], env)
    return env


@pytest.mark.parametrize("given", OPERATORS, ids=["jobs", "tfjob"])
@pytest.mark.parametrize("text", [PS, MWMS, "image: i\ntasks: {worker: {}}\n"])
@pytest.mark.parametrize("version", [published.OLDEST, published.NEWEST])
def test_api_servers_take_them(given: Settings, text: str, version: str) -> None:
    """Every object fits the published schemas, strictly, of old and new versions."""
    published.check(list(made(text, given).objects), version)


@pytest.mark.parametrize("text", [PS, MWMS])
def test_every_task_gets_its_tf_config(text: str) -> None:
    """With the index that Kubernetes writes into it, each pod's TF_CONFIG is that of its task."""
    run, spec = made(text), config.parse(text, elsewhere=True)
    for task in spec.tasks:
        kind = task.id.type.value
        found = TfConfig.parse(env_of(run, kind, task.id.index)["TF_CONFIG"], spec.strategy)
        assert (found.task, found.findings) == (task.id, ())
        assert found.address(task.id) == f"lab-1-{task.id.slug}.lab-1:2222"
        job = of_kind(run, "Job", f"-{kind}")
        assert found.address(task.id).startswith(f"{job['metadata']['name']}-")
        assert job["spec"]["template"]["spec"]["subdomain"] == "lab-1"
    service = of_kind(run, "Service")["spec"]
    assert service["clusterIP"] == "None" and service["publishNotReadyAddresses"] is True


def test_who_decides_and_who_may_fail() -> None:
    """Under parameter_server the chief decides; one worker lost for good takes no other along."""
    run = made(PS)
    decides = {
        o["metadata"]["labels"]["launch/task"]: o["metadata"]["labels"]["launch/decides"]
        for o in run.objects
        if o["kind"] == "Job"
    }
    assert decides == {"chief": "true", "worker": "false", "ps": "false", "evaluator": "false"}
    assert "maxFailedIndexes" not in job_of(run, "worker")
    assert job_of(run, "ps")["maxFailedIndexes"] == 0
    gang = made(MWMS)
    assert of_kind(gang, "Job", "-worker")["metadata"]["labels"]["launch/decides"] == "true"
    assert job_of(gang, "worker")["maxFailedIndexes"] == 0


def test_restarts() -> None:
    """A task is restarted as often as the file says; saved state and lost nodes cost nothing."""
    run = made(f"{MWMS}restarts: {{max: 7, on: [exit, host]}}\n")
    job = job_of(run, "worker")
    assert job["backoffLimitPerIndex"] == 7
    rules = [(r["action"], r.get("onExitCodes", {}).get("values")) for r in
             job["podFailurePolicy"]["rules"]]  # fmt: skip
    assert rules[:3] == [("Ignore", None), ("Ignore", [42]), ("FailJob", [2])]
    action, signals = rules[3]
    assert action == "FailJob" and signals is not None and {137, 139, 143} <= set(signals)
    job = job_of(made(f"{MWMS}restarts: {{on: []}}\n"), "worker")
    actions = [rule["action"] for rule in job["podFailurePolicy"]["rules"]]
    assert actions == ["FailJob", "Ignore", "FailJob", "FailJob", "FailJob"]


def test_limits_of_time() -> None:
    """run_s and grace_s are those of the file, rounded up to Kubernetes' whole seconds."""
    run = made(f"{MWMS}timeouts: {{run_s: 90.5, grace_s: 0}}\n", KEPT._replace(keep_s=0))
    assert job_of(run, "chief")["activeDeadlineSeconds"] == 91
    assert job_of(run, "chief")["ttlSecondsAfterFinished"] == 0
    assert pod_of(run, "chief")["terminationGracePeriodSeconds"] == 1


def test_numbers_that_no_manifest_holds() -> None:
    """As good as without end is the most that Kubernetes takes."""
    text = f"{MWMS}timeouts: {{run_s: 1.0e+300, grace_s: 1.0e+300}}\nrestarts: {{max: {10**20}}}\n"
    job = job_of(made(text), "chief")
    assert job["activeDeadlineSeconds"] == job["backoffLimitPerIndex"] == 2**31 - 1
    policy = of_kind(made(text, OPERATORS[1]), "TFJob")["spec"]["runPolicy"]
    assert policy["backoffLimit"] == 2**31 - 1


def test_what_a_pod_may_use() -> None:
    """GPUs, memory and processors by task type; a task without a GPU sees none."""
    text = f"{PS}memory: 4g\nshm_size: 64m\n".replace("ps: {}", "ps: {cpus: 0.5, memory: 1g}")
    run = made(text, KEPT._replace(gpu="amd.com/gpu"))
    limits = {"memory": "4294967296", "amd.com/gpu": "1"}
    assert container_of(run, "worker")["resources"] == {"requests": limits, "limits": limits}
    limits = {"cpu": "500m", "memory": "1073741824"}
    assert container_of(run, "ps")["resources"]["limits"] == limits
    assert env_of(run, "ps")["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in env_of(run, "worker")
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "67108864"}}
    assert shm in pod_of(run, "ps")["volumes"]


def test_paths_become_claims() -> None:
    """A path of the file is found by the nearest folder that the settings name."""
    text = (
        f"{MWMS}data: {{path: /nfs/mnist, read_only: true}}\ncheckpoints: /nfs/runs\n"
        "volumes: [{path: /scratch, at: /scratch}, {path: /nfs/big/x, at: /x}]\n"
    )
    claims = {"/nfs": "shared/all", "/nfs/big": "nfs://filer/export/big", "/scratch": "tmp"}
    run = made(text, Settings(claims=claims, output="results/of-runs"))
    published.check(list(run.objects))
    volumes = {v["name"]: v for v in pod_of(run, "chief")["volumes"]}
    seen = {}
    for mount in container_of(run, "chief")["volumeMounts"]:
        source = dict(volumes[mount["name"]])
        del source["name"]
        folder = mount.get("subPath") or mount.get("subPathExpr")
        seen[mount["mountPath"]] = (source, folder, mount.get("readOnly", False))
    shared = {"persistentVolumeClaim": {"claimName": "shared"}}
    assert seen["/data/data"] == (shared, "all/mnist", True)
    assert seen["/nfs/runs"] == (shared, "all/runs", False)
    assert seen["/scratch"] == ({"persistentVolumeClaim": {"claimName": "tmp"}}, None, False)
    assert seen["/x"] == ({"nfs": {"server": "filer", "path": "/export/big"}}, "x", False)
    results = {"persistentVolumeClaim": {"claimName": "results"}}
    assert seen["/data/output"] == (results, "of-runs/lab-1/$(LAUNCH_TASK_NAME)", False)
    assert env_of(run, "worker", 1)["LAUNCH_TASK_NAME"] == "worker-1"
    assert env_of(run, "worker")["LAUNCH_CHECKPOINT_DIR"] == "/nfs/runs/lab-1"


def test_checkpoints_without_a_folder_of_their_own() -> None:
    """They lie among the results, where all tasks see them; without results a note says so."""
    run = made(MWMS)
    assert env_of(run, "chief")["LAUNCH_CHECKPOINT_DIR"] == "/data/checkpoints"
    mounts = container_of(run, "chief")["volumeMounts"]
    (mount,) = [m for m in mounts if m["mountPath"] == "/data/checkpoints"]
    assert mount["subPath"] == "lab-1/checkpoints"
    nowhere = made(MWMS, Settings(output="none"))
    assert "nothing is kept" in nowhere.text().splitlines()[1]


def test_secrets_by_reference() -> None:
    """A secret is named and never shown; one in the environment too."""
    text = f"{MWMS}secrets: {{token: {{env: TOKEN}}, key: {{file: /none}}}}\n"
    given = KEPT._replace(
        secrets={"token": "lab", "key": "lab/the.key"}, env_secrets={"API_KEY": "lab/api"}
    )
    run = made(text, given)
    published.check(list(run.objects))
    assert {
        v["secret"]["secretName"] for v in pod_of(run, "chief")["volumes"] if "secret" in v
    } == {"lab"}
    mounts = {m["mountPath"] for m in container_of(run, "chief")["volumeMounts"]}
    assert {"/run/secrets/token", "/run/secrets/key"} <= mounts
    reference = {"secretKeyRef": {"name": "lab", "key": "api"}}
    assert {"name": "API_KEY", "valueFrom": reference} in container_of(run, "chief")["env"]


def test_where_pods_go() -> None:
    """What the settings say of nodes, queues and rights is what the pods ask for."""
    given = KEPT._replace(
        namespace="ml",
        service_account="trainer",
        image_pull_secrets=("registry",),
        node_selector={"pool": "gpu"},
        tolerations=(Toleration("gpu", "Exists", effect="NoSchedule"),),
        priority_class="high",
        runtime_class="nvidia",
        labels={"kueue.x-k8s.io/queue-name": "ml"},
        annotations={"note": "any text: é"},
    )
    for operator in ("none", "tfjob"):
        run = made(MWMS, given._replace(operator=operator))
        published.check(list(run.objects))
        assert {o["metadata"]["namespace"] for o in run.objects} == {"ml"}
    pod = pod_of(made(MWMS, given), "worker")
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"] == {"pool": "gpu"} and "automountServiceAccountToken" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    root = pod_of(made(MWMS, KEPT._replace(user=0)), "worker")
    assert "runAsNonRoot" not in root["securityContext"]
    assert root["automountServiceAccountToken"] is False


def test_the_code_comes_along(tmp_path: Path) -> None:
    """Script and modules are mounted where containers have them; bytes that are no text too."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "lib/deep.py").write_text("x = 1\n")
    (tmp_path / "train.py").write_text("import lib\nprint('é')\n", encoding="utf-8")
    script = str(tmp_path / "train.py")
    job = Job("train", script, ("-v",), str(tmp_path), platform_args=True)
    run = made(MWMS, KEPT, job)
    published.check(list(run.objects))
    code = of_kind(run, "ConfigMap")
    assert code["data"]["train.py"] == "import lib\nprint('é')\n"
    mounted = {
        m["mountPath"]: code["data"][m["subPath"]]
        for m in container_of(run, "chief")["volumeMounts"]
        if m["name"] == "code"
    }
    assert mounted["/data/lib/deep.py"] == "x = 1\n"
    command = container_of(run, "chief")["command"]
    assert command[:2] == ["python", "/data/train.py"] and command[-1] == "-v"
    assert "--output_dir=/data/output" in command
    (tmp_path / "train.py").write_bytes(b"# \xff\n")
    binary = of_kind(made(MWMS, KEPT, job), "ConfigMap")["binaryData"]
    assert binary == {"train.py": "IyD/Cg=="}
    (tmp_path / "train.py").write_text("x" * 1_100_000)
    (problem,) = problems(MWMS, KEPT, job)
    assert "a ConfigMap holds no more" in problem


def test_whose_tasks_must_be_told_that_it_is_over() -> None:
    """Servers of foreign code end by `launch exec`; without the launcher there a note says how."""
    foreign = container_of(made(PS), "ps")
    assert foreign["command"][:4] == ["launch", "exec", "--end-together", "--"]
    assert env_of(made(PS), "ps")["LAUNCH_CHIEF"] == "lab-1-chief-0.lab-1:2222"
    assert env_of(made(PS), "ps")["LAUNCH_OTHERS"] == "4"
    script = str(Path(__file__))
    ours = made(PS, job=COMMAND._replace(script=script, platform_args=True))
    assert container_of(ours, "ps")["command"][0] == "python"
    without = made(PS, KEPT._replace(exec=False))
    assert container_of(without, "ps")["command"] == ["train", "--now"]
    assert "submit stop --platform kubernetes lab-1" in without.text().splitlines()[1]
    assert container_of(made(MWMS), "chief")["command"] == ["train", "--now"]


def test_notes_of_the_files_hosts_are_none() -> None:
    """What the file's own hosts would lack is nothing to say of Kubernetes."""
    hosts = "hosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}\n"
    assert made(f"{PS}{hosts}").notes == ()


def test_tfjob() -> None:
    """Kubeflow's operator is told our rules in its words, and its TF_CONFIG is made right."""
    job = of_kind(made(PS, OPERATORS[1]), "TFJob")["spec"]
    assert job["runPolicy"] == {"cleanPodPolicy": "Running", "backoffLimit": 3}
    assert job["successPolicy"] == ""
    assert {k: r["replicas"] for k, r in job["tfReplicaSpecs"].items()} == {
        "Chief": 1,
        "Worker": 2,
        "PS": 1,
        "Evaluator": 1,
    }
    for replica in job["tfReplicaSpecs"].values():
        assert replica["restartPolicy"] == "OnFailure"
        (container,) = replica["template"]["spec"]["containers"]
        assert container["name"] == "tensorflow"
        assert container["command"][:2] == ["launch", "exec"]
        assert "TF_CONFIG" not in {variable["name"] for variable in container["env"]}
    gang = of_kind(made(MWMS, OPERATORS[1]), "TFJob")["spec"]
    assert (gang["successPolicy"], gang["runPolicy"]["cleanPodPolicy"]) == ("AllWorkers", "None")
    assert gang["runPolicy"]["backoffLimit"] == 9


@pytest.mark.parametrize(
    ("restarts", "policy"),
    [("{max: 0}", "Never"), ("{on: [signal, host]}", "ExitCode"), ("{on: [host]}", "Never")],
)
def test_when_a_tfjob_restarts(restarts: str, policy: str) -> None:
    """What is no failure to restart after is none to the operator."""
    run = made(f"{MWMS}restarts: {restarts}\n", OPERATORS[1])
    replica = of_kind(run, "TFJob")["spec"]["tfReplicaSpecs"]["Worker"]
    assert replica["restartPolicy"] == policy


def test_all_that_cannot_be_said_at_once() -> None:
    """What cannot be expressed, and what is missing, is told together, each with its place."""
    text = (
        "tasks: {worker: {count: 2, env: {Ä: 1}}}\n"
        "data: {sync: ./data}\n"
        "volumes: [{path: /scratch, at: '/a:b'}, {path: /c, at: /run/secrets/t}]\n"
        "checkpoints: /nfs\n"
        "secrets: {t: {env: T}, u: {env: U}}\n"
        "env: {DB_PASSWORD: geheim, TOKENIZERS: few}\n"
        "ulimits: {memlock: '-1'}\n"
        "timeouts: {stalled_s: 60}\n"
    )
    given = Settings(
        namespace="Not_One",
        claims={"/scratch": "hostPath:/scratch", "/c": "c"},
        secrets={"u": "Not One", "t": "ok/key", "gone": "x"},
        plain_env=("TOKENIZERS",),
        env_secrets={"A B": "lab"},
        labels={"ok": "no value!"},
        tolerations=(Toleration(), Toleration("k", "Exists", "v")),
    )
    found = problems(text, given)
    expected = [
        r"cluster.yaml.* image: missing",
        r"cluster.yaml:7 ulimits.*: Kubernetes sets no limits",
        r"cluster.yaml:8 timeouts.stalled_s: nobody watches steps",
        r"cluster.yaml:6 env.DB_PASSWORD: a manifest would show its value",
        r"cluster.yaml:1 tasks.worker.env.Ä: Kubernetes takes letters",
        r"cluster.yaml.* platforms.kubernetes.namespace: expected a name",
        r"cluster.yaml.* platforms.kubernetes.env_secrets.A B: expected a name",
        r"cluster.yaml.* platforms.kubernetes.env_secrets.A B: expected SECRET/KEY",
        r"cluster.yaml.* platforms.kubernetes.labels.ok: expected a name .* got 'no value!'",
        r"cluster.yaml.* platforms.kubernetes.tolerations\[0\]: expected a key",
        r"cluster.yaml.* platforms.kubernetes.tolerations\[1\].value: expected none",
        r"cluster.yaml:2 data.sync: nothing is copied",
        r"cluster.yaml.* platforms.kubernetes.claims./scratch: expected CLAIM.* of the machines",
        r"cluster.yaml.* platforms.kubernetes.output: missing",
        r"cluster.yaml:4 checkpoints: expected /nfs, or a folder above it, among",
        r"cluster.yaml:5 secrets.t: /run/secrets/t is taken by volumes\[1\]",
        r"cluster.yaml.* platforms.kubernetes.secrets.u: expected SECRET/KEY",
        r"cluster.yaml.* platforms.kubernetes.secrets.gone: the file has no secret",
    ]
    for each in expected:
        assert any(re.match(each, problem) for problem in found), (each, found)
    assert len(found) == len(expected), found
    assert not any("geheim" in problem for problem in found)


def test_settings_have_lines() -> None:
    """What is wrong with the platform's settings is told with the file's line."""
    text = (
        f"{MWMS}platforms:\n"
        "  kubernetes:\n"
        "    namespace: Not_One\n"
        "    output: hostPath:/x\n"
        "    tolerations:\n"
        "      - {value: v}\n"
    )
    given = Settings(
        namespace="Not_One", output="hostPath:/x", tolerations=(Toleration(value="v"),)
    )
    first = text[: text.index("platforms")].count("\n") + 1
    found = [problem.partition(": ")[0] for problem in problems(text, given)]
    assert found == [
        f"cluster.yaml:{first + 2} platforms.kubernetes.namespace",
        f"cluster.yaml:{first + 5} platforms.kubernetes.tolerations[0]",
        f"cluster.yaml:{first + 3} platforms.kubernetes.output",
    ]


def test_more_tasks_than_a_variable_holds() -> None:
    """A TF_CONFIG that no Linux would start a program with is refused before it is sent."""
    (problem, *_) = problems("image: i\ntasks: {worker: {count: 6000}}\n")
    assert problem.startswith("TF_CONFIG: over 131071 bytes")


def test_words_that_are_no_text() -> None:
    """Bytes on the command line that are no UTF-8 are refused."""
    (problem,) = problems(job=COMMAND._replace(args=("a", "\udcff")))
    assert problem.endswith("expected UTF-8 text: a manifest holds nothing else")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
RUN_IDS = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,80}", fullmatch=True)
COUNTS = st.integers(1, 12)


@given(
    run_id=RUN_IDS,
    args=st.lists(TEXTS, max_size=4),
    env=st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), TEXTS, max_size=4),
    ps=st.booleans(),
    counts=st.tuples(COUNTS, COUNTS),
    operator=st.sampled_from(OPERATORS),
    annotations=st.dictionaries(st.sampled_from(["a", "b.c/d"]), TEXTS),
)
@example("0" * 90, ["$(A)", "$$", "y"], {"A": "1e3"}, True, (1, 12), KEPT, {})
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_accepted_is_taken(
    run_id: str,
    args: list[str],
    env: dict[str, str],
    ps: bool,
    counts: tuple[int, int],
    operator: Settings,
    annotations: dict[str, str],
) -> None:
    """Any run that is not refused fits the schemas, and reaches the task as it was given."""
    tasks = {"chief": {}, "worker": {"count": counts[0]}} | (
        {"ps": {"count": counts[1]}} if ps else {}
    )
    text = json.dumps({"image": "lab/img", "env": env, "tasks": tasks})
    given = operator._replace(annotations=annotations, plain_env=tuple(env))
    try:
        run = made(text, given, COMMAND._replace(args=("train", *args)), run_id)
    except InputError as error:
        assert all(problem.what for problem in error.problems)
        return
    published.check(list(run.objects))
    assert list(yaml.safe_load_all(run.text())) == list(run.objects)
    if operator is KEPT:
        words = container_of(run, "worker")["command"]
        at = words.index("train") + 1
        found = env_of(run, "worker", counts[0] - 1)
        assert [published.expanded(word, found) for word in words[at:]] == args
        assert {key: found[key] for key in env if key not in ("HOME",)} == {
            key: value for key, value in env.items() if key != "HOME"
        }


@given(RUN_IDS, RUN_IDS)
def test_names_of_runs(one: str, other: str) -> None:
    """A run's objects have a name that every kind takes; a long one stays one of its own."""
    name = names.job_name(one)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 46
    if len(one) > 46 and one != other:
        assert name != names.job_name(other)


@pytest.mark.parametrize(
    "text", ["y", "No", "1e3", "0o7", "1_0", "~", "", "=", "- a", "a: b", "0x1"]
)
def test_texts_stay_texts(text: str) -> None:
    """What some YAML readers take for a number or a truth is quoted."""
    assert dumped([{"a": text}]) == f'---\na: "{text}"\n'


PAGE = (Path(__file__).parent.parent.parent / "docs/platforms.md").read_text(encoding="utf-8")


def test_the_page_is_current() -> None:
    """The documentation lists every setting as the code has it, and its example is accepted."""
    for struct in (Settings, Toleration):
        assert settings_table(struct) in PAGE
    section = PAGE.partition("\n## Kubernetes\n")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    path = Path("cluster.yaml")
    decoder = Decoder(str(path))
    document = compose(example, str(path), decoder.problems)
    assert document and isinstance(document.root, MappingNode)
    entries = decoder.pairs(document.root, "")
    assert isinstance(entries["platforms"], MappingNode)
    given = decoder.decode(decoder.pairs(entries["platforms"], "")["kubernetes"], Settings)
    assert given and not decoder.problems
    published.check(list(made(example, given).objects))
