"""How far a log has been read, where each answer is a view of its end.

The platform numbers no lines. It returns a log, or the last lines of it; what of that is new shows
only by how it overlaps what came before. A view that holds nothing new (a late answer) yields
nothing; of lines that are all alike, as many are new as the view has more than could be seen.
"""

from array import array
from collections.abc import Sequence

_LOOKED_BACK = 10_000  # lines at least, and eight views


class Cursor:
    """The end of one log."""

    def __init__(self) -> None:
        self._seen = array("q")  # of each line its hash

    def new(self, view: Sequence[str]) -> Sequence[str]:
        """Return the lines of a view that have not been returned before, in order."""
        known = self._overlap(list(map(hash, view)))
        fresh = view[known:]
        self._seen.extend(map(hash, fresh))
        return fresh

    def _overlap(self, view: list[int]) -> int:
        """Return how many lines at a view's start are known: all, where it holds nothing new.

        Knuth, Morris and Pratt's search for the view in what was seen; where it is not found
        whole, the state at the end is the longest start of the view that ends what was seen.
        """
        if not view:
            return 0
        back = _borders(view)
        matched = 0
        start = max(0, len(self._seen) - _LOOKED_BACK - 8 * len(view))
        for line in self._seen[start:]:
            while matched and view[matched] != line:
                matched = back[matched - 1]
            matched += view[matched] == line
            if matched == len(view):
                return matched
        return matched


def _borders(view: Sequence[int]) -> list[int]:
    """Return for each prefix the length of its longest proper prefix that also ends it."""
    back = [0] * len(view)
    length = 0
    for index in range(1, len(view)):
        while length and view[index] != view[length]:
            length = back[length - 1]
        length += view[index] == view[length]
        back[index] = length
    return back
