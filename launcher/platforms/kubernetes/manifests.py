"""A run as manifests: what `kubectl apply -f` takes, one file, and all that could not be said."""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from launcher.cluster import ClusterSpec, FailureKind
from launcher.container import is_secret
from launcher.errors import InputError, Problem
from launcher.platforms import Request
from launcher.platforms.kubernetes import jobs, names, storage, tfjob
from launcher.platforms.kubernetes.code import Code, code_of
from launcher.platforms.kubernetes.pod import Run
from launcher.platforms.kubernetes.settings import Settings
from launcher.platforms.kubernetes.storage import KEY
from launcher.platforms.kubernetes.text import dumped
from launcher.task import TaskType

_LONGEST_WORD = 131_071  # Linux: the bytes of one argument, or of one variable with its name
_LARGEST_BYTES = 1_400_000  # of the 1.5 MiB that a Kubernetes keeps in one object


class Manifests(NamedTuple):
    """All objects of a run, in the order in which they are made.

    file: where they are kept on this machine.
    notes: what a user should know of them.
    """

    name: str
    run_id: str
    file: str
    objects: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return one YAML file; no secret's value is in it."""
        said = "".join(f"# {' '.join(note.split())}\n" for note in self.notes)
        return f"# The run {self.run_id}\n{said}{dumped(self.objects)}".rstrip("\n")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"job": self.name, "run": self.run_id, "notes": list(self.notes),
                "objects": list(self.objects)}  # fmt: skip


def manifests(request: Request, settings: Settings) -> Manifests:
    """Return the manifests of a run.

    Raises:
        InputError: with all that Kubernetes cannot express, or that is missing.
    """
    spec = request.spec
    wrong = (each._replace(where=spec.source.where(each.where)) for each in _settings(settings))
    problems = [*_missing(spec, settings), *wrong, *_unspeakable(request)]
    code = Code({}, {}, {})
    try:
        if not request.code_in_image:
            code = code_of(spec, request.job, posixpath.dirname(request.run_dir))
    except InputError as error:
        problems += error.problems
    name = names.job_name(request.run_id)
    disks = storage.storage(spec, settings, request.run_id, code.keys, name)
    problems += disks.problems
    if problems:
        raise InputError(problems)
    tasks = {kind: tuple(t for t in spec.tasks if t.id.type is kind) for kind in TaskType}
    run = Run(
        spec, settings, request.job, request.run_id, disks,
        {kind: of_kind for kind, of_kind in tasks.items() if of_kind},
    )  # fmt: skip
    made = [code.config_map(run.metadata())] if code.keys else []
    made += (tfjob if settings.operator == "tfjob" else jobs).objects(run)
    if problems := [*_too_large(made)]:
        raise InputError(problems)
    file = posixpath.join(request.run_dir, "manifests.yaml")
    return Manifests(name, request.run_id, file, tuple(made), tuple(_notes(run)))


def _missing(spec: ClusterSpec, settings: Settings) -> Iterator[Problem]:
    """Yield what the file says and Kubernetes cannot do, and what it has to say and does not."""
    where = spec.source.where
    if not spec.image:
        yield Problem(where("image"), "missing: expected the image that the pods run")
    if spec.ulimits:
        what = "Kubernetes sets no limits of this kind; expected none (nodes have theirs)"
        yield Problem(where("ulimits"), what)
    if spec.timeouts.stalled_s is not None:
        what = "nobody watches steps on Kubernetes; expected null, or run_s for the whole run"
        yield Problem(where("timeouts.stalled_s"), what)
    if settings.operator == "tfjob" and not settings.exec:
        what = "expected true with the operator tfjob: `launch exec` makes its TF_CONFIG right"
        yield Problem(where(f"{KEY}.exec"), what)
    if settings.operator == "tfjob" and FailureKind.HOST not in spec.restarts.on:
        what = "expected `host` with the operator tfjob: it always replaces a lost pod"
        yield Problem(where("restarts.on"), what)
    environments = [("env", spec.env)]
    environments += [(f"tasks.{t.id.type.value}.env", t.env) for t in spec.tasks if not t.id.index]
    for key_path, env in environments:
        yield from _environment(where, key_path, env, settings)


def _environment(
    where: Any, key_path: str, env: Mapping[str, str], settings: Settings
) -> Iterator[Problem]:
    for name in env:
        at = where(f"{key_path}.{name}")
        if not names.is_variable(name):
            yield Problem(at, "Kubernetes takes letters, digits and '_', '-', '.' in a name")
        if is_secret(name) and name not in (*settings.plain_env, *settings.env_secrets):
            what = f"a manifest would show its value; name a secret in {KEY}.env_secrets, or"
            yield Problem(at, f"{what} the variable in {KEY}.plain_env where all may see it")


def _settings(settings: Settings) -> Iterator[Problem]:
    """Yield what is no name in the settings, by its key path."""
    checks = [
        ("namespace", settings.namespace, names.is_label),
        ("service_account", settings.service_account, names.is_subdomain),
        ("priority_class", settings.priority_class, names.is_subdomain),
        ("runtime_class", settings.runtime_class, names.is_subdomain),
        ("gpu", settings.gpu, names.is_qualified),
        *(("image_pull_secrets", name, names.is_subdomain) for name in settings.image_pull_secrets),
        *((f"env_secrets.{n}", n, names.is_variable) for n in settings.env_secrets),
        *((f"annotations.{key}", key, names.is_qualified) for key in settings.annotations),
    ]
    for group in ("labels", "node_selector"):
        for key, value in getattr(settings, group).items():
            checks.append((f"{group}.{key}", key, names.is_qualified))
            checks.append((f"{group}.{key}", value, names.is_label_value))
    for key, text, fits in checks:
        if text is not None and not fits(text):
            yield Problem(f"{KEY}.{key}", f"expected a name as Kubernetes has them, got {text!r}")
    for name, text in settings.env_secrets.items():
        if not storage.secret_key(text):
            yield Problem(f"{KEY}.env_secrets.{name}", storage.not_a_secret(text))
    for index, each in enumerate(settings.tolerations):
        if each.operator == "Equal" and not each.key:
            what = "expected a key; every taint is operator: Exists"
            yield Problem(f"{KEY}.tolerations[{index}]", what)
        if each.operator == "Exists" and each.value:
            yield Problem(f"{KEY}.tolerations[{index}].value", "expected none with Exists")
        if not names.is_label_value(each.value) or (each.key and not names.is_qualified(each.key)):
            yield Problem(f"{KEY}.tolerations[{index}]", "expected a taint's key and value")


def _unspeakable(request: Request) -> Iterator[Problem]:
    """Yield the words that no manifest can hold."""
    for word in request.job.args:
        try:
            word.encode()
        except UnicodeEncodeError:
            yield Problem(repr(word), "expected UTF-8 text: a manifest holds nothing else")


def _too_large(made: list[dict[str, Any]]) -> Iterator[Problem]:
    """Yield what no kernel would start, or no Kubernetes keep."""
    import json

    for each in made:
        if len(json.dumps(each).encode()) > _LARGEST_BYTES:
            what = "too large for Kubernetes: fewer tasks, or less code and environment"
            yield Problem(f"{each['kind']} {each['metadata']['name']}", what)
        pod = each.get("spec", {}).get("template", {}).get("spec", {})
        replicas = each.get("spec", {}).get("tfReplicaSpecs", {}).values()
        for spec in (pod, *(replica["template"]["spec"] for replica in replicas)):
            for container in spec.get("containers", ()):
                for variable in container["env"]:
                    word = f"{variable['name']}={variable.get('value', '')}"
                    if len(word.encode()) > _LONGEST_WORD:
                        what = f"over {_LONGEST_WORD} bytes, more than Linux takes as one variable"
                        yield Problem(variable["name"], what)
                if any(len(word.encode()) > _LONGEST_WORD for word in container["command"]):
                    what = f"an argument of over {_LONGEST_WORD} bytes, more than Linux takes"
                    yield Problem(each["metadata"]["name"], what)


def _notes(run: Run) -> Iterator[str]:
    yield from run.spec.notes
    if run.settings.output == "none" and not run.spec.checkpoints:
        yield "nothing is kept: a pod's results and checkpoints go with it (output: none)"
    serves = not run.ends_together and not run.job.platform_args
    if serves and any(kind in run.tasks for kind in (TaskType.PS, TaskType.EVALUATOR)):
        yield (
            "who tells ps, evaluator and workers that the run is over? The image has no launcher "
            f"(exec): `launch submit stop --platform kubernetes {run.name}` ends them"
        )
