"""pytest's view of the testbed: made once a session, whole and empty again after every test."""

from collections.abc import Iterator

import pytest

from tests.testbed import Testbed, TestbedError, Unavailable

HOSTS = 4


_FIRST_S = 1800.0  # making and seeding what is cached from then on


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give whatever test comes first the time to make the testbed's images."""
    for item in items:
        if "testbed" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_FIRST_S))


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    """Four hosts with the busybox image, or the testbed that a person has made by hand."""
    try:
        bed = Testbed.attach()
        if bed is not None:
            if len(bed.hosts) < HOSTS:
                bed.leave()
                raise TestbedError(f"the testbed that is up has fewer than {HOSTS} hosts")
            yield bed
            bed.leave()
            return
        bed = Testbed.up(HOSTS)
    except Unavailable as lack:
        pytest.skip(str(lack))
    try:
        yield bed
    finally:
        bed.down()


@pytest.fixture(scope="session")
def tensorflow_testbed(testbed: Testbed) -> Testbed:
    """The same four hosts, with the TensorFlow image too (also on the local engine)."""
    testbed.give_image("tensorflow")
    return testbed


@pytest.fixture(autouse=True)
def _swept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Undo every fault, and remove what a test has left on any engine."""
    if "testbed" not in request.fixturenames:
        yield
        return
    bed: Testbed = request.getfixturevalue("testbed")
    before = bed.holdings()
    yield
    bed.recover()
    bed.clear(before)


@pytest.fixture
def assert_clean(testbed: Testbed) -> Iterator[None]:
    """Fail a test that leaves a container, volume, network or image on any engine."""
    before = testbed.holdings()
    yield
    testbed.recover()
    left = testbed.clear(before)
    assert not left, f"the test left behind: {', '.join(left)}"
