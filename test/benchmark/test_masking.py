import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from benchmark import masking
from benchmark.masking_objectives import SeedCellStrategy
from benchmark.masking_report import estimates, groups_of, read_results, report
from benchmark.relbench.metrics import score
from benchmark.relbench.results import save_predictions
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.transforms import MaskCells

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'


def test_one_cell_of_each_seed_row():
    counts = torch.zeros(6)
    cells = random_cells(num_contexts=400, num_cells=20)
    cells.mask[:] = False
    # The first six cells of each context are its seed row.
    first = torch.arange(400) * 20
    cells.row = torch.arange(400).repeat_interleave(20) * 3
    cells.row[torch.arange(8000) % 20 > 5] += 1
    cells.row_time = torch.zeros(1200, dtype=torch.long)
    cells.seed_row = torch.arange(400) * 3
    cells.fkey_index = cells.fkey_index[:, :0]
    cells.fkey_type = cells.fkey_type[:0]
    chosen = MaskCells(SeedCellStrategy())(cells).mask.view(400, 20)
    assert (chosen.sum(1) == 1).all()
    counts += chosen[:, :6].sum(0)
    assert counts.sum() == 400
    assert chisquare(counts.numpy()).pvalue > 1e-4
    # Where the row has nothing to hide, nothing is hidden.
    cells.mask[first.view(-1, 1) + torch.arange(6)] = True
    again = MaskCells(SeedCellStrategy())(cells).mask.view(400, 20)
    assert not again[:, 6:].any()


def write_line(folder, objective, seed, noise, kind):
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=600)
    prediction = truth + noise * rng.normal(size=600)
    label = truth
    if kind == 'binary_classification':
        label, prediction = (truth > 0) * 1.0, 1 / (1 + np.exp(-prediction))
    path = f'predictions/{objective}-{seed}.npz'
    prediction = prediction.astype(np.float32)
    arrays = {
        f'{s}_{x}': v
        for s in ('val', 'test')
        for x, v in (('label', label), ('rolling', prediction))
    }
    save_predictions(folder / path, arrays)
    figures = score(kind, label, prediction.astype(np.float64), 2.0)
    return {
        'database': 'shop',
        'task': 'amount',
        'objective': objective,
        'labels': '100',
        'seed': seed,
        'budget': '10 steps of uniform',
        'fine_tune_steps': 5,
        'kind': kind,
        'protocol': 'rolling',
        'metrics': {'val': figures, 'test': figures},
        'train_std': 2.0,
        'pretraining': {} if objective == 'none' else {'contexts_per_second': 3.0},
        'predictions': path,
    }


@pytest.mark.parametrize('kind', ['binary_classification', 'regression'])
def test_report(tmp_path, kind):
    noise = {'none': 1.5, 'row': 1.5, 'mae': 0.3}
    lines = [
        write_line(tmp_path, objective, seed, size, kind)
        for objective, size in noise.items()
        for seed in (0, 1)
    ]
    lines[-2]['seed'], lines[-1]['seed'] = 0, 1
    path = tmp_path / 'lines.jsonl'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert read_results(path) == lines
    (group,) = groups_of(lines).values()
    found = estimates(group, tmp_path)
    metric = 'nmae' if kind == 'regression' else 'roc_auc'
    for objective, one in found.items():
        values = [line['metrics']['test'][metric] for line in group[objective]]
        assert one.seeds == values
        assert one.mean == pytest.approx(np.mean(values))
        assert one.interval[0] < one.mean < one.interval[1]
    # The same noise and the same seeds: no gain, whatever the unit.
    assert found['row'].gain == pytest.approx(0.0, abs=1e-9)
    assert found['none'].gain is None
    low, high = found['mae'].gain_interval
    assert 0 < low < found['mae'].gain < high
    text = report(lines, tmp_path)
    assert f'**{found["mae"].gain:+.4f}**' in text
    path.write_text(json.dumps(lines[0]) + '\n' + json.dumps(lines[0]))
    with pytest.raises(ValueError, match='line 2: the same run'):
        read_results(path)
    path.write_text('{"task": 1}')
    with pytest.raises(ValueError, match='line 1: no result of this benchmark'):
        read_results(path)


def test_a_small_sweep_and_its_resumption(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'lines.jsonl'
    args = [f'{REL_F1}:driver-dnf', '--objectives', 'none', 'mae', 'mae-decoder']
    args += ['--labels', '50', '--seeds', '0', '--num_steps', '2']
    args += ['--fine_tune_steps', '2', '--channels', '16', '--num_layers', '1']
    args += ['--num_cells', '32', '--batch_size', '4', '--max_val_rows', '16']
    args += ['--max_rows', '32', '--out', str(out)]
    masking.main([*args, '--rst', str(tmp_path / 'table.txt')])
    lines = read_results(out)
    assert [line['objective'] for line in lines] == ['none', 'mae', 'mae-decoder']
    assert {line['train_rows'] for line in lines} == {50}
    # Both were pretrained once.
    assert lines[0]['pretraining'] == {}
    assert lines[1]['pretraining'] == lines[2]['pretraining']
    assert lines[1]['pretraining']['flops'] > 0
    assert len(list(tmp_path.glob('masking_weights/*.pt'))) == 1
    assert 'driver-dnf, 50 labels' in (tmp_path / 'table.txt').read_text()

    monkeypatch.setattr(masking, 'Database', None)
    masking.main(args)
    assert read_results(out) == lines
    with pytest.raises(SystemExit, match=r"other settings \(got {'channels': 8"):
        masking.main([*args, '--channels', '8'])
    with pytest.raises(SystemExit):
        masking.main([str(REL_F1), '--out', str(out)])
    assert "'folder:task,task'" in capsys.readouterr().err


def test_tasks_that_hide_columns():
    with pytest.raises(SystemExit, match='results-position.*hides columns'):
        masking.Database(REL_F1, ['results-position'], 'hashing')
