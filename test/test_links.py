r"""Links on a database whose truth is known: users have a home among places, which
most of their visits lead to.
"""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from relbench.base import Database, Table

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    HashingTextEncoder,
    LinkTask,
    PairHistory,
    to_hetero,
)
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.nn import RelationalRecommender, RelationalTransformer
from torch_geometric_rfm.train import predict_links

START, DAY = pd.Timestamp('2021-01-01'), pd.Timedelta(days=1)
VAL, TEST = START + 240 * DAY, START + 300 * DAY
NUM_PLACES, AT_HOME = 6, 0.7


def visits_database(num_users=60, per_user=20, seed=0):
    rng = np.random.default_rng(seed)
    home = rng.integers(0, NUM_PLACES, num_users)
    user = np.repeat(np.arange(num_users), per_user)
    elsewhere = rng.integers(0, NUM_PLACES - 1, user.size)
    elsewhere += elsewhere >= home[user]
    place = np.where(rng.random(user.size) < AT_HOME, home[user], elsewhere)
    date = START + pd.to_timedelta(rng.integers(0, 365, user.size), unit='D')
    visits = pd.DataFrame({'visit': range(user.size), 'user': user, 'place': place})
    visits = visits.assign(date=date, cost=rng.normal(size=user.size))
    visits = visits.sort_values('date', kind='stable', ignore_index=True)
    visits['visit'] = range(len(visits))
    names = ['harbour', 'museum', 'forest', 'market', 'library', 'stadium']
    places = pd.DataFrame({'place': range(100, 106), 'name': names})
    users = pd.DataFrame({'user': range(num_users), 'joined': START - DAY})
    visits['place'] += 100
    keys = {'user': 'users', 'place': 'places'}
    return Database(
        {
            'users': Table(users, {}, 'user'),
            'places': Table(places, {}, 'place'),
            'visits': Table(visits, keys, 'visit', time_col='date'),
        }
    )


def store_of(db, channels=16):
    data, stats = to_hetero(db, cutoff=VAL)
    return CellStore.from_hetero(
        data, stats, text_encoder=HashingTextEncoder(channels), cutoff=VAL,
        cache_dir=False, cell_types={'places': {'name': 'category'}},
    )  # fmt: skip


def link_task(db, k=3):
    visits = db.table_dict['visits'].df
    rows = []
    for time in pd.date_range(START + 60 * DAY, TEST, freq='30D'):
        window = visits[(visits.date > time) & (visits.date <= time + 30 * DAY)]
        split = 'train' if time < VAL else 'val' if time < TEST else 'test'
        for user, part in window.groupby('user'):
            places = np.unique(part.place.to_numpy()) - 100
            rows.append((user, time, float(len(places)), places, split))
    columns = ['entity', 'time', 'label', 'destinations', 'split']
    return LinkTask(
        name='next-places',
        entity_table='users',
        entity_col='user',
        time_col='time',
        target_col='places',
        cell_type=CellType.NUMBER,
        horizon=30 * DAY,
        frame=pd.DataFrame(rows, columns=columns),
        cutoffs={'train': VAL, 'val': VAL, 'test': TEST},
        destination_table='places',
        destination_col='place',
        destination_keys=db.table_dict['places'].df['place'].to_numpy(),
        k=k,
    )


@pytest.fixture(scope='module')
def db():
    return visits_database()


@pytest.fixture(scope='module')
def trained(db):
    predictor = RelationalPredictor(
        RelationalTransformer.small(
            channels=16, heads=2, ff_channels=32, text_channels=16
        ),
        HashingTextEncoder(16),
        num_cells=32,
    )
    predictor.fit(
        db, link_task(db), num_steps=3, minutes=None, num_evals=2, show_progress=False
    )
    return predictor


@pytest.mark.parametrize('strict', [False, True])
def test_history_counts_what_was_known_by_then(db, strict):
    store, window = store_of(db), 90 * 86_400
    history = PairHistory(store, 'users', 'places', window, strict)
    visits = db.table_dict['visits'].df
    times = pd.to_datetime(visits.date.iloc[[5, 400, 900, 1199]].to_numpy())
    entity = np.array([3, 9, 3, 41])
    until = times.astype('datetime64[s]').astype(np.int64).to_numpy()
    pairs = history.pairs(entity, until)
    found = {
        (int(s), int(d)): v
        for s, d, v in zip(pairs.seed, pairs.destination, pairs.value)
    }
    expected = 0
    for i, (user, time) in enumerate(zip(entity, times)):
        past = visits[visits.date < time if strict else visits.date <= time]
        popularity = history.popularity(int(until[i]))
        for place in range(NUM_PLACES):
            of_place = past[past.place == place + 100]
            for part, value in (
                (of_place, popularity[place]),
                (of_place[of_place.user == user], found.get((i, place))),
            ):
                if len(part) == 0:
                    assert value is None or not value.any()
                    continue
                expected += value is not popularity[place]
                asked = time - DAY / 86_400 * int(strict)
                recent = (part.date > asked - window / 86_400 * DAY).sum()
                wait = (asked - part.date.max()) / DAY / 90
                figures = [np.log1p(len(part)), np.log1p(recent), 1 / (1 + wait)]
                np.testing.assert_allclose(value, figures, rtol=1e-5)
    assert len(found) > 8


def test_recommendations_do_not_see_the_future(db, trained):
    task = link_task(db)
    visits = db.table_dict['visits']
    cut = Database(
        {
            **db.table_dict,
            'visits': Table(
                visits.df[visits.df.date <= TEST].reset_index(drop=True),
                visits.fkey_col_to_pkey_table,
                'visit',
                time_col='date',
            ),
        }
    )
    both = [
        predict_links(
            trained.recommender, store_of(source).with_task(task), 'test',
            protocol, **trained.sampling,
        )
        for source in (db, cut)
        for protocol in ('rolling', 'frozen')
    ]  # fmt: skip
    for index, score in both[1:]:
        assert np.array_equal(index, both[0][0])
        np.testing.assert_allclose(score, both[0][1], rtol=1e-4, atol=1e-5)


def test_recommendations_beat_popularity(db, trained):
    figures = evaluate_baselines(trained.open_task(db, link_task(db)), 'test')
    assert list(figures) == [
        'popularity', 'recent_popularity', 'past_links', 'recent_links',
    ]  # fmt: skip
    found = trained.evaluate(db, link_task(db))['map']
    assert found > figures['popularity']['map'] + 0.1
    assert found > 0.9 * figures['past_links']['map']


def test_frames_of_recommendations(db, trained, tmp_path):
    task = link_task(db)
    frame = trained.predict(db, task, k=2)
    assert list(frame) == ['user', 'time', 'rank', 'place', 'score']
    rows = (task.frame['split'] == 'test').sum()
    assert len(frame) == 2 * rows
    assert frame['rank'].tolist() == [1, 2] * rows
    assert frame['place'].between(100, 105).all()
    assert (frame.groupby(['user', 'time'])['score'].diff().dropna() <= 0).all()
    own = trained.predict(
        db, task, entities=pd.Series([4, 8]), time=TEST, k=3, candidates=[105, 101, 103]
    )
    assert set(own['place']) == {101, 103, 105}
    both = trained.predict(
        db, task, entities=pd.Series([4, 8]), time=TEST, k=NUM_PLACES
    ).merge(own, on=['user', 'place'])
    # A score does not depend on what else may be recommended.
    assert len(both) == len(own)
    np.testing.assert_allclose(both['score_x'], both['score_y'], rtol=1e-4, atol=1e-5)
    trained.save_pretrained(tmp_path / 'run')
    loaded = RelationalPredictor.from_pretrained(
        tmp_path / 'run', HashingTextEncoder(16)
    )
    pd.testing.assert_frame_equal(loaded.predict(db, task, k=2), frame)


def test_a_recommender_is_trained_further(db, trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = RelationalPredictor.from_pretrained(tmp_path, HashingTextEncoder(16))
    store = loaded.open_task(db, link_task(db))
    kept = loaded.recommender
    before = {k: v.clone() for k, v in kept.state_dict().items()}
    loaded.fit_stores([store], num_steps=1, minutes=None, show_progress=False)
    assert loaded.training['drop_rate'] == 0
    assert loaded.recommender is kept
    assert any(not v.equal(before[k]) for k, v in kept.state_dict().items())


def test_bad_recommendations(db, trained):
    task = link_task(db)
    with pytest.raises(ValueError, match=r'k must lie in \[1, 6\].*\(got 7\)'):
        trained.predict(db, task, k=7)
    with pytest.raises(ValueError, match=r'k must lie in \[1, 2\].*\(got 3\)'):
        trained.predict(db, task, candidates=[100, 101])
    with pytest.raises(ValueError, match='candidates must not stand twice'):
        trained.predict(db, task, k=1, candidates=[100, 101, 100])
    with pytest.raises(ValueError, match="table 'places' lacks"):
        trained.predict(db, task, k=1, candidates=[7])
    store = trained.open_task(db, task)
    before = dict(trained.training)
    with pytest.raises(ValueError, match='is trained alone'):
        trained.fit_stores([store, store], num_steps=1)
    with pytest.raises(ValueError, match=r'drop_rate is not of recomm.*\(got 0.5\)'):
        trained.fit_stores([store], num_steps=1, drop_rate=0.5)
    assert trained.training == before
    new = RelationalPredictor(text_encoder=trained.text_encoder)
    with pytest.raises(ValueError, match='which the model was not trained for'):
        new.predict(db, task)
    rows = store.rows_of_split('test')[:2]
    with pytest.raises(ValueError, match='must not name a destination twice'):
        task.score_rows(rows, np.array([[0, 1, 1], [0, 1, 2]]))
    task.frame['destinations'] = [np.zeros(0, np.int64)] * len(task.frame)
    with pytest.raises(ValueError, match='have no destinations to evaluate'):
        task.score_rows(rows, np.array([[0, 1, 2], [0, 1, 2]]))


def test_a_sample_of_destinations_stands_for_all():
    recommender = RelationalRecommender(
        RelationalTransformer.small(
            channels=16, heads=2, ff_channels=32, text_channels=16
        ),
        num_pair_features=3,
        num_popularity_features=3,
    )
    x = torch.randn(3, 16, generator=torch.manual_seed(0))
    repeated = recommender.centre_destinations(x[[0, 1, 1, 1, 2]])
    log_weight = torch.tensor([1.0, 3.0, 1.0]).log()
    weighted = recommender.centre_destinations(x, log_weight)
    torch.testing.assert_close(weighted, repeated[[0, 1, 4]])
    torch.testing.assert_close(weighted.norm(dim=1), torch.full((3,), 4.0))


def test_a_recommender_of_another_format_is_refused(db, trained, tmp_path):
    trained.save_pretrained(tmp_path)
    path = tmp_path / 'config.json'
    config = json.loads(path.read_text())
    del config['predictor']['recommender']['version']
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match='has format 1, .* train it again'):
        RelationalPredictor.from_pretrained(tmp_path, HashingTextEncoder(16))
