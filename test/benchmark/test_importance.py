import re

import pytest

from benchmark.relbench import importance


def test_shares_of_paths_sum_to_one(binary, needs_lightgbm, monkeypatch, capsys):
    monkeypatch.setattr(importance, 'open_inputs', lambda db, task: binary)
    importance.main(['--db', 'toy', '--task', 'customer-orders', '--most', '500'])
    by_path, by_feature = capsys.readouterr().out.split('by feature:')
    for text in (by_path, by_feature):
        shares = [float(x) for x in re.findall(r'([0-9.]+)%', text)]
        assert sum(shares) == pytest.approx(100, abs=2.5)
        assert shares == sorted(shares, reverse=True)
    assert 'orders.customer_id' in by_path
