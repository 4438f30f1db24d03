import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import HashingTextEncoder, PreparedDatabase
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_task_store
from torch_geometric_rfm.train import PretrainConfig, pretrain
from torch_geometric_rfm.train.mixture import make_parts
from torch_geometric_rfm.train.watch import Watch


def run(databases, out, config, **kwargs):
    return pretrain(databases, out, config, show_progress=False, **kwargs)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / 'model.safetensors')


def test_losses_fall_and_the_folder_is_a_predictor(databases, config, tmp_path):
    result = run(databases, tmp_path, config(60, lr=1e-2, masking={'target': 1.0}))
    assert result.steps == len(result.losses) == 60
    assert np.mean(result.losses[-15:]) < 0.9 * np.mean(result.losses[:5])
    predictor = RelationalPredictor.from_pretrained(tmp_path)
    store = databases[0].task_stores()[0]
    assert predictor.predict_rows(store, 'test').std() > 0
    with (tmp_path / 'metrics.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row['step']) for row in rows] == [30, 60]
    assert float(rows[-1]['train_loss']) == pytest.approx(np.mean(result.losses[30:]))
    assert {'val_shop_loss', 'val_kiosk/customer-amount_nmae'} <= set(rows[0])
    with (tmp_path / 'columns.csv').open() as file:
        columns = list(csv.DictReader(file))
    assert {int(row['step']) for row in columns} == {30, 60}
    # Each batch has a label of one database at least.
    for step in (30, 60):
        now = [row for row in columns if int(row['step']) == step]
        assert sum(int(row['batches']) for row in now) >= 30
        assert all(0 < float(row['train_loss']) < 10 for row in now)


def test_cells_may_show_other_values(databases, config, tmp_path):
    losses = [
        run(databases, tmp_path / name, config(3, corruption=corruption)).losses
        for name, corruption in (('a', [1.0, 0.0, 0.0]), ('b', [0.2, 0.6, 0.2]))
    ]
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]
    with pytest.raises(ValueError, match="'corruption'"):
        run(databases, tmp_path / 'c', config(3, corruption=[0.8, 0.1, 0.2]))


def test_weights_are_the_moving_average(databases, config, tmp_path, monkeypatch):
    module = sys.modules[pretrain.__module__]
    seen = []

    def record(averaged, model, decay):
        seen.append((decay, {k: v.clone() for k, v in model.state_dict().items()}))
        original(averaged, model, decay)

    original = module.average_weights
    monkeypatch.setattr(module, 'average_weights', record)
    run(databases, tmp_path, config(6, ema=0.3, num_evals=0))
    torch.manual_seed(0)
    start = RelationalTransformer.small(text_channels=384, **config().model)
    averaged = {k: v.double() for k, v in start.state_dict().items()}
    for decay, state in seen:
        averaged = {
            k: decay * v + (1 - decay) * state[k].double() for k, v in averaged.items()
        }
    assert [round(decay, 3) for decay, _ in seen][-1] == 0.3
    saved = weights(tmp_path)
    for name, value in averaged.items():
        assert torch.allclose(saved[name].double(), value, atol=1e-6), name
        constant = value.numel() == 1 or value.std() == 0
        assert constant or not torch.equal(saved[name], seen[-1][1][name])


def test_slices_give_the_same_training(databases, config, tmp_path):
    whole = run(databases, tmp_path / 'a', config(4))
    sliced = run(databases, tmp_path / 'b', config(4, accumulate=4))
    assert whole.losses == pytest.approx(sliced.losses, rel=1e-5)
    one, two = weights(tmp_path / 'a'), weights(tmp_path / 'b')
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name


def test_a_database_that_is_held_out_is_watched_alone(databases, config, tmp_path):
    alone = run(databases[:1], tmp_path / 'a', config(4))
    watched = run(databases, tmp_path / 'b', config(4), exclude=['kiosk'])
    assert alone.losses == watched.losses
    names = [name for name in watched.metrics if name.startswith('held out')]
    assert names == [
        'held out kiosk',
        'held out kiosk/customer-orders',
        'held out kiosk/customer-amount',
    ]
    assert {k: v for k, v in watched.metrics.items() if k not in names} == alone.metrics


def test_val_loss_is_that_of_the_labels(databases):
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=16, num_layers=1, heads=2, ff_channels=16, zero_init=False
    )
    from torch_geometric_rfm.loss import MaskedCellLoss

    watch = Watch(databases[:1], max_rows=30, seed=1, num_cells=16)
    figures = watch(model, MaskedCellLoss(0.25, reduction='context'))
    database, store, rows = watch.tasks[0]
    sampling = {'num_cells': 16, 'num_neighbors': 16, 'history': 0.0}
    predictor = RelationalPredictor(model, 'hashing', **sampling)
    p = predictor.predict_rows(store, rows)
    y = store.task.frame['label'].to_numpy()[rows]
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert figures['shop/customer-orders']['loss'] == pytest.approx(expected, rel=1e-4)
    mean = np.mean([figures[f'shop/{t.name}']['loss'] for t in databases[0].tasks])
    assert figures['shop']['loss'] == pytest.approx(mean)


def test_without_labels_only_known_rows_and_own_cells(databases, config):
    amounts = replace(
        databases[1].tasks[0], name='amounts', hidden_columns=[('orders', 'amount')]
    )
    kiosk = PreparedDatabase('kiosk', databases[1].store, [amounts])
    parts = make_parts([databases[0], kiosk], config(unlabelled=['kiosk']))
    assert [str(part) for part in parts] == [
        "'customer-orders' of database 'shop'",
        "'customer-amount' of database 'shop'",
        *(
            f"'{table}' of database 'kiosk'"
            for table in ('shops', 'customers', 'orders')
        ),
    ]
    from torch_geometric_rfm.loader import MixtureLoader

    cutoff = databases[1].store.cutoff
    loader = MixtureLoader(parts, batch_size=8, group_size=8, num_cells=[24], seed=0)
    hidden, seen, names = 0, 0, set()
    for position in range(60):
        for part, cells in loader.groups(position):
            if part.database == 'shop':
                continue
            assert cells.seed_time.max() <= cutoff
            assert cells.row_time.max() <= cutoff
            assert 'customer-orders' not in cells.table_names
            hidden += int(cells.mask.sum())
            seen += int((cells.mask & ~cells.target.isnan()).sum())
            names |= {cells.phrases[i] for i in cells.column[cells.mask].tolist()}
    assert hidden == seen > 100
    # The amounts are what the autocomplete task asks for.
    assert {'age of customers', 'date of orders'} <= names
    assert 'amount of orders' not in names


def test_init_starts_from_a_checkpoint(databases, config, tmp_path):
    run(databases[:1], tmp_path / 'a', config(3))
    before = weights(tmp_path / 'a')
    longer = config(1, lr=0.0, weight_decay=0.0, model={})
    run(databases[1:], tmp_path / 'b', longer, init=tmp_path / 'a')
    for name, value in weights(tmp_path / 'b').items():
        assert torch.equal(value, before[name])
    with pytest.raises(ValueError, match="leave out 'model'"):
        run(databases, tmp_path / 'c', config(1), init=tmp_path / 'a')
    settings = json.loads((tmp_path / 'a' / 'config.json').read_text())
    settings['predictor']['text_encoder'] = HashingTextEncoder(384, seed=9).identity()
    (tmp_path / 'a' / 'config.json').write_text(json.dumps(settings))
    with pytest.raises(ValueError, match='Expected the text encoder'):
        run(databases, tmp_path / 'c', config(1, model={}), init=tmp_path / 'a')


def test_bad_batches_are_skipped_and_named(databases, config, tmp_path, corrupt):
    broken = [databases[0], corrupt()]
    share = config(8, weights={'broken': 0.2}, max_rollbacks=50, save_every=2)
    with pytest.warns(UserWarning, match="is skipped .* database 'broken'.*column"):
        result = run(broken, tmp_path / 'a', share)
    assert result.steps == 8
    assert np.isfinite(result.losses).all()
    assert all("'broken'" in message for message in result.skipped)
    for value in weights(tmp_path / 'a').values():
        assert torch.isfinite(value).all()
    # What a bad batch said is taken back, too.
    with (tmp_path / 'a' / 'columns.csv').open() as file:
        columns = list(csv.DictReader(file))
    assert columns
    assert all(np.isfinite(float(row['train_loss'])) for row in columns)
    assert all(int(row['batches']) <= 8 for row in columns)
    with (
        pytest.warns(UserWarning, match='is skipped'),
        pytest.raises(RuntimeError, match=r'3 batches were bad.*broken'),
    ):
        run(broken, tmp_path / 'b', config(8, max_rollbacks=2))


def test_an_exploding_loss_goes_back_to_the_last_checkpoint(
    databases, config, tmp_path, monkeypatch
):
    module = sys.modules[pretrain.__module__]
    original = module.MaskedCellLoss.forward
    calls = []

    def forward(self, output, cells):
        calls.append(cells)
        loss = original(self, output, cells)
        return 1e6 * loss if len(calls) == 27 else loss

    monkeypatch.setattr(module.MaskedCellLoss, 'forward', forward)
    with pytest.warns(UserWarning, match='batch 26 is skipped .* has a loss of'):
        result = run(
            databases, tmp_path, config(30, num_evals=0, save_every=25, explosion=50)
        )
    # The step since the checkpoint of step 25 is taken back, and its batch gone.
    assert result.steps == len(result.losses) == 30
    assert max(result.losses) < 1e3
    state = torch.load(tmp_path / 'state.pt', weights_only=True)['state']
    assert state['position'] == 32


def test_bad_input(databases, config, tmp_path):
    with pytest.raises(ValueError, match=r"'exclude' names unknown .*\['bar'\]"):
        run(databases, tmp_path / 'a', config(), exclude=['bar'])
    with pytest.raises(ValueError, match='no tasks to train on'):
        run(databases, tmp_path / 'a', config(), exclude=['shop', 'kiosk'])
    bare = PreparedDatabase('bare', databases[0].store, [], {'t': 'no labels'})
    with pytest.raises(ValueError, match=r"no tasks to .* 't' of 'bare': no labels"):
        run([bare], tmp_path / 'a', config())
    with pytest.raises(ValueError, match="database 'nowhere' cannot be used"):
        run(['nowhere', *databases], tmp_path / 'a', config())
    with pytest.warns(UserWarning, match="database 'nowhere' is left out"):
        run(['nowhere', *databases], tmp_path / 'b', config(1), skip_errors=True)
    with pytest.raises(ValueError, match='names of their own'):
        run([databases[0]] * 2, tmp_path / 'a', config())
    with pytest.raises(ValueError, match='Expected the text encoder'):
        run(databases, tmp_path / 'a', config(), text_encoder=HashingTextEncoder(64))
    with pytest.raises(ValueError, match=r"'unlabelled' names .*\['bar'\]"):
        run(databases, tmp_path / 'a', config(unlabelled=['bar']))
    with pytest.raises(ValueError, match="another strategy than 'target'"):
        run(
            databases,
            tmp_path / 'a',
            config(unlabelled=['shop'], masking={'target': 1.0}),
        )


def test_config_file(tmp_path):
    path = tmp_path / 'config.json'
    path.write_text('{"lr": 0.1, "num_cells": [8], "minutes": 3}')
    config = PretrainConfig.from_file(path, minutes=1.0)
    assert (config.lr, config.num_cells, config.minutes) == (0.1, [8], 1.0)
    path.write_text('{"learning_rate": 1}')
    with pytest.raises(ValueError, match=r"unknown fields \['learning_rate'\]"):
        PretrainConfig.from_file(path)
    path.write_text('{')
    with pytest.raises(ValueError, match='is no JSON'):
        PretrainConfig.from_file(path)
    with pytest.raises(ValueError, match=r"'ema' must lie in \[0, 1\)"):
        PretrainConfig(ema=1.0)


def test_hidden_links_are_predicted(databases, config, tmp_path, stops_after):
    fields = {'masking': {'target': 0.5, 'foreign_key': 0.5}, 'mask_rate': [0.5, 0.5]}
    fields |= {'batch_size': 16, 'save_every': 60, 'accumulate': 2}
    settings = config(120, lr=1e-2, **fields)
    straight = run(databases, tmp_path / 'all', settings)
    model = RelationalPredictor.from_pretrained(tmp_path / 'all').model
    assert model.config['link_head']
    with (tmp_path / 'all' / 'columns.csv').open() as file:
        losses = {(r['column'], int(r['step'])): r for r in csv.DictReader(file)}
    keys = {column for column, _ in losses if column.endswith('_id of orders')}
    assert keys == {'customer_id of orders'}
    with (tmp_path / 'all' / 'metrics.csv').open() as file:
        rows = list(csv.DictReader(file))
    # Each figure is one of links alone, among two rows and more.
    assert all(0.0 < float(row['train_link_recall@1']) < 1.0 for row in rows)
    assert float(rows[-1]['train_link_loss']) < float(rows[0]['train_link_loss'])

    with stops_after(60):
        run(databases, tmp_path / 'parts', settings)
    resumed = run(databases, tmp_path / 'parts', settings, resume=True)
    assert resumed.losses == straight.losses
    one, two = weights(tmp_path / 'all'), weights(tmp_path / 'parts')
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_checkpoint_without_a_link_head_hides_no_links(databases, config, tmp_path):
    run(databases, tmp_path / 'cells', config(1))
    masking = {'target': 0.5, 'foreign_key': 0.5}
    links = config(1, model={}, masking=masking)
    with pytest.raises(ValueError, match="hides links, .* checkpoint .*'foreign_key'"):
        run(databases, tmp_path / 'links', links, init=tmp_path / 'cells')
    links = config(1, model={'link_head': False}, masking=masking)
    with pytest.raises(ValueError, match="hides links, .* 'model' .*'foreign_key'"):
        run(databases, tmp_path / 'links', links)
    none = config(1, model={}, masking={'target': 1.0, 'foreign_key': 0.0})
    run(databases, tmp_path / 'further', none, init=tmp_path / 'cells')


def test_finished_models_are_refused(databases, config, tmp_path):
    (tmp_path / 'model.safetensors').write_bytes(b'')
    (tmp_path / 'config.json').write_text('{"format": "torch_geometric_rfm"}')
    with pytest.raises(FileExistsError, match='a model without the state of a run'):
        run(databases, tmp_path, config(2))
    assert (tmp_path / 'model.safetensors').read_bytes() == b''


def test_autocomplete_tasks_have_a_weight_of_their_own():
    store = toy_task_store()
    other = replace(store.task, name='filled', horizon=pd.Timedelta(0))
    database = PreparedDatabase('shop', store.store, [store.task, other])
    config = PretrainConfig(num_steps=1, autocomplete_weight=0.25)
    assert [part.weight for part in make_parts([database], config)] == [1.0, 0.25]


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'num_cells': 128}, r"'num_cells' must be a list .*\(got 128\)"),
        (
            {'sampling': {'num_threads': 2}},
            r"unknown arguments \(got \['num_t",
        ),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(num_steps=1, **fields)


def test_one_rate_is_a_range():
    assert PretrainConfig(num_steps=1, mask_rate=0.2).mask_rate == (0.2, 0.2)
