"""What `platforms.kubernetes` of cluster.yaml may say: the cluster's own names for things."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from launcher.cluster import AbsolutePath, Form, Range, Scalar

Operator = Literal["none", "tfjob"]
Text = Annotated[str, Form.SCALAR]
MOST = 2**31 - 1  #: of any number in a manifest
Number = Annotated[int, Range(0, MOST)]


class Toleration(NamedTuple):
    """A taint that the pods put up with.

    key: The taint's key; without it every key.
    operator: Whether the value must be equal, or the key only exist.
    value: The taint's value.
    effect: What the taint does; without it every effect.
    """

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Text = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Settings(NamedTuple):
    """A Kubernetes cluster, as a user of it knows it.

    namespace: Where the run's objects go; default: the kubeconfig context's.
    context: The context of the kubeconfig; default: its current one.
    operator: What runs the tasks: `none` for Kubernetes' own Jobs, `tfjob` for Kubeflow's training
        operator.
    apply: Whether a submission is sent; without it the manifests are printed.
    exec: Whether commands go through `launch exec` where they need it; the image must hold it then
        (`pip install tf-config-launch`).
    claims: Where the file's paths lie there: a path, as `data`, `volumes` and `checkpoints` name
        it or a folder above it, to CLAIM, CLAIM/FOLDER or nfs://SERVER/FOLDER.
    output: Where results go, each task's in a folder RUN/TASK-INDEX there: CLAIM, CLAIM/FOLDER,
        nfs://SERVER/FOLDER, or `none` where the trainer itself brings them away.
    secrets: Which Kubernetes secret holds each of the file's `secrets`: SECRET/KEY, or SECRET
        where the key has the name of the file's secret.
    env_secrets: Environment variables whose value is in a Kubernetes secret: SECRET/KEY.
    plain_env: Variables of the file's `env` that look secret and may be seen by all.
    gpu: The name of the resource that is a GPU.
    user: The number of the user that tasks run as; 0 is root.
    group: The number of its group, which volumes belong to where they take one.
    service_account: The service account of the pods.
    image_pull_secrets: The secrets with which the image is pulled.
    node_selector: The labels that a node must have.
    tolerations: The taints that the pods put up with.
    priority_class: The priority class of the pods.
    runtime_class: The runtime class of the pods.
    labels: More labels for every object and pod, for a queue say.
    annotations: Annotations for the pods.
    keep_s: Seconds after which Kubernetes removes what has ended, and its logs; null keeps it.
    """

    namespace: Text | None = None
    context: Text | None = None
    operator: Operator = "none"
    apply: bool = False
    exec: bool = True
    claims: Mapping[AbsolutePath, Text] = {}
    output: Text | None = None
    secrets: Mapping[str, Text] = {}
    env_secrets: Mapping[str, Text] = {}
    plain_env: tuple[Text, ...] = ()
    gpu: Text = "nvidia.com/gpu"
    user: Number = 10001
    group: Number = 10001
    service_account: Text | None = None
    image_pull_secrets: tuple[Text, ...] = ()
    node_selector: Mapping[str, Scalar] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class: Text | None = None
    runtime_class: Text | None = None
    labels: Mapping[str, Scalar] = {}
    annotations: Mapping[str, Scalar] = {}
    keep_s: Number | None = None
