import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellStore, negate_labels, to_hetero
from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.loader import MixtureLoader, MixturePart, mixture_weights
from torch_geometric_rfm.loader.mixture_loader import part_factors
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store
from torch_geometric_rfm.transforms import MaskCells

SIZES = {'batch_size': 8, 'group_size': 2, 'num_cells': [16, 32], 'num_neighbors': 4}
RATES = {'flip_rate': 0.5, 'negate_rate': 0.5}


@pytest.fixture(scope='module')
def parts():
    # Databases whose tables, columns and keys differ in number.
    small = toy_database(seed=1)
    del small.table_dict['shops']
    small.table_dict['customers'].fkey_col_to_pkey_table.clear()
    data, col_stats = to_hetero(small)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cache_dir=False
    )
    transform = MaskCells('uniform', rate=0.3)
    return [
        MixturePart('shop', toy_task_store('binary'), transform=transform),
        MixturePart('shop', toy_task_store('regression')),
        MixturePart('kiosk', store.with_task(toy_task(small))),
    ]


def same(one, two):
    assert set(one.keys()) == set(two.keys())
    for key in one.keys():  # noqa: SIM118
        if isinstance(one[key], torch.Tensor):
            assert torch.equal(one[key].nan_to_num(-7.0), two[key].nan_to_num(-7.0)), (
                key
            )
        else:
            assert one[key] == two[key], key


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
def test_batches_depend_on_their_number_alone(parts):
    straight = list(itertools.islice(MixtureLoader(parts, seed=3, **RATES, **SIZES), 6))
    later = itertools.islice(
        MixtureLoader(parts, seed=3, start=4, **RATES, **SIZES),
        2,
    )
    for one, two in zip(straight[4:], later):
        same(one, two)
    workers = MixtureLoader(parts, seed=3, num_workers=2, **RATES, **SIZES)
    for one, two in zip(straight, workers):
        same(one, two)
    other = next(iter(MixtureLoader(parts, seed=4, **RATES, **SIZES)))
    assert other.input_id.tolist() != straight[0].input_id.tolist()


def test_ranks_and_slices_make_up_the_batch(parts):
    whole = MixtureLoader(parts, seed=5, **RATES, **SIZES)
    shards = [
        MixtureLoader(
            parts,
            seed=5,
            rank=r,
            num_replicas=2,
            num_slices=2,
            **RATES,
            **SIZES,
        )
        for r in (0, 1)
    ]
    iterators = [iter(shard) for shard in shards]
    for cells in itertools.islice(whole, 3):
        pieces = [next(it) for it in iterators for _ in range(2)]
        assert [piece.num_contexts for piece in pieces] == [2, 2, 2, 2]
        same(cells, concatenate(pieces))


def test_some_groups_have_other_embeddings(parts):
    plain = MixtureLoader(parts, seed=3, **SIZES)
    loader = MixtureLoader(parts, seed=3, flip_rate=0.5, **SIZES)
    flipped = []
    for position in range(20):
        pairs = zip(plain.groups(position), loader.groups(position))
        for (part, before), (other, after) in pairs:
            assert part is other
            names = ('text_embedding', 'column_embedding', 'fkey_embedding')
            signs = []
            for name in names:
                one, two = before[name], after[name]
                assert torch.equal(one.abs(), two.abs())
                signs.append(torch.sign((one * two).sum(0)))
            # The same signs for all, so that likeness stays.
            for sign in signs[1:]:
                assert (sign * signs[0] >= 0).all()
            flipped.append(bool((signs[1] < 0).any()))
            for key in ('value', 'target', 'row', 'input_id', 'text_index'):
                assert torch.equal(before[key].nan_to_num(), after[key].nan_to_num())
    assert 0.3 < np.mean(flipped) < 0.7  # 80 groups.
    with pytest.raises(ValueError, match=r"'flip_rate' must lie in \[0, 1\]"):
        MixtureLoader(parts, flip_rate=1.5, **SIZES)


def test_some_groups_have_opposite_labels(parts):
    plain = MixtureLoader(parts, seed=3, **SIZES)
    loader = MixtureLoader(parts, seed=3, negate_rate=0.5, **SIZES)
    negated = []
    for position in range(20):
        pairs = zip(plain.groups(position), loader.groups(position))
        for (_, before), (_, after) in pairs:
            targets = before.target.nan_to_num(), after.target.nan_to_num()
            negated.append(not torch.equal(*targets))
            same(negate_labels(before) if negated[-1] else before, after)
    assert 0.3 < np.mean(negated) < 0.7  # 80 groups.
    with pytest.raises(ValueError, match=r"'negate_rate' must lie in \[0, 1\]"):
        MixtureLoader(parts, negate_rate=-0.1, **SIZES)


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
def test_batches_of_an_episode_ask_the_same(parts):
    options = {'seed': 3, 'episode_steps': 3, **RATES, **SIZES}
    loader = MixtureLoader(parts, **options)
    rows, asked = [], []
    for position in range(12):
        draws = loader.draws(position)
        asked.append([(d.part, d.num_cells, d.flip, d.negate) for d in draws])
        rows.append([d.inputs.tolist() for d in draws])
    episodes = [asked[i : i + 3] for i in range(0, 12, 3)]
    assert all(one == episode[0] for episode in episodes for one in episode)
    assert all(len(set(one)) == 1 for one in asked)  # All groups ask one task.
    assert len({str(episode[0]) for episode in episodes}) == 4
    assert len({str(one) for one in rows}) == 12
    straight = list(itertools.islice(loader, 6))
    workers = MixtureLoader(parts, num_workers=2, start=2, **options)
    for one, two in zip(straight[2:], workers):
        same(one, two)
    with pytest.raises(ValueError, match=r"'episode_steps' must be positive \(got 0\)"):
        MixtureLoader(parts, episode_steps=0, **SIZES)


def test_a_batch_of_several_databases_predicts_what_each_alone_does(parts):
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=32, num_layers=2, heads=2, ff_channels=32
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    loader = MixtureLoader(parts, seed=0, **SIZES)
    double = ('value', 'relative_time', 'target', 'text_embedding', 'column_embedding')

    def predict(cells):
        for key in double:
            cells[key] = cells[key].double()
        return model(cells)

    mixed = 0
    for position, cells in enumerate(itertools.islice(loader, 6)):
        groups = loader.groups(position)
        mixed += len({part.database for part, _ in groups}) > 1
        alone = torch.cat([predict(group) for _, group in groups])
        assert torch.allclose(predict(cells), alone, atol=1e-12)
    assert mixed > 0


def test_labels_are_hidden_and_rows_are_of_train(parts):
    loader = MixtureLoader(parts, seed=1, **SIZES)
    for position in range(20):
        for part, cells in loader.groups(position):
            assert cells.mask[cells.ptr[:-1]].all()
            assert (part.store.split[loader._open(0, 16).rows] == 'train').all()
            rows = part.store.rows_of_split('train')[cells.input_id]
            assert cells.seed_time.tolist() == part.store.arrays.time[rows].tolist()
            known = part.store.target[rows]
            assert torch.allclose(cells.target[cells.ptr[:-1]], known)


def test_draws_follow_the_weights(parts):
    loader = MixtureLoader(
        parts, seed=2, weights={'kiosk': 3.0}, temperature=1.0, **SIZES
    )
    p = np.array([1.0, 1.0, 3.0 * loader.sizes[2] / loader.sizes[0]])
    p /= p.sum()
    assert np.allclose(loader.probability, p)
    draws = [draw for i in range(1500) for draw in loader.draws(i)]
    count = np.bincount([draw.part for draw in draws], minlength=3)
    expected = p * len(draws)
    assert ((count - expected) ** 2 / expected).sum() < 16  # p < 0.0004
    size = np.array([draw.num_cells for draw in draws[::4]])
    assert abs((size == 16).mean() - 0.5) < 0.05
    for i in range(20):
        assert len({draw.num_cells for draw in loader.draws(i)}) == 1


@given(
    st.lists(st.tuples(st.sampled_from('abc'), st.integers(1, 10**6)), min_size=1),
    st.floats(1.0, 20.0),
)
@settings(max_examples=50, deadline=None)
def test_mixture_weights(pairs, temperature):
    databases, sizes = zip(*pairs)
    weight = mixture_weights(databases, sizes, temperature)
    assert weight.sum() == pytest.approx(1)
    total = {n: sum(s for d, s in pairs if d == n) for n in set(databases)}
    for name in total:
        share = sum(w for w, d in zip(weight, databases) if d == name)
        expected = total[name] ** (1 / temperature)
        expected /= sum(size ** (1 / temperature) for size in total.values())
        assert share == pytest.approx(expected)


def test_bad_input(parts):
    with pytest.raises(ValueError, match='at least one part'):
        MixtureLoader([])
    with pytest.raises(ValueError, match=r'multiple of .* = 8 \(got 12\)'):
        MixtureLoader(parts, batch_size=12, num_replicas=2)
    with pytest.raises(ValueError, match=r"unknown databases .*got 'bar'"):
        MixtureLoader(parts, weights={'bar': 1.0}, **SIZES)
    with pytest.raises(ValueError, match=r"'temperature' must be positive \(got 0"):
        MixtureLoader(parts, temperature=0.0, **SIZES)
    broken = MixturePart('shop', toy_task_store(), input_nodes='tets')
    with pytest.raises(ValueError, match="'customer-orders' of database 'shop'.*tets"):
        MixtureLoader([broken], **SIZES)
    with pytest.raises(TypeError, match='no end'):
        len(MixtureLoader(parts, **SIZES))
    assert repr(MixtureLoader(parts, **SIZES)) == (
        'MixtureLoader(databases=2, parts=3, inputs=925)'
    )


def test_factors_by_database_and_part():
    parts = [
        MixturePart(database, None, name=name, weight=weight)
        for database, name, weight in (
            ('shop', 'churn', 1.0),
            ('shop', 'size', 0.5),
            ('kiosk', 'churn', 1.0),
        )
    ]
    assert part_factors(parts, {}).tolist() == [1.0, 0.5, 1.0]
    weights = {'shop': 2.0, '*/churn': 3.0, 'k*': 0.0}
    assert part_factors(parts, weights).tolist() == [6.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=r"got 'shop/sizes', databases are: shop, k"):
        part_factors(parts, {'shop/sizes': 1.0})
    for wrong in ({'*': 0.0}, {'shop': -1.0}):
        with pytest.raises(ValueError, match="'weights' must be at least 0"):
            part_factors(parts, wrong)
