"""UAI Train of UCloud: every node runs one image and one command, TF_CONFIG in the old form.

What the API takes and says was read in UCloud's SDK (github.com/ucloud/uai-sdk) and documents
(docs.ucloud.cn/uai-train); nothing of it could be run against the platform itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from launcher.errors import HostError, InputError, Problem
from launcher.option import Option
from launcher.platforms import Line, Request, State, Submitted
from launcher.platforms.uai import answers, creating, credentials, images, matching, needs
from launcher.platforms.uai.answers import Job
from launcher.platforms.uai.calls import Calls, Endpoint, Refused, check_endpoint, need_requests
from launcher.platforms.uai.creating import Prepared
from launcher.platforms.uai.logs import Reader
from launcher.platforms.uai.settings import Settings as UaiSettings
from launcher.platforms.uai.signature import Value
from launcher.platforms.uai.states import state, submitted

_PAGE = 100
_PAGES = 1000


class UaiTrain:
    """The platform, for the user whose keys the environment or a file holds."""

    Settings: ClassVar[type[Any]] = UaiSettings
    options: ClassVar[tuple[Option, ...]] = ()

    def __init__(self, settings: UaiSettings, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self._environ = environ
        self._calls: Calls | None = None
        self._asked: set[str] = set()

    def prepare(self, request: Request) -> Prepared:
        """Return the request that would make the job.

        The platform is asked what it has; nothing is asked while the file has problems.
        """
        problems: list[Problem] = []
        needed = calls = None
        try:
            needed = needs.of(request, self.settings)
        except InputError as error:
            problems += error.problems
        try:
            calls = self._opened()
        except InputError as error:
            problems += (each for each in error.problems if each.what not in map(_what, problems))
        if problems or needed is None or calls is None:
            raise InputError(problems)
        source = request.spec.source
        image = images.named(needed.image, self._environ, source, digest=self.settings.by_digest)
        found = matching.find(calls.call, needed, self.settings, source)
        return creating.prepared(calls, request.run_id, image, needed, found, self.settings)

    def submit(self, prepared: Prepared) -> Submitted:
        """Make the job."""
        job_id = creating.create(self._opened(), prepared, self._named)
        return Submitted(job_id, prepared.name, State.PENDING)

    def jobs(self) -> Sequence[Submitted]:
        """Return the jobs of the project."""
        listed = sorted(self._listed(), key=lambda job: (job.created or 0.0, job.id))
        return [submitted(job) for job in listed]

    def job(self, job_id: str) -> Submitted:
        """Return how a job stands; the first time with what it has used up."""
        found = self._found(job_id)
        if job_id in self._asked:
            return submitted(found)
        self._asked.add(job_id)
        return submitted(found._replace(details={**found.details, **self._used(found)}))

    def logs(self, job_id: str, *, follow: bool) -> Iterator[Line]:
        """Yield what its processes print; the platform shows the end of each log alone."""
        reader = Reader(self._opened(), job_id, lambda: self._found(job_id), self.settings.poll_s)
        return reader.follow() if follow else reader.read()

    def stop(self, job_id: str) -> None:
        """Have a job stopped."""
        if self._is_ending(job_id):
            return
        try:
            self._opened().call("StopUAITrainJob", {"TrainJobId": job_id})
        except Refused:  # it may have ended meanwhile, or an earlier try may have arrived
            if not self._is_ending(job_id):
                raise

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended."""
        stands = state(self._found(job_id).status)
        if stands is State.DELETED:
            return
        if not stands.is_final and stands is not State.UNKNOWN:
            what = f"it is {stands}; expected a job that has ended (launch submit stop)"
            raise InputError(Problem(job_id, what))
        try:
            self._opened().call("RemoveUAITrainJob", {"TrainJobId": job_id})
        except Refused:
            left = self._looked_up(job_id)
            if left and state(left.status) is not State.DELETED:
                raise

    def rename(self, job_id: str, name: str) -> None:
        """Give a job another name."""
        self._found(job_id)
        params = {"TrainJobId": job_id, "TrainJobName": name}
        self._opened().call("ModifyUAITrainJobName", params)

    def _opened(self) -> Calls:
        """Return the API, once the keys are found. Raises InputError."""
        if self._calls is None:
            if problems := list(check_endpoint(self.settings.endpoint, "platforms.uai.endpoint")):
                raise InputError(problems)
            need_requests()
            account = credentials.find(self.settings, self._environ)
            s = self.settings
            endpoint = Endpoint(s.endpoint, s.region, s.zone, account.project)
            self._calls = Calls(endpoint, account.credentials)
        return self._calls

    def _is_ending(self, job_id: str) -> bool:
        stands = state(self._found(job_id).status)
        return stands.is_final or stands is State.STOPPING

    def _used(self, job: Job) -> Mapping[str, str]:
        """Return what is told of a job beyond the list; nothing where the platform does not."""
        calls, asked = self._opened(), {"TrainJobId": job.id}
        stands, told = state(job.status), dict[str, str]()
        try:
            if stands is State.RUNNING:
                told.update(answers.running(calls.once("GetUAITrainRunningInfo", asked)))
                if page := answers.url(calls.once("GetUAITrainTensorboardUrl", asked)):
                    told["tensorboard"] = page
            elif stands.is_final and job.created and "cost" not in job.details:
                told.update(self._billed(job))
        except HostError:
            return told
        return told

    def _billed(self, job: Job) -> Mapping[str, str]:
        import time

        begin = int(job.created or 0)
        params = {"BeginTime": begin, "EndTime": max(begin, int(time.time()))}
        cost = answers.bill(self._opened().once("GetUAITrainBillInfo", params), job.id)
        return {} if cost is None else {"cost": answers.price(cost)}

    def _found(self, job_id: str) -> Job:
        found = self._looked_up(job_id)
        if found is None:
            raise InputError(Problem(job_id, "no such job"))
        return found

    def _looked_up(self, job_id: str) -> Job | None:
        asked: Mapping[str, Value] = {"TrainJobId": job_id, "Offset": 0, "Limit": 1}
        listed = answers.page(self._opened().call("GetUAITrainJobList", asked))
        return next((job for job in listed.jobs if job.id == job_id), None)

    def _named(self, name: str) -> Job | None:
        return next((job for job in self._listed() if job.name == name), None)

    def _listed(self) -> Iterator[Job]:
        """Yield every job once, page by page: jobs come and go between two pages."""
        seen: set[str] = set()
        offset = 0
        for _ in range(_PAGES):
            asked = {"Offset": offset, "Limit": _PAGE}
            page = answers.page(self._opened().call("GetUAITrainJobList", asked))
            fresh = [job for job in page.jobs if job.id not in seen]
            seen.update(job.id for job in fresh)
            yield from fresh
            offset += len(page.jobs)
            if not fresh or (page.total is not None and offset >= page.total):
                return


def _what(problem: Problem) -> str:
    return problem.what
