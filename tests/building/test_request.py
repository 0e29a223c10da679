"""What is asked to be built, checked before an engine hears of it."""

from pathlib import Path

import pytest

from launcher.building import request
from launcher.errors import InputError


def write(folder: Path, name: str = "Dockerfile", text: str = "ARG A\nFROM a\n") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    """Without words it is mnist.Dockerfile where there is one, else Dockerfile."""
    folder = tmp_path / "Model"
    folder.mkdir()
    plain = write(folder)
    asked = request.read(str(folder), None, None, [], {})
    assert (asked.file, asked.name, asked.context) == (plain, "model", folder)
    ours = write(folder, "mnist.Dockerfile")
    asked = request.read(str(folder), None, None, [], {})
    assert (asked.file, asked.name) == (ours, "mnist")


def test_build_args(tmp_path: Path) -> None:
    """A value stands on the command line, or in the environment alone; proxies need no ARG."""
    write(tmp_path, text="ARG A\nFROM a$A\nARG B")
    words = ["A=b=c", "B", "http_proxy=x"]
    asked = request.read(str(tmp_path), None, "lab/x", words, {"B": "from here"})
    assert asked.build_args == {"A": "b=c", "B": "from here", "http_proxy": "x"}
    assert [base.image for base in asked.bases] == ["ab=c"]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Every problem of a command line is found, not the first."""
    write(tmp_path, text="ARG BASE_IMAGE\nFROM $BASE_IMAGE\n")
    words = ["BASE_IMGE=1", "=x", "NOWHERE"]
    with pytest.raises(InputError) as caught:
        request.read(str(tmp_path), None, "lab/x:v1", words, {})
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 5
    assert "expected KEY=VALUE, got '=x'" in said[0]
    assert "$NOWHERE is not set" in said[1]
    assert "has no ARG BASE_IMGE (it declares BASE_IMAGE)" in said[2]
    assert "Dockerfile:2 FROM $BASE_IMAGE" in said[3]
    assert "expected lab/x, without a tag" in said[4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, "name the Dockerfile with -f"), ("RUN x\n", "no FROM"), ("", "no FROM")],
)
def test_no_dockerfile(tmp_path: Path, text: str | None, expected: str) -> None:
    """A folder without a Dockerfile, or with something else of that name, is refused."""
    if text is not None:
        write(tmp_path, text=text)
    with pytest.raises(InputError, match=expected):
        request.read(str(tmp_path), None, None, [], {})


def test_no_text(tmp_path: Path) -> None:
    """A file that is no text is refused."""
    write(tmp_path).write_bytes(b"\x7fELF\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        request.read(str(tmp_path), None, None, [], {})


def test_no_folder(tmp_path: Path) -> None:
    """What is no folder is refused, whether there is something or not."""
    file = write(tmp_path)
    with pytest.raises(InputError, match="this is a file"):
        request.read(str(file), str(file), None, [], {})
    with pytest.raises(InputError, match="no such folder"):
        request.read(str(tmp_path / "x"), None, None, [], {})
