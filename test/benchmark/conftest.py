from importlib.util import find_spec

import pytest

NEEDED = ('duckdb', 'lightning_fabric', 'relbench', 'scipy', 'sklearn', 'torchmetrics')
if not all(map(find_spec, NEEDED)):  # The extra `benchmark` is not installed.
    collect_ignore_glob = ['test_*.py']


def toy_inputs(kind):
    from benchmark.relbench.inputs import Inputs
    from torch_geometric_rfm.testing import toy_database, toy_task

    db = toy_database()
    return Inputs('toy', db, toy_task(db, kind))


@pytest.fixture
def binary():
    return toy_inputs('binary')


@pytest.fixture
def regression():
    return toy_inputs('regression')


@pytest.fixture
def needs_lightgbm(monkeypatch):
    from benchmark.relbench.models import boosting

    monkeypatch.setattr(boosting, 'ROUNDS', 60)
    monkeypatch.setattr(boosting, 'MOST_VALUES', 1)  # One setting of the grid.
    try:
        import lightgbm  # noqa: F401
    except (ImportError, OSError) as error:  # Its library needs OpenMP.
        pytest.skip(f'LightGBM cannot be loaded: {error}')
