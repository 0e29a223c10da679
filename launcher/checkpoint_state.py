"""TensorFlow's note of which checkpoints a folder holds (its file `checkpoint`), as a value.

A checkpoint NAME is the files NAME.index and NAME.data-00000-of-0000N. TensorFlow names it in the
note once they are complete, so what the note does not name does not count. The note may come from
a container: a name that would lead out of the folder is none.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

STATE_FILE = "checkpoint"
INDEX_HEAD_BYTES = 64  # of an index file, enough to tell how many data files there are
MOST_STATE_BYTES = 1 << 20

_LINE = re.compile(r"(\w+): *(.*?) *")
_NAME = re.compile(r'"([^"\\]+)"')
_NUMBER = re.compile(r"(\d+)$")
_LATEST, _KEPT, _TIME = (
    "model_checkpoint_path",
    "all_model_checkpoint_paths",
    "all_model_checkpoint_timestamps",
)
_MOST_SHARDS = 1 << 14


class CheckpointState(NamedTuple):
    """What a folder's note says.

    names: the checkpoints that are kept, the oldest first.
    times: when each was written, in the note's own words; none where it does not tell.
    others: the note's other lines.
    """

    latest: str
    names: tuple[str, ...]
    times: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The step in the latest checkpoint's name, -1 where there is none."""
        found = _NUMBER.search(self.latest)
        return int(found[1]) if found else -1

    def only(self, names: Collection[str]) -> "CheckpointState | None":
        """Return the note of a folder that holds no more of them than these; None for no note."""
        kept = [(n, t) for n, t in zip(self.names, self._times(), strict=True) if n in names]
        if not kept:
            return None
        latest = self.latest if self.latest in names else kept[-1][0]
        times = tuple(time for _, time in kept) if self.times else ()
        return self._replace(latest=latest, names=tuple(name for name, _ in kept), times=times)

    def text(self) -> str:
        """Return the note as TensorFlow reads it."""
        lines = [f'{_LATEST}: "{self.latest}"']
        lines += [f'{_KEPT}: "{name}"' for name in self.names]
        lines += [f"{_TIME}: {time}" for time in self.times]
        return "".join(f"{line}\n" for line in (*lines, *self.others))

    def _times(self) -> tuple[str, ...]:
        return self.times or ("",) * len(self.names)


def parse(text: str, folder: str) -> CheckpointState | None:
    """Return what a note in `folder` says; None where it is none, or names what lies elsewhere."""
    fields: dict[str, list[str]] = {_LATEST: [], _KEPT: [], _TIME: []}
    others = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        if match[1] in fields:
            fields[match[1]].append(match[2])
        else:
            others.append(line)
    names = [_name(given, folder) for given in (*fields[_LATEST][:1], *fields[_KEPT])]
    if not fields[_LATEST] or None in names:
        return None
    latest, *kept = (name for name in names if name)
    kept = list(dict.fromkeys(kept if latest in kept else (*kept, latest)))
    times = tuple(fields[_TIME]) if len(fields[_TIME]) == len(kept) else ()
    return CheckpointState(latest, tuple(kept), times, tuple(others))


def index_of(name: str) -> str:
    """Return the name of a checkpoint's index file."""
    return f"{name}.index"


def data_of(name: str, index_head: bytes) -> tuple[str, ...]:
    """Return the names of a checkpoint's data files, by the first bytes of its index file.

    An index is a table as in LevelDB; its first entry, of the empty key, is a BundleHeaderProto,
    whose first field is the number of data files (tensorflow/core/protobuf/tensor_bundle.proto).
    """
    count = 1
    if index_head[:2] == b"\0\0" and index_head[3:4] == b"\x08":
        count = _varint(index_head[4:])
    if not 0 < count <= _MOST_SHARDS:
        count = 1
    return tuple(f"{name}.data-{shard:05d}-of-{count:05d}" for shard in range(count))


def _name(given: str, folder: str) -> str | None:
    match = _NAME.fullmatch(given)
    name = match[1].removeprefix(f"{folder}/") if match else ""
    return name if name and "/" not in name and not name.startswith(".") else None


def _varint(data: bytes) -> int:
    value = 0
    for position, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value
    return 0
