"""What a run needs, found among what the platform offers: the ids that a job is made with.

The order of the questions is the platform's: what there is depends on the train mode.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from launcher.cluster import Source
from launcher.errors import InputError, Problem, nearest
from launcher.platforms.uai import answers
from launcher.platforms.uai.answers import Answer, Choice, Node
from launcher.platforms.uai.needs import Needs, backend
from launcher.platforms.uai.settings import Settings
from launcher.platforms.uai.signature import Value

Ask = Callable[[str, Mapping[str, Value]], Answer]


class Found(NamedTuple):
    """The platform's ids of what a run needs; `framework` is 0 on a single node."""

    mode: Choice
    node: Node
    framework: int
    data: int
    output: int


def find(ask: Ask, needs: Needs, settings: Settings, source: Source) -> Found:
    """Return what fits, asking the platform what it has.

    Raises:
        InputError: with all that it does not have.
        HostError: it does not tell.
    """
    several = needs.nodes > 1
    modes = answers.choices(ask("GetUAITrainAvailableTrainMode", {}), "TrainMode")
    mode = _named("Distributed" if several else "StandAlone", modes, "tasks", "train mode", source)
    of_mode: Mapping[str, Value] = {"TrainModeId": mode.id}
    nodes = answers.nodes(ask("GetUAITrainAvailableResource", {"NodeType": "Work", **of_mode}))
    problems: list[Problem] = []
    node = _node(nodes, needs, settings, source, problems)
    framework = Choice(0, "")
    if several:
        offered = ask("GetUAITrainAvailableDistAIFramework", of_mode)
        frameworks = answers.choices(offered, "DistAIFrame")
        at = "platforms.uai.framework"
        framework = _collected(settings.framework, frameworks, at, "framework", source, problems)
    backends = answers.choices(ask("GetUAITrainAvailableBackend", of_mode), "DataBackend")
    stores = []
    for key in ("data", "output"):
        name, at = backend(getattr(settings, key)), f"platforms.uai.{key}"
        stores.append(_collected(name, backends, at, "data backend", source, problems).id)
    if problems or node is None:
        raise InputError(problems)
    return Found(mode, node, framework.id, *stores)


def _node(
    nodes: Sequence[Node],
    needs: Needs,
    settings: Settings,
    source: Source,
    problems: list[Problem],
) -> Node | None:
    """Return the one kind of node that fits; what has the same name is the same, cheapest first."""
    fitting = [node for node in nodes if node.gpus == needs.gpus]
    if settings.gpu is not None:
        fitting = [node for node in fitting if node.gpu.lower() == settings.gpu.lower()]
    kinds = sorted({node.in_words for node in fitting})
    if len(kinds) == 1:
        return min(fitting, key=lambda node: (node.price is None, node.price, node.id))
    if kinds:
        what = f"several kinds of nodes fit; expected one of {', '.join(_kinds(fitting))}"
        problems.append(Problem(source.where("platforms.uai.gpu"), what))
        return None
    wanted = f"{needs.gpus}-{settings.gpu}" if settings.gpu else f"{needs.gpus} GPUs"
    there = ", ".join(sorted({node.in_words for node in nodes})) or "none"
    what = f"the platform has no node with {wanted}; it has {there}"
    problems.append(Problem(source.where("tasks"), what))
    return None


def _kinds(nodes: Sequence[Node]) -> list[str]:
    return sorted({node.gpu or "CPU" for node in nodes})


def _collected(
    name: str,
    offered: Sequence[Choice],
    key_path: str,
    kind: str,
    source: Source,
    problems: list[Problem],
) -> Choice:
    try:
        return _named(name, offered, key_path, kind, source)
    except InputError as error:
        problems += error.problems
        return Choice(0, "")


def _named(
    name: str, offered: Sequence[Choice], key_path: str, kind: str, source: Source
) -> Choice:
    for choice in offered:
        if choice.name.lower() == name.lower():
            return choice
    there = [choice.name for choice in offered]
    among = f"it has {', '.join(there)}" if there else "it has none"
    what = f"the platform has no {kind} {name!r}{nearest(name, there)}; {among}"
    raise InputError(Problem(source.where(key_path), what))
