"""What several files of tests stand on."""

import pytest
from gateway import SLOW
from sim import Sim


@pytest.fixture
def sim():
    with Sim("one", "--port", "0") as s:
        yield s


@pytest.fixture
def slow():
    with Sim("one", "--port", "0", *SLOW) as s:
        yield s
