"""A FAKE of UCloud's UAI Train: its API as far as SDK and documents tell, and nothing behind it.

No machine runs anything here: a job is a record whose status the test moves. What a client does is
checked as the platform would: every request's signature, that ids were asked for before they are
used, what a job's status allows. Faults are given by the test, an answer at a time.
"""

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

PUBLIC_KEY = "ucloudsomeone@example.com1296235120854146120"
PRIVATE_KEY = "46f09bb9fab4f12dfc160dae12273d5332b5debe"
MOST_LINES = 50  # that a log shows of its end

MODES = {"StandAlone": 101, "Distributed": 102}
NODES = (
    {"NodeId": 11, "AcceleratorVersion": "P40", "AcceleratorAmount": 1, "UnitPrice": 900},
    {"NodeId": 12, "AcceleratorVersion": "P40", "AcceleratorAmount": 2, "UnitPrice": 1800},
    {"NodeId": 14, "AcceleratorVersion": "P40", "AcceleratorAmount": 4, "UnitPrice": 3600},
    {"NodeId": 15, "AcceleratorVersion": "V100", "AcceleratorAmount": 4, "UnitPrice": 9900},
)
FRAMEWORKS = {"TensorFlow": 1, "MXNet": 2}
BACKENDS = {"UFile": 201, "UFS": 202}
FINAL = ("Done", "Stopped", "Error", "Deleted")


class Refusal(Exception):
    """What the platform answers with a RetCode of its own."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass
class FakeJob:
    """A job: its record, the statuses that it will go through, and its logs by topic."""

    record: dict[str, Any]
    next: list[str] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    to_come: dict[str, list[list[str]]] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return str(self.record["Status"])


class FakeUai:
    """The platform, on a free port of the loopback interface."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.requests: list[dict[str, str]] = []
        self.faults: dict[str, list[str]] = {}
        self.handed_out: set[tuple[str, int]] = set()
        self.longest_page = 100
        self._lock = threading.Lock()
        self._freed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._freed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environ(self) -> dict[str, str]:
        """Return the environment of a user who is known here."""
        return {"UCLOUD_PUBLIC_KEY": PUBLIC_KEY, "UCLOUD_PRIVATE_KEY": PRIVATE_KEY}

    def actions(self) -> list[str]:
        """Return what was asked, in order."""
        return [request.get("Action", "") for request in self.requests]

    def add(self, job_id: str, status: str, *then: str, **record: Any) -> FakeJob:
        """Have a job that was made before."""
        given = {"TrainJobId": job_id, "TrainJobName": f"name-{job_id}", "Status": status}
        job = FakeJob({**given, "CreateTime": 1_700_000_000 + len(self.jobs), **record})
        job.next = list(then)
        self.jobs[job_id] = job
        return job

    def fault(self, action: str, *kinds: str) -> None:
        """Have the next answers to an action go wrong; `late-` does what was asked before."""
        self.faults.setdefault(action, []).extend(kinds)

    def wait_until_freed(self) -> None:
        """Keep a client waiting until it has gone, or the test is over."""
        self._freed.wait(30)

    def answer(self, params: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """Return the fault to answer with (or none) and the answer."""
        action = params.get("Action", "")
        with self._lock:
            self.requests.append(params)
            fault = (self.faults.get(action) or [""]).pop(0)
            if fault and not fault.startswith("late-"):
                return fault, {}
            try:
                _check_signature(params)
                found = _ACTIONS.get(action)
                if found is None:
                    raise Refusal(160, "Missing Action")
                values = found(self, params)
            except Refusal as error:
                values = {"RetCode": error.code, "Message": str(error)}
            return fault.removeprefix("late-"), {
                "RetCode": 0,
                "Action": f"{action}Response",
            } | values

    # what is offered

    def modes(self, params: Mapping[str, str]) -> dict[str, Any]:
        return {"DataItem": self._offer("TrainMode", MODES)}

    def frameworks(self, params: Mapping[str, str]) -> dict[str, Any]:
        self._asked_mode(params)
        return {"DataItem": self._offer("DistAIFrame", FRAMEWORKS)}

    def backends(self, params: Mapping[str, str]) -> dict[str, Any]:
        self._asked_mode(params)
        return {"DataItem": self._offer("DataBackend", BACKENDS)}

    def resources(self, params: Mapping[str, str]) -> dict[str, Any]:
        self._asked_mode(params)
        if params.get("NodeType") not in ("Work", "PS"):
            raise Refusal(230, "Params [NodeType] not available")
        self.handed_out |= {("Node", int(str(node["NodeId"]))) for node in NODES}
        return {"DataSet": list(NODES)}

    def _offer(self, kind: str, names: Mapping[str, int]) -> list[dict[str, Any]]:
        self.handed_out |= {(kind, number) for number in names.values()}
        return [{f"{kind}Id": number, f"{kind}Name": name} for name, number in names.items()]

    def _asked_mode(self, params: Mapping[str, str]) -> None:
        self._known(params, "TrainModeId", "TrainMode")

    def _known(self, params: Mapping[str, str], key: str, kind: str) -> None:
        """Refuse an id that was not asked for before."""
        if (kind, int(params.get(key, "0"))) not in self.handed_out:
            raise Refusal(230, f"Params [{key}] not available")

    # jobs

    def create(self, params: Mapping[str, str]) -> dict[str, Any]:
        for key in _OF_A_JOB:
            if not params.get(key):
                raise Refusal(220, f"Missing params [{key}]")
        self._asked_mode(params)
        self._known(params, "TrainWorkId", "Node")
        self._known(params, "InputDataBackendId", "DataBackend")
        self._known(params, "OutputDataBackendId", "DataBackend")
        several = int(params["TrainWorkAmount"]) > 1
        if several != (int(params["TrainModeId"]) == MODES["Distributed"]):
            raise Refusal(230, "Params [TrainModeId] not available")
        if several:
            self._known(params, "DistAIFrame", "DistAIFrame")
        if params["TrainPrivateKey"] != PRIVATE_KEY or params["TrainPublicKey"] != PUBLIC_KEY:
            raise Refusal(230, "Params [TrainPrivateKey] not available")
        job_id = f"uaitrain-{len(self.jobs) + 1:04}"
        self.add(job_id, "pending", "starting", "Doing", **{key: params[key] for key in _KEPT})
        return {"TrainJobId": job_id}

    def listed(self, params: Mapping[str, str]) -> dict[str, Any]:
        offset, limit = (int(params.get(key, "0")) for key in ("Offset", "Limit"))
        jobs = [job for job in reversed(self.jobs.values()) if job.status != "Deleted"]
        if wanted := params.get("TrainJobId"):
            jobs = [job for job in jobs if job.record["TrainJobId"] == wanted]
        shown = jobs[offset : offset + min(limit or len(jobs), self.longest_page)]
        records = [dict(job.record) for job in shown]
        for job in shown if wanted else ():
            if job.next:
                job.record["Status"] = job.next.pop(0)
        return {"TotalCount": str(len(jobs)), "DataSet": records}

    def stop(self, params: Mapping[str, str]) -> dict[str, Any]:
        job = self._job(params)
        if job.status not in ("pending", "starting", "Doing"):
            raise Refusal(8030, f"job is {job.status}, can not be stopped")
        job.record["Status"], job.next = "stopping", ["Stopped"]
        return {}

    def remove(self, params: Mapping[str, str]) -> dict[str, Any]:
        job = self._job(params)
        if job.status not in FINAL:
            raise Refusal(8031, f"job is {job.status}, can not be removed")
        job.record["Status"] = "Deleted"
        return {}

    def rename(self, params: Mapping[str, str]) -> dict[str, Any]:
        self._job(params).record["TrainJobName"] = params["TrainJobName"]
        return {}

    def running(self, params: Mapping[str, str]) -> dict[str, Any]:
        self._running(params)
        return {"ExecTime": 61, "TotalPrice": 1234}

    def tensorboard(self, params: Mapping[str, str]) -> dict[str, Any]:
        self._running(params)
        return {"TensorboardURL": "http://10.1.2.3:6006/"}

    def bill(self, params: Mapping[str, str]) -> dict[str, Any]:
        if int(params["BeginTime"]) > int(params["EndTime"]):
            raise Refusal(230, "Params [EndTime] not available")
        records = [{"TrainJobId": each, "TotalPrice": 4200} for each in self.jobs]
        return {"TotalCount": len(records), "DataSet": records}

    def topics(self, params: Mapping[str, str]) -> dict[str, Any]:
        job = self._begun(params)
        found = [{"TopicId": n, "TopicName": name} for n, name in enumerate(job.logs, 1)]
        return {"DataSet": found or None}

    def log(self, params: Mapping[str, str]) -> dict[str, Any]:
        job = self._begun(params)
        names = list(job.logs)
        number = int(params["LogTopicId"])
        if not 0 < number <= len(names):
            raise Refusal(230, "Params [LogTopicId] not available")
        lines, coming = job.logs[names[number - 1]], job.to_come.get(names[number - 1])
        if coming:
            lines += coming.pop(0)
        return {"RunningLog": lines[-MOST_LINES:] or None}

    def _begun(self, params: Mapping[str, str]) -> FakeJob:
        job = self._job(params)
        if job.status in ("pending", "starting"):
            raise Refusal(8032, "job is not running")
        return job

    def _running(self, params: Mapping[str, str]) -> None:
        if self._job(params).status != "Doing":
            raise Refusal(8032, "job is not running")

    def _job(self, params: Mapping[str, str]) -> FakeJob:
        job = self.jobs.get(params.get("TrainJobId", ""))
        if job is None or job.status == "Deleted":
            raise Refusal(8039, "no such job")
        return job


_OF_A_JOB = (
    *("TrainJobName", "TrainWorkId", "CodeUhubPath", "DataUfilePath", "InputDataBackendId"),
    *("OutputUfilePath", "OutputDataBackendId", "DockerCmd", "MaxExecuteTime", "TrainModeId"),
    *("TrainWorkAmount", "TrainPublicKey", "TrainPrivateKey"),
)
_KEPT = ("TrainJobName", "CodeUhubPath", "DataUfilePath", "OutputUfilePath", "DockerCmd")

_ACTIONS: Mapping[str, Callable[[FakeUai, Mapping[str, str]], dict[str, Any]]] = {
    "GetUAITrainAvailableTrainMode": FakeUai.modes,
    "GetUAITrainAvailableResource": FakeUai.resources,
    "GetUAITrainAvailableDistAIFramework": FakeUai.frameworks,
    "GetUAITrainAvailableBackend": FakeUai.backends,
    "CreateUAITrainJob": FakeUai.create,
    "GetUAITrainJobList": FakeUai.listed,
    "GetUAITrainRunningInfo": FakeUai.running,
    "GetUAITrainTensorboardUrl": FakeUai.tensorboard,
    "GetUAITrainBillInfo": FakeUai.bill,
    "GetUAITrainRunningLogTopicList": FakeUai.topics,
    "GetUAITrainRunningLog": FakeUai.log,
    "StopUAITrainJob": FakeUai.stop,
    "RemoveUAITrainJob": FakeUai.remove,
    "ModifyUAITrainJobName": FakeUai.rename,
}


def _check_signature(params: Mapping[str, str]) -> None:
    """Sign anew what was received, by the documents' words, and compare."""
    if params.get("PublicKey") != PUBLIC_KEY:
        raise Refusal(172, "User Not Exists")
    if "Signature" not in params:
        raise Refusal(170, "Missing signature")
    digest = hashlib.sha1(usedforsecurity=False)
    for key, value in sorted(params.items()):
        if key != "Signature":
            digest.update(key.encode() + value.encode())
    digest.update(PRIVATE_KEY.encode())
    if params["Signature"] != digest.hexdigest():
        raise Refusal(171, "Signature VerifyAC Error")


def _handler(fake: FakeUai) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            """Say nothing on standard error."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
            params = dict(pairs)
            assert len(params) == len(pairs)
            fault, values = fake.answer(params)
            text = json.dumps(values)
            with suppress(ConnectionError):
                self._send(fault, text)

        def _send(self, fault: str, text: str) -> None:
            if fault == "silent":
                fake.wait_until_freed()
                self.close_connection = True
            elif fault == "reset":
                self.close_connection = True
            elif fault[:3].isdigit():
                status, _, after_s = fault.partition(":")
                self._say(int(status), "<html>nginx</html>", "text/html", after_s=after_s)
            elif fault == "html":
                self._say(200, "<!DOCTYPE html><html>Log in to the network</html>", "text/html")
            elif fault == "half":
                self._say(200, text[: len(text) // 2], "application/json")
            elif fault == "cut":
                self._say(200, text, "application/json", length=len(text) + 100)
                self.close_connection = True
            elif fault.startswith("code-"):
                code = int(fault.removeprefix("code-"))
                self._say(200, json.dumps({"RetCode": code, "Message": "try later"}), "text/json")
            elif fault.startswith("{"):
                self._say(200, fault, "application/json")
            else:
                self._say(200, text, "application/json")

        def _say(
            self, status: int, text: str, kind: str, *, length: int = 0, after_s: str = ""
        ) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length or len(content)))
            if after_s:
                self.send_header("Retry-After", after_s)
            if 300 <= status < 400:
                self.send_header("Location", f"{fake.url}/elsewhere")
            self.end_headers()
            for part in _parts(content):
                self.wfile.write(part)
                self.wfile.flush()

    return Handler


def _parts(content: bytes) -> Iterator[bytes]:
    """Yield a body in pieces that cut through characters and lines."""
    for start in range(0, len(content), 997):
        yield content[start : start + 997]
