"""How far a build or a push has come: a moving display on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from launcher.building.events import Cached, Event, Layer, Line, Step

_REFRESHES_PER_S = 8
_DONE = ("Pushed", "Layer already exists", "Pull complete", "Already exists")


class Display(Protocol):
    """Shows events while it is entered; what is under way disappears at its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, event: Event) -> None: ...


def display(stream: TextIO) -> Display:
    """Return the display that suits a stream."""
    return Moving(stream) if stream.isatty() else Plain(stream)


class Plain:
    """Each step, each line that it prints, and each change of a layer's state, as a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._states: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_of_error: object) -> None:
        return None

    def show(self, event: Event) -> None:
        match event:
            case Step():
                self._say(str(event))
            case Cached():
                self._say("  as before")
            case Line(text):
                self._say(f"  {text}")
            case Layer(of, status) if self._states.get(of) != status:
                self._states[of] = status
                self._say(f"  {of}: {status}")

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Moving:
    """Steps that are done stay as one line each; below them, what is under way."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, soft_wrap=False)
        self._step: Step | None = None
        self._began = 0.0
        self._is_cached = False
        self._line = ""
        self._spinner = Spinner("dots")
        self._layers = _Layers(self._console)
        self._live = Live(
            console=self._console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            get_renderable=self._now,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._finish()
        self._live.stop()

    def show(self, event: Event) -> None:
        match event:
            case Step():
                self._finish()
                self._layers = _Layers(self._console)
                self._step, self._began, self._line = event, time.monotonic(), ""
                self._is_cached = False
            case Cached():
                self._is_cached = True
            case Line(text):
                self._line = text
            case Layer():
                self._layers.show(event)

    def _finish(self) -> None:
        """Leave the step that is done as a line above."""
        if self._step is None:
            return
        took = "as before" if self._is_cached else f"{time.monotonic() - self._began:.1f} s"
        self._live.console.print(self._one_line("✓", self._step, took))
        self._step = None

    def _now(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._step is not None:
            self._spinner.update(text=self._one_line("", self._step, ""))
            parts.append(self._spinner)
        if self._line:
            parts.append(_cut(Text(f"    {self._line}", style="dim"), self._console.width))
        if self._layers:
            parts.append(self._layers.bars)
        return Group(*parts)

    def _one_line(self, mark: str, step: Step, took: str) -> Text:
        text = Text(f"{mark} {step.number}/{step.total} {step.instruction}".strip())
        room = self._console.width - len(took) - 3
        text = _cut(text, room)
        return text.append(f"  {took}", style="dim") if took else text


def _cut(text: Text, width: int) -> Text:
    text.truncate(max(width, 1), overflow="ellipsis")
    return text


class _Layers:
    """A bar for each layer that is on its way."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}")
        self.bars = Progress(text, BarColumn(), DownloadColumn(), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def show(self, layer: Layer) -> None:
        """Take in how far a layer has come."""
        if layer.id not in self._tasks:
            self._tasks[layer.id] = self.bars.add_task(layer.id, total=None)
        of = self._tasks[layer.id]
        self.bars.update(of, description=f"{layer.id} {layer.status}")
        if layer.total_bytes:
            self.bars.update(of, completed=layer.done_bytes, total=layer.total_bytes)
        elif layer.status in _DONE:
            total = self.bars.tasks[self.bars.task_ids.index(of)].total or 0
            self.bars.update(of, completed=total, total=total)


def chosen_stream(*, as_json: bool) -> TextIO:
    """Return where progress is shown: standard output is for the result alone where it is JSON."""
    return sys.stderr if as_json else sys.stdout
