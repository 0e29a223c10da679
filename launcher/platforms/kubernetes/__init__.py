"""Kubernetes: a run as plain manifests, or as a TFJob, sent with the user's kubeconfig.

Request, Settings ─► manifests() ─► Manifests ─► create ─► states ◄─ Jobs, pods
                     (pure but for    (one YAML    (client, over
                      the code's files) file)        access)
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from launcher.errors import HostError, InputError, Problem
from launcher.option import Option
from launcher.platforms import Line, Request, State, Submitted
from launcher.platforms.kubernetes import following, sending, states
from launcher.platforms.kubernetes.access import access
from launcher.platforms.kubernetes.client import Client, Object, Refused
from launcher.platforms.kubernetes.manifests import Manifests, manifests
from launcher.platforms.kubernetes.names import is_label_value
from launcher.platforms.kubernetes.pod import RUN
from launcher.platforms.kubernetes.settings import Settings as KubernetesSettings

_RUNS = {"Job": {"suspend": True}, "TFJob": {"runPolicy": {"suspend": True}}}  # and what ends it
_OURS = ("Service", "ConfigMap")
_NONE_THERE = 404


class Kubernetes:
    """One Kubernetes cluster, in one namespace of it."""

    Settings: ClassVar[type[Any]] = KubernetesSettings
    options: ClassVar[tuple[Option, ...]] = (
        Option("apply", None, "send the manifests with your kubeconfig, instead of printing them"),
        Option("operator", "NAME", "none: Kubernetes' own Jobs; tfjob: a TFJob of Kubeflow's",
               ("none", "tfjob")),
    )  # fmt: skip

    def __init__(self, settings: KubernetesSettings, environ: Mapping[str, str]) -> None:
        self._settings, self._environ = settings, environ
        self._known: Client | None = None

    @property
    def _client(self) -> Client:
        if self._known is None:
            reached = access(self._environ, self._settings.context, self._settings.namespace)
            self._known = Client(reached)
        return self._known

    def prepare(self, request: Request) -> Manifests:
        """Return the manifests of a run; no cluster is asked."""
        return manifests(request, self._settings)

    def submit(self, prepared: Manifests) -> Submitted | None:
        """Keep the manifests in the run's folder; send them where that was asked for.

        What was made is removed again where not all of it can be.
        """
        client = self._client if self._settings.apply else None  # before anything is written
        try:
            os.makedirs(os.path.dirname(prepared.file), exist_ok=True)
            with open(prepared.file, "w", encoding="utf-8") as file:
                file.write(f"{prepared.text()}\n")
        except OSError as error:
            raise HostError(f"{prepared.file}: cannot be written: {error.strerror}") from None
        if client is None:
            return None
        sending.send(client, prepared)
        return Submitted(prepared.name, prepared.run_id, State.PENDING)

    def jobs(self) -> Sequence[Submitted]:
        """Return the runs in the namespace that were submitted by a launcher."""
        found: dict[str, list[Object]] = {}
        for job in self._client.find("Job", RUN):
            found.setdefault(states.run_of(job), []).append(job)
        runs = [states.of_jobs(jobs) for jobs in found.values()]
        runs += map(states.of_tfjob, self._tfjobs(RUN))
        return sorted(runs, key=lambda run: run.since or 0.0)

    def _tfjobs(self, selector: str) -> list[Object]:
        """Return TFJobs: none where the cluster does not know of any, or this user may not."""
        try:
            return self._client.find("TFJob", selector)
        except Refused as error:
            if error.status in (_NONE_THERE, 403) and self._settings.operator == "none":
                return []
            if error.status == _NONE_THERE:
                return []
            raise

    def _runs(self, job_id: str) -> list[Object]:
        """Return the Jobs of a run, or its TFJob. Raises InputError where there are none."""
        if found := self._found(job_id):
            return found
        raise self._none(job_id)

    def _none(self, job_id: str) -> InputError:
        what = f"no such job in the namespace {self._client.namespace}"
        return InputError(Problem(job_id, f"{what} (see launch submit list)"))

    def _found(self, job_id: str) -> list[Object]:
        """Return the Jobs of a run, or its TFJob; nothing where there are none."""
        if not job_id or not is_label_value(job_id):
            return []
        found = self._client.find("Job", f"{RUN}={job_id}")
        return [{**job, "kind": "Job"} for job in found] or [
            {**job, "kind": "TFJob"} for job in self._tfjobs(f"{RUN}={job_id}")
        ]

    def _pods(self, job_id: str) -> list[Object]:
        return self._client.find("Pod", f"{RUN}={job_id}")

    def job(self, job_id: str) -> Submitted:
        """Return how a run stands, and each of its tasks."""
        runs, pods = self._runs(job_id), self._pods(job_id)
        if runs[0]["kind"] == "TFJob":
            return states.of_tfjob(runs[0], pods)
        return states.of_jobs(runs, pods)

    def logs(self, job_id: str, *, follow: bool) -> Iterator[Line]:
        """Yield what the pods of a run print; those that were removed have no log."""
        self._runs(job_id)
        if not follow:
            return following.there(self._client, self._pods(job_id))
        return following.follow(
            self._client, lambda: self._pods(job_id), lambda: self.job(job_id).state.is_final
        )

    def stop(self, job_id: str) -> None:
        """Suspend what still runs: its pods get SIGTERM, and save what they can."""
        for run in self._runs(job_id):
            if states.has_ended(run):
                continue
            self._client.change(run["kind"], run["metadata"]["name"], {"spec": _RUNS[run["kind"]]})

    def delete(self, job_id: str) -> None:
        """Remove a run that has ended, its pods and their logs too.

        Where Kubernetes itself has removed its Jobs (`keep_s`), what is left.
        """
        runs = self._found(job_id)
        kinds = _OURS if is_label_value(job_id) and job_id else ()
        left = [(kind, o) for kind in kinds for o in self._client.find(kind, f"{RUN}={job_id}")]
        if not runs and not left:
            raise self._none(job_id)
        at_work = any(run["kind"] == "Job" and states.has_pods(run) for run in runs)
        if at_work or (runs and not self.job(job_id).state.is_final):
            what = f"it runs; `launch submit stop --platform kubernetes {job_id}` ends it"
            raise InputError(Problem(job_id, what))
        for kind, each in [*((run["kind"], run) for run in runs), *left]:
            self._client.remove(kind, each["metadata"]["name"])
