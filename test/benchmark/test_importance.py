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


def test_scores_without_some_features(binary, needs_lightgbm, monkeypatch, capsys):
    monkeypatch.setattr(importance, 'open_inputs', lambda db, task: binary)
    importance.main(
        ['--db', 'toy', '--task', 'customer-orders', '--without', 'own labels', 'year']
    )
    *_, every, fewer = capsys.readouterr().out.splitlines()
    found = [
        re.fullmatch(r'.*: (\d+), val ([0-9.]+), test ([0-9.]+)', line).groups()
        for line in (every, fewer)
    ]
    assert int(found[0][0]) > int(found[1][0])
    assert found[0][1:] != found[1][1:]
    less = importance.WithoutSome(('own labels', 'year'))
    less.fit(binary, 0, 1.0)
    rows = binary.rows('val')
    names = less.features(binary, rows, binary.visible_until(rows, 'rolling')).columns
    assert not any(name.startswith(('own labels', 'year')) for name in names)
