"""Reading a Dockerfile: what it declares, and what its image stands on."""

import pytest

from launcher.building.dockerfile import Dockerfile
from tests.building.places import REPOSITORY


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("FROM a", set()),
        ("ARG A\nFROM a\nARG B=1 C='x y'", {"A", "B", "C"}),
        ("arg a=1\nfrom x", {"a"}),
        ("FROM a\nARG \\\n  # why\n  A=1 \\\n\n  B", {"A", "B"}),
        ("# escape=`\nFROM a\nARG `\n A", {"A"}),
        ("# syntax=x\n# escape=`\nFROM a\nARG `\n A", {"A"}),
        ("# a comment\n# escape=`\nFROM a\nRUN `\nARG A", {"A"}),
        ("FROM a\nRUN echo \\\n ARG A", set()),
        ("FROM a\nARG 'open", {"'open"}),
    ],
)
def test_args(text: str, args: set[str]) -> None:
    """Every ARG's names are found, over continued lines and comments between them."""
    assert Dockerfile.parse(text).args() == args


@pytest.mark.parametrize(
    ("text", "given", "bases"),
    [
        ("FROM a:1", {}, ["a:1"]),
        ("FROM scratch", {}, []),
        ("ARG B=a:1\nFROM $B", {}, ["a:1"]),
        ("ARG B=a:1\nFROM ${B}", {"B": "b:2"}, ["b:2"]),
        ("ARG V=1\nARG B=a:$V\nFROM $B", {"V": "2"}, ["a:2"]),
        ("ARG B\nFROM ${B:-a}", {}, ["a"]),
        ("ARG B\nFROM a${B:+-gpu}", {"B": "1"}, ["a-gpu"]),
        ("ARG B\nFROM a${B:+-gpu}", {}, ["a"]),
        ("ARG B\nFROM $B", {}, [""]),
        ("FROM a AS one\nFROM b\nCOPY --from=one x y", {}, ["a", "b"]),
        ("FROM a AS one\nFROM b AS two\nFROM One", {}, ["b", "a"]),
        ("FROM a\nFROM a", {}, ["a"]),
        ("FROM a\nARG B=b\nFROM c$B", {}, ["a", "c"]),  # a stage's ARG is not FROM's
    ],
)
def test_bases(text: str, given: dict[str, str], bases: list[str]) -> None:
    """The images from elsewhere are found as they are resolved; the image's own is the last."""
    assert [base.image for base in Dockerfile.parse(text).bases(given)] == bases


def test_a_base_says_where_it_stands() -> None:
    """A base knows its line, how it was written, and the platform asked for."""
    text = "ARG B=a\n\nFROM --platform=linux/arm64 \\\n  $B AS x"
    (base,) = Dockerfile.parse(text).bases({})
    assert base == (3, "$B", "a", "linux/arm64")


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("RUN <<EOF", True),
        ("COPY <<-'EOF' /x", True),
        ("RUN echo $((1<<2)) $((a<<b))", False),
        ("RUN echo 'a << b'", False),
    ],
)
def test_here_documents(line: str, has: bool) -> None:
    """A here-document is told from a shift."""
    assert Dockerfile.parse(f"FROM a\n{line}").has_here_documents() is has


def test_our_own() -> None:
    """mnist.Dockerfile stands on TensorFlow's published image unless told otherwise."""
    ours = Dockerfile.parse((REPOSITORY / "mnist.Dockerfile").read_text())
    assert ours.args() == {"BASE_IMAGE", "RUN_AS"}
    (base,) = ours.bases({})
    assert base.image == "tensorflow/tensorflow:2.21.0"
