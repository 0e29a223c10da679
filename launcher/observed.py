"""What the tasks of a run say of themselves in marker lines, gathered."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Observed:
    """The latest of each kind of marker."""

    metrics: dict[str, object] = field(default_factory=dict)
    step: int | None = None
    model: str | None = None

    def note(self, fields: Mapping[str, object]) -> None:
        """Take in one marker line's fields."""
        match fields.get("kind"):
            case "metrics" if self._supersedes(fields):
                self.metrics = {k: v for k, v in fields.items() if k != "kind"}
            case "model":
                self.model = str(fields.get("path"))
        step = fields.get("step")
        if isinstance(step, int):
            self.step = max(step, self.step or 0)

    def _supersedes(self, fields: Mapping[str, object]) -> bool:
        """Whether these metrics say more than those known: final ones do, then later ones."""
        return bool(fields.get("final")) or not self.metrics.get("final")
