"""The Docker Engine of the launching machine: one of its own, beside any that runs here."""

from tests.testbed.engine import Engine
from tests.testbed.machine import Machine
from tests.testbed.site import Site
from tests.testbed.templates import seed


class Local(Engine):
    """The launching machine's own engine, in its own network namespace, without a firewall.

    Its default bridge is missing: builds need `network_mode` none or host. It sees this machine's
    files at their own paths.
    """

    def __init__(self, site: Site) -> None:
        self.folder = site.folder / "local"
        self.data_root = self.folder / "data"
        options = ("--bridge=none", "--iptables=false", "--ip-masq=false", "--ip-forward=false")
        super().__init__(
            Machine("local", self.folder),
            f"{site.cgroup}/local",
            str(self.data_root),
            options,
        )

    @property
    def machine(self) -> Machine:
        """The namespaces it runs in."""
        return self._machine

    def make(self, images: tuple[str, ...]) -> None:
        """Make its folders, with these images in them."""
        for name in ("run", "etc", "etc.work", "data"):
            (self.folder / name).mkdir(parents=True)
        seed(self.data_root, images)

    def boot(self) -> None:
        """Start it, without waiting for it."""
        self.machine.boot()
        # root alone uses it, and the group docker may be missing here.
        self.start()
