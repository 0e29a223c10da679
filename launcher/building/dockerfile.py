"""What a Dockerfile says before it is built: its build arguments and the images it stands on.

It knows the file's form (comments, continued lines, `# escape=`, variables in FROM) and no more of
any instruction than FROM and ARG: whether the rest is right is the engine's to say.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# https://docs.docker.com/reference/dockerfile/#predefined-args
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED_ARGS = frozenset({*_PROXIES, *map(str.lower, _PROXIES)})

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")
_HERE_DOCUMENT = re.compile(r"<<-?[\"']?[A-Za-z_]\w*[\"']?(?:\s|$)")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")


class Instruction(NamedTuple):
    """One instruction: the number of its first line, its name in capitals, and what follows."""

    line: int
    name: str
    value: str


class Base(NamedTuple):
    """An image that a stage starts from: the line of its FROM, and the name it comes to.

    image: empty where a variable without a value is all there is.
    platform: of `--platform`, or nothing.
    """

    line: int
    written: str
    image: str
    platform: str = ""


class Dockerfile(NamedTuple):
    """A Dockerfile's instructions in order."""

    instructions: tuple[Instruction, ...]

    @classmethod
    def parse(cls, text: str) -> "Dockerfile":
        """Return the instructions of a Dockerfile's text; nothing is an error yet."""
        return cls(tuple(_instructions(text)))

    def args(self) -> frozenset[str]:
        """Return the names of the build arguments that it declares."""
        values = (given for i in self.instructions if i.name == "ARG" for given in _words(i.value))
        return frozenset(name for name, _, _ in (value.partition("=") for value in values))

    def has_here_documents(self) -> bool:
        """Whether some instruction goes on in lines below it (`RUN <<EOF`)."""
        values = (i.value for i in self.instructions if i.name in ("RUN", "COPY", "ADD"))
        return any(_HERE_DOCUMENT.search(value) for value in values)

    def bases(self, build_args: Mapping[str, str]) -> tuple[Base, ...]:
        """Return the images from elsewhere that its stages start from, in order.

        The last is what the image itself stands on, through however many stages.
        """
        named: dict[str, Base] = {}
        stages: list[Base] = []
        for base, name in self._froms({}, build_args):
            stages.append(named.get(base.image.lower(), base))
            if name:
                named[name.lower()] = stages[-1]
        own = stages[-1] if stages else None
        once = {(base.image, base.platform): base for base in reversed(stages)}
        others = [base for base in reversed(once.values()) if own and base.image != own.image]
        return tuple(base for base in (*others, own) if base and base.image != "scratch")

    def _froms(
        self, variables: dict[str, str], build_args: Mapping[str, str]
    ) -> Iterator[tuple[Base, str]]:
        """Yield what each stage starts from, and the stage's name or nothing."""
        in_stage = False
        for instruction in self.instructions:
            if instruction.name == "ARG" and not in_stage:
                for given in _words(instruction.value):
                    name, _, default = given.partition("=")
                    variables[name] = build_args.get(name, _substituted(default, variables))
            elif instruction.name == "FROM":
                in_stage = True
                words = instruction.value.split()
                flags = [word for word in words if word.startswith("--")]
                image, *rest = [word for word in words if word not in flags] or [""]
                platform = next((f[11:] for f in flags if f.startswith("--platform=")), "")
                name = rest[1] if len(rest) == 2 and rest[0].upper() == "AS" else ""
                resolved = _substituted(image.strip("\"'"), variables)
                yield (
                    Base(instruction.line, image, resolved, _substituted(platform, variables)),
                    name,
                )


def _instructions(text: str) -> Iterator[Instruction]:
    escape = _escape(text)
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):  # also between the lines of one instruction
            continue
        first = first if parts else number
        is_continued = bare.endswith(escape)
        parts.append(bare.removesuffix(escape))
        if not is_continued:
            yield _instruction(first, parts)
            parts = []
    if parts:
        yield _instruction(first, parts)


def _instruction(line: int, parts: list[str]) -> Instruction:
    name, _, value = " ".join(parts).strip().partition(" ")
    return Instruction(line, name.upper(), value.strip())


def _escape(text: str) -> str:
    """Return the character that continues a line, which a directive on top may change."""
    for line in text.splitlines():
        found = _ESCAPE.match(line.strip())
        if found:
            return found[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # an open quotation, which the engine will refuse
        return value.split()


def _substituted(text: str, variables: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        given = variables.get(found[1] or found[2], "")
        if found[3] and found[3].endswith("-"):
            return given or found[4]
        if found[3]:
            return found[4] if given else ""
        return given

    return _VARIABLE.sub(value, text)
