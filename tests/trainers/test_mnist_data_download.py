"""What `mnist_data.py download` promises: whole verified files, or nothing, and why."""

import contextlib
import fcntl
import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import _mnist_data_config as mnist_data_config
import _mnist_download as mnist_download
import pytest
from _mnist_data_config import ConfigError, RemoteFile
from _mnist_download import FetchError, Retry

SCRIPT = Path(mnist_download.__file__).with_name("mnist_data.py")
CONTENT = bytes(range(256)) * 8192  # 2 MiB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DEADLINE_S = 20.0

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next of the server's replies, the last one for ever."""

    server: "Server"

    def do_GET(self) -> None:
        replies = self.server.replies
        self.server.requests.append(self.path)
        with contextlib.suppress(ConnectionError):
            (replies.pop(0) if len(replies) > 1 else replies[0])(self)

    def send(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A real HTTP server on the loopback address, whose replies a test sets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply] = [ok]
        self.requests: list[str] = []
        self.over = threading.Event()

    def file(self, name: str = "mnist.npz", sha256: str = SHA256, path: str = "") -> RemoteFile:
        return RemoteFile(f"http://127.0.0.1:{self.server_port}/{path or name}", sha256, name)


def ok(handler: Handler) -> None:
    handler.send(200, CONTENT)


def error(status: int) -> Reply:
    return lambda handler: handler.send(status, b"")


def truncated(handler: Handler) -> None:
    handler.send(200, CONTENT[:-1], len(CONTENT))


def stalled(handler: Handler) -> None:
    handler.send(200, CONTENT[: 3 << 19], len(CONTENT))
    handler.server.over.wait(DEADLINE_S)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


class Fetch:
    """Fetches into one directory; keeps what was said and how long would have been waited."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.waits_s: list[float] = []

    def __call__(self, file: RemoteFile, timeout_s: float = DEADLINE_S) -> None:
        retry = Retry(attempts=4, backoff_s=1.0, timeout_s=timeout_s)
        mnist_download.fetch(file, self.directory, retry, self.said.append, self.waits_s.append)

    def fails(self, file: RemoteFile, timeout_s: float = DEADLINE_S) -> str:
        with pytest.raises(FetchError) as raised:
            self(file, timeout_s)
        return str(raised.value)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    (tmp_path / "data").mkdir()
    return Fetch(tmp_path / "data")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


class TestFetch:
    def test_brings_the_file_once(self, server: Server, fetch: Fetch) -> None:
        """A verified file is in place, and a second fetch does nothing and says so."""
        fetch(server.file())
        fetch(server.file())
        assert fetch.files() == {"mnist.npz": CONTENT}
        assert len(server.requests) == 1
        assert "2,097,152 bytes fetched from http://127.0.0.1:" in fetch.said[0]
        assert fetch.said[1].endswith("mnist.npz: already there, sha256 verified")

    def test_of_a_file_uri(self, fetch: Fetch, tmp_path: Path) -> None:
        """file:// works like http://, also with escaped characters."""
        (tmp_path / "a b").write_bytes(CONTENT)
        fetch(RemoteFile((tmp_path / "a b").as_uri(), SHA256, "mnist.npz"))
        assert fetch.files() == {"mnist.npz": CONTENT}
        missing = RemoteFile((tmp_path / "none").as_uri(), SHA256, "other")
        assert fetch.fails(missing).endswith("none: No such file or directory")

    def test_empty_file(self, server: Server, fetch: Fetch) -> None:
        """A file without content is a file, too."""
        server.replies = [lambda handler: handler.send(200, b"")]
        fetch(server.file(sha256=hashlib.sha256().hexdigest()))
        assert fetch.files() == {"mnist.npz": b""}

    @pytest.mark.parametrize("status", [403, 404, 410])
    def test_refused_for_good(self, server: Server, fetch: Fetch, status: int) -> None:
        """What the server will not give is not asked for again."""
        server.replies = [error(status)]
        assert f"/mnist.npz: HTTP {status} " in fetch.fails(server.file())
        assert (len(server.requests), fetch.waits_s, fetch.files()) == (1, [], {})

    def test_server_errors_pass(self, server: Server, fetch: Fetch) -> None:
        """A server in trouble, and a connection cut short, are tried again after a while."""
        server.replies = [error(500), truncated, error(429), ok]
        fetch(server.file())
        assert fetch.files() == {"mnist.npz": CONTENT}
        assert fetch.waits_s == [1.0, 2.0, 4.0]
        assert "HTTP 500 Internal Server Error; trying again in 1 s" in fetch.said[0]
        assert "connection closed after 2,097,151 of 2,097,152 bytes" in fetch.said[1]

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (error(503), "HTTP 503 Service Unavailable (in the last of 4 attempts)"),
            (truncated, "connection closed after 2,097,151 of 2,097,152 bytes (in the last of 4"),
            (lambda handler: None, "Remote end closed connection without response (in the last"),
        ],
    )
    def test_trouble_without_end(
        self, server: Server, fetch: Fetch, reply: Reply, reason: str
    ) -> None:
        """After four attempts it is given up, with the reason, and nothing stays."""
        server.replies = [reply]
        assert reason in fetch.fails(server.file())
        assert (len(server.requests), fetch.waits_s, fetch.files()) == (4, [1.0, 2.0, 4.0], {})

    def test_stalled_server(self, server: Server, fetch: Fetch) -> None:
        """A server that falls silent in the middle is left after timeout_s, and asked again."""
        server.replies = [stalled, ok]
        fetch(server.file(), timeout_s=0.2)
        assert fetch.files() == {"mnist.npz": CONTENT}
        assert "timed out; trying again" in fetch.said[0]

    def test_nobody_listens(self, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refused connection is tried again, then reported."""
        monkeypatch.setenv("no_proxy", "*")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        found = fetch.fails(RemoteFile(f"http://127.0.0.1:{port}/a", SHA256, "a"))
        assert found.endswith("Connection refused (in the last of 4 attempts)")

    def test_wrong_content(self, server: Server, fetch: Fetch) -> None:
        """What is not the file asked for is thrown away at once, and the old file is kept."""
        (fetch.directory / "mnist.npz").write_bytes(b"old")
        found = fetch.fails(server.file(sha256="0" * 64))
        assert found.endswith(f"2,097,152 bytes of sha256 {SHA256}; expected sha256 {'0' * 64}")
        assert fetch.files() == {"mnist.npz": b"old"}
        assert len(server.requests) == 1

    def test_replaces_a_wrong_file_at_the_end(self, server: Server, fetch: Fetch) -> None:
        """The old file stands until the new one is whole."""
        target = fetch.directory / "mnist.npz"
        target.write_bytes(b"old")
        seen: list[bytes] = []

        def reply(handler: Handler) -> None:
            handler.send(200, CONTENT[:-1], len(CONTENT))
            seen.append(target.read_bytes())
            handler.wfile.write(CONTENT[-1:])

        server.replies = [reply]
        fetch(server.file())
        assert seen == [b"old"]
        assert fetch.files() == {"mnist.npz": CONTENT}

    def test_disk_full(self, server: Server, fetch: Fetch) -> None:
        """When the disk takes no more, the reason is given once and the part is removed."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            assert fetch.fails(server.file()).endswith("File too large")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (len(server.requests), fetch.files()) == (1, {})

    def test_place_taken_by_a_directory(self, server: Server, fetch: Fetch) -> None:
        """A directory of that name is reported, not replaced."""
        (fetch.directory / "mnist.npz").mkdir()
        assert fetch.fails(server.file()).endswith("mnist.npz: Is a directory")
        assert [path.name for path in fetch.directory.iterdir()] == ["mnist.npz"]

    def test_hides_the_query(self, server: Server, fetch: Fetch) -> None:
        """A signature in the uri is sent, and never shown."""
        server.replies = [error(500), ok]
        fetch(server.file(path="mnist.npz?signature=hunter2"))
        assert server.requests[0] == "/mnist.npz?signature=hunter2"
        assert "hunter2" not in "".join(fetch.said)


class TestLeftovers:
    def test_swept_by_a_fetch(self, server: Server, fetch: Fetch) -> None:
        """What a killed download left does not get into the next one's file."""
        (fetch.directory / ".mnist.npz.part").write_bytes(b"left")
        fetch(server.file())
        assert fetch.files() == {"mnist.npz": CONTENT}

    def test_swept_when_the_file_is_there(self, server: Server, fetch: Fetch) -> None:
        """Leftovers go even when there is nothing to fetch."""
        (fetch.directory / "mnist.npz").write_bytes(CONTENT)
        (fetch.directory / ".mnist.npz.part").write_bytes(b"left")
        fetch(server.file())
        assert (fetch.files(), server.requests) == ({"mnist.npz": CONTENT}, [])

    def test_another_download_is_waited_for(self, server: Server, fetch: Fetch) -> None:
        """What another process is writing is neither swept nor fetched a second time."""
        part = fetch.directory / ".mnist.npz.part"
        with part.open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            thread = threading.Thread(target=fetch, args=(server.file(),))
            thread.start()
            wait_until(lambda: bool(fetch.said))
            assert fetch.said[0].endswith("another process writes it; waiting for that one to end")
            other.write(CONTENT)
            other.flush()
            part.replace(fetch.directory / "mnist.npz")
        thread.join(DEADLINE_S)
        assert fetch.said[1].endswith("fetched by another process, sha256 verified")
        assert (fetch.files(), server.requests) == ({"mnist.npz": CONTENT}, [])

    def test_another_download_that_fails_is_taken_over(self, server: Server, fetch: Fetch) -> None:
        """When the other process gives up, this one fetches."""
        part = fetch.directory / ".mnist.npz.part"
        with part.open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            thread = threading.Thread(target=fetch, args=(server.file(),))
            thread.start()
            wait_until(lambda: bool(fetch.said))
            part.unlink()
        thread.join(DEADLINE_S)
        assert fetch.files() == {"mnist.npz": CONTENT}


class TestConfig:
    def read(self, tmp_path: Path, text: str) -> tuple[RemoteFile, ...]:
        (tmp_path / "data.yaml").write_text(text)
        return mnist_data_config.read_config(tmp_path / "data.yaml")

    def test_reads_files(self, tmp_path: Path) -> None:
        """Names default to the end of the uri; a sha256 of digits only stays what it is."""
        text = f"""files:
          - {{uri: "https://h/a%20b.gz?token=x", sha256: {"1" * 64}}}
          - {{uri: file:///c, sha256: {SHA256.upper()}, name: d}}"""
        assert self.read(tmp_path, text) == (
            RemoteFile("https://h/a%20b.gz?token=x", "1" * 64, "a b.gz"),
            RemoteFile("file:///c", SHA256, "d"),
        )

    def test_reads_the_documented_example(self, tmp_path: Path) -> None:
        """The data.yaml in the documentation is right."""
        lines = SCRIPT.read_text().splitlines()
        start = lines.index("    files:")
        (file,) = self.read(tmp_path, "\n".join(lines[start : start + 4]))
        assert file.name == "mnist.npz"

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("{sha256: SHA}", "files[0].uri: expected http://, https:// or file:///absolute/path,"),
            ("{uri: 'http://h/a'}", "files[0].sha256: expected 64 hexadecimal digits, but it is"),
            ("{uri: 'http://h/a', sha256: 12}", "files[0].sha256: expected 64 hexadecimal digits"),
            ("{uri: 'http://h/a', sha256: SHA, nam: b}", "files[0].nam: unknown key; did you mean"),
            ("{uri: 'http://h/a', sha256: SHA, x: b}", "files[0].x: unknown key; expected uri, sh"),
            ("{uri: 'http://h/a', sha256: SHA, name: a/b}", "files[0].name: expected the name of"),
            ("{uri: 'http://h/a', sha256: SHA, name: ..}", "files[0].name: expected the name of"),
            ("{uri: 'http://h/a', sha256: SHA, name: [a]}", "files[0].name: expected the name of"),
            ("{uri: 'http://h/a', sha256: SHA, name: ''}", "files[0].name: expected the name of"),
            ("{uri: 'http://h/', sha256: SHA}", "files[0].name: expected the name of a file, with"),
            ("{uri: 'http://h/a%2F..', sha256: SHA}", "files[0].name: expected the name of a file"),
            ("{uri: 'ftp://h/a', sha256: SHA}", "files[0].uri: expected http://, https:// or file"),
            ("{uri: 'http:///a', sha256: SHA}", "files[0].uri: expected http://, https:// or file"),
            ("{uri: 'file://a/b', sha256: SHA}", "files[0].uri: expected http://, https:// or fil"),
            ("{uri: 'http://h:x/b', sha256: SHA}", "files[0].uri: expected http://, https:// or f"),
            ("{uri: 'http://[h/b', sha256: SHA}", "files[0].uri: expected http://, https:// or fi"),
            ("{uri: 'http://h/a b', sha256: SHA}", "files[0].uri: expected http://, https:// or f"),
            ("{uri: 'http://u:p@h/a', sha256: SHA}", "files[0].uri: expected no user or password"),
            ("text", "files[0]: expected uri and sha256, got 'text'"),
        ],
    )
    def test_wrong_entry(self, tmp_path: Path, entry: str, problem: str) -> None:
        """A wrong entry is reported by file, key path and what was expected, and nothing more."""
        with pytest.raises(ConfigError) as raised:
            self.read(tmp_path, "files:\n  - " + entry.replace("SHA", SHA256))
        (found,) = raised.value.problems
        assert found.startswith(f"{tmp_path}/data.yaml: {problem}")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "expected files: and a list under it, but it is missing"),
            ("- a", "expected files: and a list under it, got ['a']"),
            ("files: []", "files: expected a list of files, each with uri and sha256, got []"),
            ("files: {a: b}", "files: expected a list of files, each with uri and sha256, got {"),
            ("files: [", "not YAML: while parsing a flow node"),
            ("[" * 600, "not YAML: "),
            ("? [a]\n: b", "not YAML: while constructing a mapping"),
            ("a: \x01", "not YAML: unacceptable character"),
        ],
    )
    def test_wrong_file(self, tmp_path: Path, text: str, problem: str) -> None:
        """A file of another form is told what form it should have."""
        with pytest.raises(ConfigError) as raised:
            self.read(tmp_path, text)
        assert str(raised.value).startswith(f"{tmp_path}/data.yaml: {problem}")

    def test_every_problem_at_once(self, tmp_path: Path) -> None:
        """All entries are looked at, and two of one name are both named."""
        text = f"""file: a
files:
  - {{uri: 'http://h/a', sha256: {SHA256}}}
  - {{uri: 'http://h/b', sha256: {SHA256}, name: a}}
  - {{url: 'http://h/c', sha256: abc}}"""
        with pytest.raises(ConfigError) as raised:
            self.read(tmp_path, text)
        at = f"{tmp_path}/data.yaml: "
        assert [problem.removeprefix(at)[:45] for problem in raised.value.problems] == [
            "file: unknown key; did you mean files?",
            "files[1].name: expected another name than fil",
            "files[2].url: unknown key; did you mean uri?",
            "files[2].sha256: expected 64 hexadecimal digi",
            "files[2].uri: expected http://, https:// or f",
        ]


class TestCommandLine:
    def command(self, tmp_path: Path, *entries: tuple[str, str]) -> list[str]:
        """Returns the command that downloads these (uri, sha256) into tmp_path/data."""
        config = tmp_path / "data.yaml"
        lines = [f"  - {{uri: '{uri}', sha256: {sha256}}}\n" for uri, sha256 in entries]
        config.write_text("files:\n" + "".join(lines))
        flags = [f"--data_config={config}", "--data_dir", str(tmp_path / "data")]
        return [sys.executable, str(SCRIPT), "download", *flags, f"--log_dir={tmp_path / 'log'}"]

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        return done

    def test_downloads(self, server: Server, tmp_path: Path) -> None:
        """Exit 0 with one line a file on the console, the same in the log, directories made."""
        done = self.run(self.command(tmp_path, (server.file().uri, SHA256)))
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "data" / "mnist.npz").read_bytes() == CONTENT
        assert done.stdout.strip() in (tmp_path / "log" / "mnist_data.INFO").read_text()
        assert done.stdout.count("\n") == 1

    def test_reports_every_failure(self, server: Server, tmp_path: Path) -> None:
        """Exit 1 names every file that could not be had; the others are there."""
        server.replies = [error(404), ok, ok]
        uri = server.file(path="").uri
        entries = ((f"{uri}1", SHA256), (f"{uri}2", SHA256), (f"{uri}3", "0" * 64))
        done = self.run(self.command(tmp_path, *entries))
        assert done.returncode == 1
        assert [line.split(":")[3] for line in done.stderr.splitlines()] == [
            " HTTP 404 Not Found",
            f" 2,097,152 bytes of sha256 {SHA256}; expected sha256 {'0' * 64}",
        ]
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["mnist.npz2"]

    def test_wrong_command_line(self, tmp_path: Path) -> None:
        """Exit 2 and the reason: no such command, flag, file; a flag missing; wrong data.yaml."""
        command = self.command(tmp_path, ("http://h/a", "12"))
        for wrong, reason in (
            (command, "data.yaml: files[0].sha256: expected 64 hexadecimal digits, got '12'"),
            ([*command, "--data_config=none.yaml"], "none.yaml: No such file or directory"),
            ([*command, "--data_dri=x"], "Unknown command line flag 'data_dri'"),
            (command[:4], "Flag --data_dir must have a value"),
            (command[:2] + command[3:], "expected the command download, got []"),
        ):
            done = self.run(wrong)
            assert (done.returncode, done.stdout) == (2, "")
            assert reason in done.stderr
        assert not (tmp_path / "data").exists()

    def test_shows_progress_on_a_terminal(self, server: Server, tmp_path: Path) -> None:
        """A terminal sees how far the file is, on one line that is gone at the end."""
        ours, theirs = os.openpty()
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            command = self.command(tmp_path, (server.file().uri, SHA256))
            subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, timeout=60, check=True)
            os.close(theirs)
            shown = terminal.read(65536).decode()
        assert "mnist.npz: 1,048,576 of 2,097,152 bytes, 50%" in shown
        assert shown.endswith("\r\x1b[K")

    @pytest.mark.parametrize(
        ("sent", "code", "left"),
        [
            (signal.SIGTERM, 143, []),
            (signal.SIGINT, 130, []),
            (signal.SIGKILL, -9, [".mnist.npz.part"]),
        ],
    )
    def test_killed(
        self, server: Server, tmp_path: Path, sent: int, code: int, left: list[str]
    ) -> None:
        """Ended midway it leaves nothing; killed, a part that the next download removes."""
        server.replies = [stalled, ok]
        command = self.command(tmp_path, (server.file().uri, SHA256))
        part = tmp_path / "data" / ".mnist.npz.part"
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: part.exists() and part.stat().st_size > 0)
            process.send_signal(sent)
            assert process.communicate(timeout=DEADLINE_S)[1] == ""
        assert process.returncode == code
        assert [path.name for path in (tmp_path / "data").iterdir()] == left
        assert self.run(command).returncode == 0
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["mnist.npz"]
