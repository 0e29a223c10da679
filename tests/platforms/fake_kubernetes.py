"""A fake Kubernetes API server: no cluster runs behind it, only what is told to it.

It keeps objects as the real one does as far as the launcher relies on it: names are taken once,
a list has pages and honours label selectors, a merge patch changes what it names, a Job's pods go
when it is suspended or removed. What tests want to happen in the cluster they say with `run`,
`end` and `write`. Faults are asked for ahead: `fail` for answers, `hold` for
one that never comes, `cut` for logs.
"""

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.platforms import published

TOKEN = "fake-token-of-ml"
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/v1)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?P<log>/log)?"
)
_KINDS = {
    (None, "configmaps"): "ConfigMap",
    (None, "services"): "Service",
    (None, "pods"): "Pod",
    ("batch", "jobs"): "Job",
    ("kubeflow.org", "tfjobs"): "TFJob",
}
_INDEX = "batch.kubernetes.io/job-completion-index"
Object = dict[str, Any]


class Asked(NamedTuple):
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]


class Fault(NamedTuple):
    """An answer instead of the right one; `done` is whether the request took effect anyhow."""

    method: str
    path: str
    status: int
    body: str
    done: bool


class FakeKubernetes:
    """The objects of one namespace, `ml`, and what happens to them."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.has_tfjobs = True
        self.hold = "no task type"  # whose Job is made, and the answer never comes
        self.changed = threading.Condition()
        self._logs: dict[str, list[bytes]] = {}
        self._cuts: dict[str, int] = {}
        self._crashed: set[str] = set()
        self._clock = 0
        self.page_size = 500

    # what happens in the cluster

    def run(self, task: str, node: str = "node-1", name: str = "") -> str:
        """Have a task's pod run; return the pod's name, `name` where another had it before."""
        with self.changed:
            kind, _, index = task.partition(":")
            job = self._job_of(kind)
            template = job["spec"].get("template") or next(
                replica["template"] for name, replica in job["spec"]["tfReplicaSpecs"].items()
                if name.lower() == kind
            )  # fmt: skip
            name = name or f"{job['metadata']['name']}-{index}-{len(self._logs):05d}"
            metadata = {**json.loads(json.dumps(template["metadata"])), "name": name}
            metadata.setdefault("annotations", {})[_INDEX] = index
            metadata["creationTimestamp"] = metadata["uid"] = self._now()
            metadata["owner"] = job["metadata"]["name"]
            pod = {
                "metadata": metadata,
                "spec": {"nodeName": node},
                "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]},
            }
            self.objects["Pod", name] = pod
            self._logs[name] = []
            self._count(job)
            self.changed.notify_all()
            return name

    def write(self, pod: str, *lines: str, cut: bool = False) -> None:
        """Have a pod print lines; with `cut` whoever follows its log loses the connection."""
        with self.changed:
            for line in lines:
                stamp = f"{self._now()[:-1]}.{len(self._logs[pod]) + 1:03d}Z".replace("0Z", "Z")
                self._logs[pod].append(f"{stamp} {line}\n".encode())
            if cut:
                self._cuts[pod] = len(self._logs[pod])
            self.changed.notify_all()

    def crash(self, pod: str) -> None:
        """Have a pod's container end; its log stays, and ends, until it starts again."""
        with self.changed:
            self._crashed.add(pod)
            self.changed.notify_all()

    def start_again(self, pod: str) -> None:
        """Have a pod's container start again, with a log of its own."""
        with self.changed:
            self._crashed.discard(pod)
            self._logs[pod] = []
            self.changed.notify_all()

    def end(self, pod: str, code: int = 0) -> None:
        """Have a pod end."""
        with self.changed:
            status = self.objects["Pod", pod]["status"]
            status["phase"] = "Failed" if code else "Succeeded"
            ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
            status["containerStatuses"] = [{"state": {"terminated": ended}}]
            self._count(self._job_of(self.objects["Pod", pod]["metadata"]["labels"]["launch/task"]))
            self.changed.notify_all()

    def conclude(self, task_type: str, condition: str, reason: str = "", message: str = "") -> None:
        """Have the controller say how a task type's Job, or the TFJob, stands."""
        with self.changed:
            status = self._job_of(task_type).setdefault("status", {})
            found = {"type": condition, "status": "True", "reason": reason, "message": message}
            status.setdefault("conditions", []).append(found)
            self.changed.notify_all()

    def _job_of(self, task_type: str) -> Object:
        for (kind, _), made in self.objects.items():
            labels = made["metadata"]["labels"]
            if kind == "TFJob" or (kind == "Job" and labels.get("launch/task") == task_type):
                return made
        raise AssertionError(f"no Job of {task_type}")

    def _count(self, job: Object) -> None:
        name = job["metadata"]["name"]
        pods = [o for (k, _), o in self.objects.items() if k == "Pod"
                and o["metadata"]["owner"] == name]  # fmt: skip
        running = sum(pod["status"]["phase"] == "Running" for pod in pods)
        ended = {pod["metadata"]["annotations"][_INDEX] for pod in pods
                 if pod["status"]["phase"] == "Succeeded"}  # fmt: skip
        status = {"active": running, "ready": running, "succeeded": len(ended)}
        job.setdefault("status", {}).update(status)

    def _now(self) -> str:
        self._clock += 1
        return f"2026-05-04T03:{self._clock // 60:02d}:{self._clock % 60:02d}Z"

    # what it answers

    def fail(self, method: str, path: str, status: int, body: str = "", *, done: bool = False,
             times: int = 1) -> None:  # fmt: skip
        """Have the next requests whose path contains `path` fail; status 0 drops the connection."""
        text = body or json.dumps({"kind": "Status", "message": f"fake {status}", "code": status})
        self.faults += [Fault(method, path, status, text, done)] * times

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Return the status and the value of an answer."""
        found = _PATH.fullmatch(path)
        kind = _KINDS.get((found["group"], found["plural"])) if found else None
        if not found or not kind or (kind == "TFJob" and not self.has_tfjobs):
            return 404, _status(404, "the server could not find the requested resource")
        if found["namespace"] != "ml":
            return 404, _status(404, f'namespaces "{found["namespace"]}" not found')
        if method == "POST":
            return self._create(kind, body)
        if not found["name"]:
            return 200, self._list(kind, query)
        known = self.objects.get((kind, found["name"]))
        if known is None:
            return 404, _status(404, f'{found["plural"]} "{found["name"]}" not found')
        if method == "PATCH":
            _merge(known, body)
            if known["spec"].get("suspend"):
                self._drop_pods(found["name"])
                known.setdefault("status", {}).update(active=0, ready=0)
        if method == "DELETE":
            del self.objects[kind, found["name"]]
            self._drop_pods(found["name"])
        return 200, known

    def _create(self, kind: str, body: Object) -> tuple[int, Any]:
        published.check([body])
        name = body["metadata"]["name"]
        if (kind, name) in self.objects:
            return 409, _status(409, f'{kind} "{name}" already exists')
        made = json.loads(json.dumps(body))
        made["metadata"]["creationTimestamp"] = self._now()
        self.objects[kind, name] = made
        return 201, made

    def _list(self, kind: str, query: dict[str, str]) -> Object:
        key, equals, value = query.get("labelSelector", "").partition("=")
        items = [
            made
            for (of, _), made in self.objects.items()
            if of == kind and key in made["metadata"]["labels"]
            and (not equals or made["metadata"]["labels"][key] == value)
        ]  # fmt: skip
        start = int(query.get("continue", 0))
        end = start + min(self.page_size, int(query.get("limit", 500)))
        after = str(end) if end < len(items) else ""
        return {"kind": f"{kind}List", "metadata": {"continue": after}, "items": items[start:end]}

    def _drop_pods(self, job: str) -> None:
        for key in [k for k, o in self.objects.items() if o["metadata"].get("owner") == job]:
            del self.objects[key]
        self.changed.notify_all()

    def log(self, pod: str, *, follow: bool) -> Iterator[bytes | None]:
        """Yield a log's parts as they come; None where the connection is to break."""
        sent, log = 0, self._logs[pod]
        while True:
            with self.changed:
                lines = log[sent:]
                cut = self._cuts.get(pod)
                known = self.objects.get(("Pod", pod))
                over = known is None or known["status"]["phase"] != "Running"
                over = over or pod in self._crashed or log is not self._logs[pod]
                if not lines and not over and follow and cut is None:
                    self.changed.wait(0.05)
                    continue
            for line in lines:
                yield line[:7]
                yield line[7:]
            sent += len(lines)
            if follow and cut is not None:
                with self.changed:
                    del self._cuts[pod]
                yield None
                return
            if over or not follow:
                return


def _status(code: int, message: str) -> Object:
    return {"kind": "Status", "status": "Failure", "message": message, "code": code}


def _merge(into: Object, patch: Object) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _handler(fake: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            """Say nothing on the console."""

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_PATCH(self) -> None:
            self._answer("PATCH")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def _answer(self, method: str) -> None:
            url = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            fake.asked.append(Asked(method, url.path, query))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._send(401, _status(401, "Unauthorized"))
            if fault := self._fault(method, url.path):
                if fault.done:
                    fake.answer(method, url.path, query, body)
                if not fault.status:
                    self.close_connection = True
                    self.connection.close()
                    return None
                return self._send(fault.status, fault.body)
            if url.path.endswith("/log") and url.path.split("/")[-2] in fake._logs:
                return self._log(url.path.split("/")[-2], follow=query.get("follow") == "true")
            try:
                with fake.changed:
                    status, value = fake.answer(method, url.path, query, body)
            except Exception as error:  # the published forms do not have it
                status, value = 422, _status(422, str(error)[:300])
            if (
                method == "POST"
                and body
                and body["metadata"]["labels"].get("launch/task") == fake.hold
            ):
                self.rfile.read(1)  # until the client has gone
                self.close_connection = True
                return None
            return self._send(status, value)

        def _fault(self, method: str, path: str) -> Fault | None:
            for fault in fake.faults:
                if fault.method == method and fault.path in path:
                    fake.faults.remove(fault)
                    return fault
            return None

        def _send(self, status: int, value: object) -> None:
            text = value if isinstance(value, str) else json.dumps(value)
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _log(self, pod: str, *, follow: bool) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in fake.log(pod, follow=follow):
                if part is None:
                    self.close_connection = True
                    return
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

    return Handler


@contextmanager
def serving(fake: FakeKubernetes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the address at which it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that went
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(server: str, token: str = TOKEN) -> str:
    """Return a kubeconfig whose current context is user `ml`'s on a server."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {"server": server}}],
            "users": [{"name": "ml", "user": {"token": token}}],
            "contexts": [
                {"name": "lab", "context": {"cluster": "lab", "user": "ml", "namespace": "ml"}},
                {"name": "other", "context": {"cluster": "lab", "user": "ml", "namespace": "no"}},
            ],
            "current-context": "lab",
        }
    )
