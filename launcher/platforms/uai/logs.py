"""What a job prints, line by line: each of its logs read with a cursor of its own."""

import time
from collections.abc import Callable, Iterator

from launcher.errors import HostError
from launcher.platforms import Line, State
from launcher.platforms.uai import answers
from launcher.platforms.uai.answers import Job
from launcher.platforms.uai.calls import Calls, Refused
from launcher.platforms.uai.log_cursor import Cursor
from launcher.platforms.uai.states import state

ROUNDS_FAILED = 5  # in a row, before following is given up
_NOT_BEGUN = (State.PENDING, State.STARTING)


class _Gone(HostError):
    """The platform shows a log no more; it may know where the whole of it is."""

    def __init__(self, job: Job, error: Refused) -> None:
        file = job.details.get("log file")
        super().__init__(f"{error}\nthe log file is {file}" if file else str(error))


class Reader:
    """The logs of one job."""

    def __init__(self, calls: Calls, job_id: str, look: Callable[[], Job], poll_s: float) -> None:
        self._calls = calls
        self._job_id = job_id
        self._look = look
        self._poll_s = poll_s
        self._cursors: dict[str, Cursor] = {}

    def read(self) -> Iterator[Line]:
        """Yield what the platform shows now.

        Raises:
            HostError: it shows none, and says where the whole log is if it knows.
        """
        job = self._look()
        try:
            yield from self._round()
        except Refused as error:
            if state(job.status) in _NOT_BEGUN:
                return
            raise _Gone(job, error) from None

    def follow(self) -> Iterator[Line]:
        """Yield every line once, until the job has ended and its logs were read after that.

        A job that has not begun has no logs yet, nor need one that was stopped before.

        Raises:
            HostError: the platform fails again and again, or shows none of what a job has printed.
        """
        failed = 0
        was_read = False
        before: State | None = None
        while True:
            try:
                job = self._look()
                stands = state(job.status)
                try:
                    yield from self._round()
                except Refused as error:
                    if stands is State.RUNNING:
                        failed += 1
                        if failed >= ROUNDS_FAILED:
                            raise
                    if stands.is_final and not was_read and before not in _NOT_BEGUN:
                        raise _Gone(job, error) from None
                else:
                    failed = 0
                    was_read = True
                if stands.is_final:
                    return
                before = stands
            except (Refused, _Gone):
                raise
            except HostError:
                failed += 1
                if failed >= ROUNDS_FAILED:
                    raise
            time.sleep(self._poll_s)

    def _round(self) -> Iterator[Line]:
        asked = {"TrainJobId": self._job_id}
        listed = answers.topics(self._calls.call("GetUAITrainRunningLogTopicList", asked))
        for topic in listed:
            of_topic = {**asked, "LogTopicId": topic.id}
            view = answers.lines(self._calls.call("GetUAITrainRunningLog", of_topic))
            cursor = self._cursors.setdefault(topic.id, Cursor())
            for line in cursor.new(view):
                yield Line(topic.name, line)
