"""The run's code as a ConfigMap: the script and its modules, or the folder that `code:` names."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from launcher.cluster import ClusterSpec
from launcher.errors import InputError, Problem
from launcher.files.code import code_files
from launcher.layout import Job
from launcher.platforms.kubernetes.storage import code_keys
from launcher.size import shown

_MOST_BYTES = 1_000_000  # of 1 MiB, which its keys count for too


class Code(NamedTuple):
    """The code of a run.

    keys: each key of the ConfigMap with the file's path below /data.
    data, binary_data: the files by key, as texts and in Base64.
    """

    keys: Mapping[str, str]
    data: Mapping[str, str]
    binary_data: Mapping[str, str]

    def config_map(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ConfigMap."""
        made: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        made["immutable"] = True
        if self.data:
            made["data"] = dict(self.data)
        if self.binary_data:
            made["binaryData"] = dict(self.binary_data)
        return made


def code_of(spec: ClusterSpec, job: Job, runs_dir: str) -> Code:
    """Return what the containers of a run get at /data.

    Raises:
        InputError: a file cannot be read, or it is too much for a ConfigMap.
    """
    files = code_files(job.script, spec.code, leave_out=(runs_dir,))
    keys = code_keys(files)
    data, binary, problems, size = {}, {}, [], 0
    for key, path in keys.items():
        try:
            with open(files[path], "rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            problems.append(Problem(files[path], f"cannot be read: {error.strerror or error}"))
            continue
        try:
            data[key] = content.decode()
            size += len(content)
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(content).decode()
            size += len(binary[key])
        size += len(key)
    if size > _MOST_BYTES:
        where = spec.code or job.script or ""
        what = f"{len(keys)} files, over {shown(_MOST_BYTES)}: a ConfigMap holds no more. Put them"
        problems.append(Problem(where, f"{what} into the image (launch build, launch pack)"))
    if problems:
        raise InputError(problems)
    return Code(keys, data, binary)
