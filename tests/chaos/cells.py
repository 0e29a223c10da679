"""The matrix: its cells, those that make no sense with the reason, and what each must lead to."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What trains."""

    MWMS = "MWMS"
    PSS = "PSS"
    PSS_EVALUATOR = "PSS+evaluator"


class Where(StrEnum):
    """Where the tasks run."""

    PROCESS = "process"
    LOCAL = "local Docker"
    HOSTS = "3 SSH hosts"


class When(StrEnum):
    """When the fault comes."""

    FORMING = "forming"  #: all are up but worker:1, which keeps its port closed
    TRAINING = "training"


class Fault(StrEnum):
    """What breaks."""

    KILL = "SIGKILL"
    STOP = "SIGSTOP"
    EXIT_1 = "exit 1"
    EXIT_0 = "exit 0"
    NEVER = "never starts"
    PORT = "port stolen"
    REMOVED = "container removed"
    DOCKERD = "dockerd restarted"
    CUT_SHORT = "network cut 5 s"
    CUT = "network cut for good"
    CUT_MOVE = "network cut for good, tasks may move"
    DROP_SSH = "SSH dropped"
    ATTACH = "launcher SIGKILL, attach"
    RESUME = "launcher SIGTERM, resume"
    DISK = "disk full"
    SKEW = "clock skew"


OF_TASKS = (Fault.KILL, Fault.STOP, Fault.EXIT_1, Fault.EXIT_0, Fault.NEVER, Fault.PORT,
            Fault.REMOVED)  # fmt: skip
OF_NETWORK = (Fault.CUT_SHORT, Fault.CUT, Fault.CUT_MOVE, Fault.DROP_SSH)
MEMBERS = {
    Kind.MWMS: ("chief:0", "worker:0", "worker:1"),
    Kind.PSS: ("chief:0", "worker:0", "worker:1", "ps:0"),
    Kind.PSS_EVALUATOR: ("chief:0", "worker:0", "worker:1", "ps:0"),
}


class Cell(NamedTuple):
    """One fault under one cluster.

    role: whom it hits, a task type; empty for what hits a host or the launcher.
    """

    kind: Kind
    where: Where
    fault: Fault
    when: When
    role: str = ""

    @property
    def name(self) -> str:
        """The cell's name among the tests."""
        words = (self.kind, self.where, self.role, self.fault, self.when)
        return "-".join(word.replace(" ", "_") for word in words if word)

    @property
    def target(self) -> str:
        """The task that is hit."""
        return f"{self.role}:0" if self.role else ""

    @property
    def held(self) -> str:
        """The task that keeps its port closed for a while, so that the cluster does not form."""
        if not self.breaks_later:
            return ""
        if self.fault in (Fault.NEVER, Fault.PORT):
            return self.target
        return "worker:1" if self.when is When.FORMING else ""

    @property
    def breaks_later(self) -> bool:
        """Whether the fault comes while the run is under way; some are there from the start."""
        return self.fault not in (Fault.DISK, Fault.SKEW) or self.when is When.TRAINING

    @property
    def serves(self) -> bool:
        """Whether the task that is hit serves a chief."""
        return self.kind is not Kind.MWMS and self.role in ("worker", "ps")

    @property
    def members(self) -> tuple[str, ...]:
        """The tasks that form the cluster."""
        return MEMBERS[self.kind]

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks."""
        evaluator = ("evaluator:0",) if self.kind is Kind.PSS_EVALUATOR else ()
        return (*self.members, *evaluator)


class Expected(NamedTuple):
    """What a cell must lead to.

    again: the tasks that are started a second time, of their own or because another was lost.
    says: what the console must say.
    is_whole: whether the last step must be reached.
    """

    outcome: str
    code: int
    again: frozenset[str] = frozenset()
    says: str = ""
    is_whole: bool = True


def cells() -> Iterator[Cell]:
    """Yield every cell there is, those that make no sense among them."""
    for kind in Kind:
        for where in Where:
            for fault in Fault:
                for role in roles(kind, fault):
                    for when in When:
                        yield Cell(kind, where, fault, when, role)


def roles(kind: Kind, fault: Fault) -> tuple[str, ...]:
    """Return the task types that a fault may hit; a single empty one where it hits no task."""
    if fault not in OF_TASKS:
        return ("",)
    return tuple(dict.fromkeys(t.split(":")[0] for t in Cell(kind, Where.PROCESS, fault,
                                                              When.TRAINING).tasks))  # fmt: skip


def senseless(cell: Cell) -> str:
    """Return why a cell makes no sense; nothing for one that does."""
    fault, where, when = cell.fault, cell.where, cell.when
    if fault is Fault.SKEW and where is not Where.HOSTS:
        return "one machine has one clock"
    if fault in (Fault.NEVER, Fault.PORT) and when is When.TRAINING:
        return "before the cluster has formed, or never"
    if fault is Fault.PORT and cell.role == "evaluator":
        return "an evaluator opens no port"
    if fault is Fault.PORT and where is Where.LOCAL:
        return "each container has an address of its own there"
    if fault in (Fault.REMOVED, Fault.DOCKERD) and where is Where.PROCESS:
        return "a process has neither"
    if fault in OF_NETWORK and where is not Where.HOSTS:
        return "there is no network between the launcher and the tasks"
    return ""


def expected(cell: Cell) -> Expected:
    """Return what a cell must lead to, by the table of docs/cluster-yaml.md."""
    if cell.fault in OF_TASKS:
        return _of_evaluator(cell) if cell.role == "evaluator" else _of_task(cell)
    members = frozenset(cell.members)
    match cell.fault:
        case Fault.DOCKERD:
            return _of_docker(cell)
        case Fault.CUT:
            return Expected("host lost", 3, says="h2", is_whole=False)
        case Fault.CUT_MOVE:
            return Expected("succeeded", 3, members, "h2")  # what h2 holds is not home
        case Fault.ATTACH if cell.where is Where.PROCESS:
            return Expected("succeeded", 0, frozenset(cell.tasks), "still run without a launcher")
        case Fault.SKEW if cell.when is When.FORMING:
            return Expected("succeeded", 0, says="note: h2: its clock is ")
        case Fault.SKEW:  # and worker:0 on h2 exits with 1, for which nobody starts again
            return Expected("failed", 1, says="worker:0 on h2 failed first", is_whole=False)
        case Fault.RESUME:
            return Expected("succeeded", 0, frozenset(cell.tasks))
        case Fault.DISK if cell.where is Where.PROCESS and not cell.breaks_later:
            return Expected("refused", 3, says="No space left on device", is_whole=False)
        case Fault.DISK if not cell.breaks_later:
            return Expected("not started", 3, says="no space left on device", is_whole=False)
        case Fault.DISK:
            again = members if cell.kind is Kind.MWMS else frozenset({"chief:0"})
            return Expected("failed", 1, again, "no space left", is_whole=False)
    return Expected("succeeded", 0)


def _of_docker(cell: Cell) -> Expected:
    """A daemon that is stopped asks its containers to end first: what trains saves its state.

    On hosts it is the chief's. An evaluator that is asked to end does so with 0.
    """
    members = frozenset(cell.members)
    if cell.where is Where.HOSTS and cell.kind is not Kind.MWMS:
        return Expected("succeeded", 0, frozenset({"chief:0"}))
    return Expected("succeeded", 0, members)


def _of_evaluator(cell: Cell) -> Expected:
    """It alone starts again, where that may help; it never fails the run."""
    again = cell.fault in (Fault.KILL, Fault.REMOVED)
    again |= cell.fault is Fault.EXIT_1 and cell.when is When.TRAINING
    return Expected("succeeded", 0, frozenset({cell.target} if again else ()))


def _of_task(cell: Cell) -> Expected:
    group = frozenset(cell.members)
    alone = frozenset({cell.target})
    radius = group if cell.kind is Kind.MWMS or cell.role == "ps" else alone
    match cell.fault:
        case Fault.NEVER:
            says = f"the cluster did not form in 4 s: waiting for {cell.target}"
            return Expected("not formed", 3, says=says, is_whole=False)
        case Fault.PORT:
            return Expected("succeeded", 0, group, "its port is taken")
        case Fault.STOP:
            return Expected("succeeded", 0, group, "no progress for")
        case Fault.EXIT_1 if cell.when is When.FORMING:
            return Expected("failed", 1, says=f"{cell.target} failed", is_whole=False)
        case Fault.EXIT_0 if cell.kind is not Kind.MWMS and cell.role == "chief":
            return Expected("succeeded", 0, is_whole=False)  # the chief alone knows when it is done
        case Fault.EXIT_0 if cell.kind is Kind.MWMS and cell.when is When.FORMING:
            return Expected("not formed", 3, says=f"{cell.target}", is_whole=False)
    return Expected("succeeded", 0, radius)
