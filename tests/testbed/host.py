"""A host of the testbed: namespaces, a link into the switch, sshd and dockerd, and its faults."""

from pathlib import Path
from subprocess import CompletedProcess

from tests.testbed import clock, fake_nvidia, network
from tests.testbed.engine import Engine
from tests.testbed.filesystem import make_root
from tests.testbed.machine import Machine
from tests.testbed.site import Site, Subnet
from tests.testbed.sshd import Sshd
from tests.testbed.templates import seed

_DATA_ROOT = "var/lib/docker"
_FILLER = f"/{_DATA_ROOT}/filler"


class Host:
    """One machine with sshd and Docker and nothing else.

    address, address6: where its link is; ssh_port: 22.
    root: its file system, as this machine sees it (but not what is mounted inside).
    """

    def __init__(self, site: Site, subnet: Subnet, number: int, *, images: tuple[str, ...],
                 disk_bytes: int = 0, fake_gpus: int = 0) -> None:  # fmt: skip
        self.name = f"h{number}"
        self.address = subnet.address(number)
        self.address6 = subnet.address6(number)
        self.ssh_port = 22
        self.images = images
        self.disk_bytes = disk_bytes
        self.fake_gpus = fake_gpus
        self._site, self._subnet, self._number = site, subnet, number
        self.folder = site.folder / self.name
        self.root = self.folder / "root"
        self.machine = Machine(self.name, self.folder, site.netns(self.name), disk_bytes)
        self.engine = Engine(self.machine, f"{site.cgroup}/{self.name}", f"/{_DATA_ROOT}")
        self.sshd = Sshd(self.machine)

    @property
    def docker_socket(self) -> Path:
        """The Docker socket as this machine sees it; on the host it is /var/run/docker.sock."""
        return self.engine.docker_socket

    @property
    def data_root(self) -> Path:
        """Where this machine sees the files of the host's Docker."""
        holder = self.machine.holder
        if self.disk_bytes and holder is not None:
            return Path(f"/proc/{holder.pid}/root", _DATA_ROOT)
        return self.root / _DATA_ROOT

    def make(self, client_key: Path) -> None:
        """Make the host's files and its link."""
        self.folder.mkdir(parents=True)
        make_root(self.root, self.name, client_key)
        network.make_link(self._site, self._subnet, self.name, self._number)
        if self.fake_gpus:
            fake_nvidia.install(self.root, self.folder / "usr.local", self.fake_gpus)
        if not self.disk_bytes:
            seed(self.data_root, self.images)

    def boot(self) -> None:
        """Start the host with sshd and dockerd, without waiting for dockerd."""
        self.machine.boot()
        if self.disk_bytes:
            seed(self.data_root, self.images)
        self.engine.start()
        self.sshd.start()

    def power_off(self) -> None:
        """End everything on the host at once; its files stay (not those of a `disk_bytes`)."""
        self.machine.halt()

    def power_on(self) -> None:
        """Boot the host again; returns when its Docker answers."""
        self.boot()
        self.engine.await_ready()

    def exec(self, *argv: str | Path, check: bool = True, stdin: str | None = None,
             deadline_s: float = 120.0) -> CompletedProcess[str]:  # fmt: skip
        """Return a program that has ended, run as root on the host."""
        return self.machine.exec(*argv, check=check, stdin=stdin, deadline_s=deadline_s)

    def docker(self, *argv: str | Path, check: bool = True, stdin: str | None = None) -> str:
        """Return what a `docker` command on the host's engine printed."""
        return self.engine.docker(*argv, check=check, stdin=stdin)

    def sshd_log(self) -> str:
        """Return what its sshd has logged since boot, at LogLevel VERBOSE."""
        return self.sshd.log()

    def ssh_connections(self) -> int:
        """Return how many logins have succeeded since boot."""
        return self.sshd.connections()

    def bytes_on_wire(self) -> int:
        """Return how many bytes have gone to and from the host since it was made."""
        return network.bytes_on_wire(self._site, self.name)

    # Faults. Each can be done twice, and undone without having been done.

    def kill_docker(self) -> None:
        """Kill dockerd (SIGKILL); containers live on, as they do on any machine."""
        self.engine.stop("KILL")

    def start_docker(self) -> None:
        """Start dockerd where it does not run; returns when it answers."""
        if not self.engine.answers:
            self.engine.start()
            self.engine.await_ready()

    def stop_docker(self) -> None:
        """End dockerd as an administrator does: its containers end with it."""
        self.engine.stop()

    def cut(self) -> None:
        """Pull the host's network cable: nothing comes or goes, and nobody is told."""
        network.set_link(self._site, self.name, up=False)

    def heal(self) -> None:
        """Plug the cable in again."""
        network.set_link(self._site, self.name, up=True)

    def drop_ssh(self) -> None:
        """Break every SSH connection to the host; new ones are accepted."""
        self.sshd.drop()

    def stop_sshd(self, port: int = 22) -> None:
        """End the listener: new connections are refused, those that stand go on."""
        self.sshd.stop(port)

    def start_sshd(self, port: int = 22, *options: str) -> None:
        """Start a listener, on another port and with other sshd_config lines if wanted."""
        self.sshd.stop(port)
        self.sshd.start(port, options)

    def fill_disk(self) -> None:
        """Leave no byte free where Docker keeps its data; only of a host with `disk_bytes`."""
        assert self.disk_bytes, f"{self.name} was made without disk_bytes="
        line = f"cat /dev/zero >{_FILLER} 2>/dev/null"
        self.exec("sh", "-c", line, check=False)

    def free_disk(self) -> None:
        """Undo `fill_disk`."""
        self.exec("rm", "-f", _FILLER)

    def slow(self, delay_ms: int = 0, loss_percent: float = 0, rate: str = "") -> None:
        """Make the link slow or lossy, each way; `rate` as tc writes it: `10mbit`.

        Raises:
            TestbedError: this kernel cannot; delay needs netem, which not every kernel has.
        """
        assert not (delay_ms and rate), "a delay and a rate at once are not made yet"
        self.fast()
        if delay_ms:
            network.delay(self._site, self.name, delay_ms)
        if rate:
            network.limit_rate(self._site, self.name, rate)
        if loss_percent:
            network.lose(self._site, self.name, loss_percent)

    def fast(self) -> None:
        """Undo `slow`."""
        network.speed_up(self._site, self.name)

    def firewall(self, port: int) -> None:
        """Drop without a word what others send to this port."""
        self._filter("-I", port)

    def unfirewall(self, port: int) -> None:
        """Undo `firewall`."""
        self._filter("-D", port)

    def skew_clock(self, seconds: int) -> None:
        """Give the host another wall clock, for who logs in and who asks its Docker: a fake.

        Not while its Docker is stopped or started: its socket would be the real one again.
        """
        clock.skew(self.machine, seconds)

    def mend_clock(self) -> None:
        """Undo `skew_clock`."""
        clock.mend(self.machine)

    def recover(self) -> None:
        """Undo every fault."""
        if not self.machine.is_up:
            self.boot()
        self.mend_clock()
        self.heal()
        self.fast()
        for program in ("iptables", "ip6tables"):
            self.exec(program, "-F", "INPUT", check=False)
        self.free_disk()
        if not self.sshd.listens(22):
            self.sshd.start()
        self.start_docker()

    def _filter(self, action: str, port: int) -> None:
        rule = ("INPUT", "-p", "tcp", "-i", network.INTERFACE, "--dport", str(port), "-j", "DROP")
        undo = action == "-D"
        for program in ("iptables", "ip6tables"):
            self.exec(program, "-w", action, *rule, check=not undo)
