"""Manifests held against what Kubernetes and Kubeflow have published of their forms.

The schemas of Kubernetes are those that come with `kubernetes-validate`, a TFJob's types those of
Kubeflow's own SDK. What an API server refuses beyond them (names, labels, mounts) is below.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
from kubeflow.training import models
from kubernetes.client import ApiClient
from kubernetes.client import models as kubernetes_models

# It reads a megabyte for every object otherwise.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
Object = dict[str, Any]


def check(objects: list[Object], version: str = NEWEST) -> None:
    """Fail where an API server would not take one of these objects."""
    assert len({(o["kind"], o["metadata"]["name"]) for o in objects}) == len(objects)
    for each in objects:
        json.dumps(each).encode()
        _check_metadata(each["metadata"])
        if each["kind"] == "TFJob":
            _check_tfjob(each, version)
        else:
            kubernetes_validate.validate(each, version, strict=True)
        for name, template in _templates(each):
            _check_pod(name, template)


def _check_tfjob(job: Object, version: str) -> None:
    """Hold a TFJob against the SDK's types: what they do not know would be lost on the way."""
    for name in models.__dict__:
        if name.startswith("KubeflowOrg"):
            setattr(kubernetes_models, name, getattr(models, name))
    client = ApiClient()
    read = client._ApiClient__deserialize(job, "KubeflowOrgV1TFJob")
    assert client.sanitize_for_serialization(read) == job
    for _, template in _templates(job):
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}
        kubernetes_validate.validate(whole, version, strict=True)


def _templates(made: Object) -> Iterator[tuple[str, Object]]:
    """Yield the pod templates of an object, each with the longest name that a pod of it has."""
    spec, name = made.get("spec", {}), made["metadata"]["name"]
    if made["kind"] == "Job":
        yield f"{name}-{spec['completions'] - 1}", spec["template"]
        assert spec["completions"] >= spec["parallelism"] > 0
        assert spec["podFailurePolicy"]["rules"] and spec["backoffLimitPerIndex"] >= 0
        for rule in spec["podFailurePolicy"]["rules"]:
            codes = rule.get("onExitCodes", {"operator": "NotIn", "values": [1]})
            assert codes["values"] == sorted(set(codes["values"])) and len(codes["values"]) <= 255
            assert codes["operator"] == "NotIn" or 0 not in codes["values"]
    for kind, replica in spec.get("tfReplicaSpecs", {}).items():
        yield f"{name}-{kind.lower()}-{replica['replicas'] - 1}", replica["template"]


def _check_metadata(metadata: Object) -> None:
    assert _LABEL.fullmatch(metadata["name"]) and metadata["name"][0].isalpha()
    for key, value in metadata.get("labels", {}).items():
        assert _KEY.fullmatch(key) and _VALUE.fullmatch(value), (key, value)
    for key in metadata.get("annotations", {}):
        assert _KEY.fullmatch(key)


def _check_pod(hostname: str, template: Object) -> None:
    assert _LABEL.fullmatch(hostname), hostname
    _check_metadata({"name": "pod", **template["metadata"]})
    spec = template["spec"]
    (container,) = spec["containers"]
    volumes = [volume["name"] for volume in spec["volumes"]]
    assert len(volumes) == len(set(volumes)) and all(_LABEL.fullmatch(name) for name in volumes)
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(paths) == len(set(paths))
    known: set[str] = set()
    for variable in container["env"]:
        assert re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", variable["name"])
        assert variable["name"] not in known
        known.add(variable["name"])
    for mount in container["volumeMounts"]:
        assert mount["name"] in volumes and ":" not in mount["mountPath"]
        for key in ("subPath", "subPathExpr"):
            assert not mount.get(key, "").startswith("/")
            assert ".." not in mount.get(key, "").split("/")
        assert set(re.findall(r"\$\((\w+)\)", mount.get("subPathExpr", ""))) <= known
    for word in container["command"]:
        assert len(word.encode()) < 131_072


def expanded(text: str, env: dict[str, str]) -> str:
    """Return what Kubernetes makes of a command's word or a variable's value.

    As k8s.io/kubernetes third_party/forked/golang/expansion describes it.
    """
    made, at = "", 0
    while at < len(text):
        if text[at] == "$" and at + 1 < len(text):
            after = text[at + 1]
            close = text.find(")", at)
            if after == "$":
                made, at = made + "$", at + 2
            elif after == "(" and close > 0:
                name = text[at + 2 : close]
                made, at = made + env.get(name, f"$({name})"), close + 1
            else:
                made, at = made + f"${after}", at + 2
        else:
            made, at = made + text[at], at + 1
    return made
