"""What `ssh HOST` would do, read out of ~/.ssh/config."""

from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.ssh import Target
from launcher.ssh.settings import Config, Settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def settings(home: Path, text: str, target: Target) -> Settings:
    (home / ".ssh" / "config").write_text(text)
    return Config(home).settings(target)


def test_keys_of_the_file(home: Path) -> None:
    """HostName, User, Port, IdentityFile, known_hosts, alias and time-out are followed."""
    found = settings(
        home,
        """
        Host gpu*
            HostName %h.lab
            User ml
            Port 2222
            IdentityFile ~/.ssh/lab
            IdentitiesOnly yes
            UserKnownHostsFile ~/.ssh/lab_hosts
            GlobalKnownHostsFile none
            HashKnownHosts yes
            ConnectTimeout 7
        """,
        Target("gpu1", "gpu1"),
    )
    assert (found.route.host, found.route.user, found.route.port) == ("gpu1.lab", "ml", 2222)
    assert found.identities_only
    assert found.named
    assert found.known_hosts == (f"{home}/.ssh/lab_hosts",)
    assert found.known_as == "[gpu1.lab]:2222"
    assert found.hash_known_hosts
    assert found.connect_timeout_s == 7


def test_who_waits_less(home: Path) -> None:
    """A command may wait less for hosts of which the file does not say how long to try."""
    (home / ".ssh" / "config").write_text("Host a\n ConnectTimeout 20\n")
    config = Config(home, 8)
    waits = [config.settings(Target(name, name)).connect_timeout_s for name in ("a", "b")]
    assert waits == [20, 8]


def test_cluster_yaml_wins(home: Path) -> None:
    """User, port and key of cluster.yaml win over the file's; the rest stays."""
    target = Target("gpu1", "gpu1", user="me", port=23, identity_file="~/key")
    found = settings(home, "Host gpu1\n HostName 10.0.0.1\n User ml\n Port 22\n", target)
    assert (found.route.host, found.route.user, found.route.port) == ("10.0.0.1", "me", 23)
    assert found.identity_files == (f"{home}/key",)


def test_without_a_file(tmp_path: Path) -> None:
    """Without ~/.ssh/config the name itself is reached, with the default keys."""
    found = Config(tmp_path).settings(Target("h", "fe80::1", user="u"))
    assert found.route == ("fe80::1", 22, "u", None, None)
    assert found.known_as == "fe80::1"
    assert not found.named
    assert found.identity_files[0] == f"{tmp_path}/.ssh/id_ed25519"


def test_alias_names_the_key(home: Path) -> None:
    """HostKeyAlias stands in known_hosts without a port."""
    text = "Host a\n HostKeyAlias the-a\n Port 2222\n"
    assert settings(home, text, Target("a", "a")).known_as == "the-a"


def test_jumps(home: Path) -> None:
    """Several jumps are gone through in order, each with its own entry; the first has its own."""
    found = settings(
        home,
        """
        Host gpu1
            ProxyJump one,me@two:2200
        Host one
            User first
            ProxyJump zero
        Host two
            HostName two.lab
            ProxyJump never
        """,
        Target("gpu1", "gpu1"),
    )
    two = found.route.jump
    assert two
    assert two.route[:3] == ("two.lab", 2200, "me")
    one = two.route.jump
    assert one
    assert one.route[:3] == ("one", 22, "first")
    zero = one.route.jump
    assert zero
    assert zero.route.jump is None


def test_jump_forms(home: Path) -> None:
    """A jump may be a URI or an IPv6 address, and `none` is none."""
    jump = settings(home, "Host a\n ProxyJump ssh://u@[::1]:23\n", Target("a", "a")).route.jump
    assert jump
    assert jump.route[:3] == ("::1", 23, "u")
    text = "Host a\n ProxyJump none\nHost *\n ProxyJump b\n"
    assert settings(home, text, Target("a", "a")).route.jump is None


def test_jumps_in_a_circle(home: Path) -> None:
    """A circle of jumps is an error that shows it."""
    text = "Host a\n ProxyJump b\nHost b\n ProxyJump a\n"
    with pytest.raises(HostError, match=r"host b: ProxyJump .* goes in a circle: a → b → a"):
        settings(home, text, Target("a", "a"))


def test_proxy_command(home: Path) -> None:
    """A proxy command has its tokens filled in; `none` is none."""
    text = "Host a\n HostName b\n Port 24\n ProxyCommand nc %h %p\nHost c\n ProxyCommand none\n"
    assert settings(home, text, Target("a", "a")).route.proxy_command == "nc b 24"
    assert settings(home, text, Target("c", "c")).route.proxy_command is None


def test_include(home: Path) -> None:
    """Included files count where they stand, under the block around them, and the file goes on."""
    (home / ".ssh" / "more").mkdir()
    (home / ".ssh" / "more" / "1.conf").write_text("Host gpu1\n User included\n")
    (home / ".ssh" / "more" / "2.conf").write_text("Port 99\nHost gpu1\n User not-reached\n")
    text = """
        Host gpu1 other
            HostName before
            Include more/*.conf
            IdentityFile /key
        Host *
            User late
    """
    found = settings(home, text, Target("gpu1", "gpu1"))
    assert found.route[:3] == ("before", 99, "included")
    assert found.identity_files == ("/key",)
    beside = settings(home, text, Target("x", "x"))
    assert beside.route[:3] == ("x", 22, "late")
    assert settings(home, text, Target("other", "other")).route[:3] == ("before", 99, "late")


def test_match(home: Path) -> None:
    """Match blocks count as far as paramiko reads them."""
    text = "Match host 10.* user ml\n Port 25\nMatch originalhost b\n User me\n"
    assert settings(home, text, Target("a", "10.1.1.1", user=None)).route.port == 22
    assert settings(home, text, Target("b", "b")).route.user == "me"


def test_match_exec(home: Path) -> None:
    """A block holds where its command succeeds."""
    text = 'match originalhost a exec "true"\n Port 25\nMatch exec "false"\n Port 26\n'
    assert settings(home, text, Target("a", "a")).route.port == 25
    assert settings(home, text, Target("b", "b")).route.port == 22


@pytest.mark.parametrize("text", ["Host a\n Port many\n", "Host a\n ConnectTimeout soon\n"])
def test_what_is_no_number(home: Path, text: str) -> None:
    """A wrong number is named with its host, not shown as a traceback."""
    with pytest.raises(HostError, match=r"host gpu1: ~/.ssh/config gives a the .*a number"):
        settings(home, text, Target("gpu1", "a"))


def test_broken_file(home: Path) -> None:
    """A file that cannot be understood is named."""
    with pytest.raises(HostError, match=r"\.ssh/config cannot be understood"):
        settings(home, "Match nonsense\n", Target("a", "a"))
