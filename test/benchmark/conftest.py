import pytest

pytest.importorskip('duckdb')
pytest.importorskip('relbench')
pytest.importorskip('sklearn')
pytest.importorskip('torchmetrics')

from benchmark.relbench.inputs import Inputs
from torch_geometric_rfm.testing import toy_database, toy_task


def toy_inputs(kind='binary'):
    db = toy_database()
    return Inputs('toy', db, toy_task(db, kind))


@pytest.fixture
def binary():
    return toy_inputs()


@pytest.fixture
def regression():
    return toy_inputs('regression')
