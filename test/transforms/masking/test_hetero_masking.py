import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from scipy.stats import chisquare
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import DatasetAdapter

from torch_geometric_rfm.data import to_hetero
from torch_geometric_rfm.loader import TemporalNeighborLoader
from torch_geometric_rfm.testing import toy_database
from torch_geometric_rfm.transforms import MaskCells

STRATEGIES = ['uniform', 'column', 'row', 'neighborhood']


@pytest.fixture
def data():
    data, _ = to_hetero(toy_database())
    tf = data['shops'].tf
    vectors = torch.randn(4, 5)
    vectors[2] = 0  # Missing.
    embedding = MultiEmbeddingTensor(4, 2, vectors, torch.tensor([0, 3, 5]))
    data['shops'].tf = TensorFrame(
        {**tf.feat_dict, stype.embedding: embedding},
        {**tf.col_names_dict, stype.embedding: ['photo', 'sound']},
    )
    return data


@pytest.fixture
def plain():
    torch.manual_seed(0)
    data = HeteroData()
    data['a'].x = torch.randn(50, 4)
    data['b'].x = torch.randn(300, 2)
    data['b'].x[0, 0] = torch.nan
    data['c'].num_nodes = 7
    index = torch.stack([torch.arange(300), torch.randint(50, (300,))])
    data['b', 'of', 'a'].edge_index = index
    data['b', 'of', 'a'].edge_attr = torch.arange(300.0)
    data['a', 'rev_of', 'b'].edge_index = index.flip(0)
    return data


def features(tf):
    r"""For each column, its feature of every row."""
    out = {}
    for kind, names in tf.col_names_dict.items():
        for i, name in enumerate(names):
            feat = tf.feat_dict[kind][:, i]
            out[name] = feat.values if isinstance(feat, MultiEmbeddingTensor) else feat
    return out


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_frames(data, strategy):
    before = data.clone()
    out = MaskCells(strategy, rate=0.5)(data)
    for name in data.node_types:
        assert data[name].tf == before[name].tf
        assert 'mask' not in data[name]
        old, new = features(before[name].tf), features(out[name].tf)
        mask = out[name].mask
        assert mask.size() == (
            old['age'].numel() if name == 'customers' else len(mask),
            len(old),
        )
        assert mask.dtype == torch.bool
        assert out[name].target is data[name].tf
        for i, (column, feat) in enumerate(old.items()):
            hidden, found = mask[:, i], new[column]
            if feat.is_floating_point():
                assert torch.equal(
                    found[~hidden].nan_to_num(9), feat[~hidden].nan_to_num(9)
                )
                missing = feat.isnan() if feat.dim() == 1 else (feat == 0).all(1)
                gone = found.isnan() if feat.dim() == 1 else (found == 0).all(1)
            else:
                assert torch.equal(found[~hidden], feat[~hidden])
                missing = (feat < 0).view(len(feat), -1).any(1)
                gone = (found == -1).view(len(feat), -1).all(1)
            # What is missing is never chosen; what is chosen is missing then.
            assert not (hidden & missing).any()
            assert torch.equal(gone, hidden | missing)
    shares = out['orders'].mask.float().mean(0)
    assert (shares[:4] > 0.3).all()
    assert (shares < 0.7).all()
    # The result is what loaders of PyG and Frame slice.
    rows = torch.tensor([3, 1])
    part = out.subgraph({'orders': rows})
    assert torch.equal(part['orders'].mask, out['orders'].mask[rows])
    assert part['orders'].target == before['orders'].tf[rows]


def test_features(plain):
    transform = T.Compose([MaskCells('uniform', rate=0.5, seed=2), T.Constant()])
    out = transform(plain)
    (piped,) = DatasetAdapter([plain]).mask_cells('uniform', rate=0.5, seed=2)
    for name in ('a', 'b'):
        mask = out[name].mask
        assert torch.equal(mask, piped[name].mask)
        assert 0.4 < mask.float().mean() < 0.6
        assert not piped[name].x[mask].any()
        assert torch.equal(
            piped[name].x[~mask].nan_to_num(9), plain[name].x[~mask].nan_to_num(9)
        )
        assert piped[name].target is plain[name].x
    assert not out['b'].mask[0, 0]
    assert 'mask' not in out['c']


def test_rows_and_neighborhoods(plain):
    out = MaskCells('row', rate=0.5)(plain)
    mask = out['a'].mask
    assert torch.equal(mask.any(1), mask.all(1))
    assert 10 < mask.all(1).sum() < 40
    out = MaskCells('neighborhood', rate=0.5)(plain)
    whole = out['a'].mask.all(1)
    children = out['b'].mask[:, 1]
    child, parent = plain['b', 'of', 'a'].edge_index
    # A hidden parent has its children hidden with it, but for the last one taken.
    left = torch.zeros(50).index_add_(0, parent, (~children[child]).float())
    assert (left[whole] > 0).sum() <= 1
    total = out['a'].mask.sum() + out['b'].mask.sum()
    assert abs(total.item() - 0.5 * (50 * 4 + 599)) <= 4


def test_links(plain):
    out = MaskCells('foreign_key', rate=0.3)(plain)
    store, back = out['b', 'of', 'a'], out['a', 'rev_of', 'b']
    moved = store.target_index
    assert 50 < moved.size(1) < 130
    assert store.edge_index.size(1) == 300 - moved.size(1) == back.edge_index.size(1)
    assert torch.equal(store.edge_index[0], store.edge_attr.long())
    assert torch.equal(store.edge_index, back.edge_index.flip(0))
    assert torch.equal(
        torch.cat([store.edge_index, moved], 1)[0].sort()[0], torch.arange(300)
    )
    assert plain['b', 'of', 'a'].edge_index.size(1) == 300
    assert not out['a'].mask.any()
    again = MaskCells('foreign_key', rate=0.3, seed=1)(out)
    index = again['b', 'of', 'a'].target_index
    assert torch.equal(index[:, : moved.size(1)], moved)
    assert index.size(1) > moved.size(1)


def test_masking_only_adds(data, plain):
    for graph, name in ((data, 'orders'), (plain, 'b')):
        once = MaskCells('uniform', rate=0.4)(graph)
        twice = MaskCells('column', rate=0.4, seed=1)(once)
        assert twice[name].mask[once[name].mask].all()
        assert twice[name].mask.sum() > once[name].mask.sum()
        assert twice[name].target is once[name].target


def test_seed_and_epoch(plain):
    def mask(epoch=None, seed=0):
        graph = plain.clone()
        if epoch is not None:
            graph.epoch = epoch
        return MaskCells('uniform', rate=0.5, seed=seed)(graph)['b'].mask

    assert torch.equal(mask(), mask(0))
    assert torch.equal(mask(3), mask(3))
    assert not torch.equal(mask(3), mask(4))
    assert not torch.equal(mask(3), mask(3, seed=1))


def test_columns_and_types(data):
    out = MaskCells('uniform', rate=0.9, columns=['gift of orders'])(data)
    names = list(features(data['orders'].tf))
    assert out['orders'].mask.sum(0).nonzero().tolist() == [[names.index('gift')]]
    assert not out['shops'].mask.any()
    # Types are those that the graph declares, not those of Frame.
    out = MaskCells('uniform', rate=0.9, cell_types=['boolean'])(data)
    assert out['orders'].mask.sum(0).nonzero().tolist() == [[names.index('gift')]]
    with pytest.raises(ValueError, match=r"'columns' must be .*'gift of shops', known"):
        MaskCells('uniform', columns=['gift of shops'])(data)


def test_corruption(data, plain):
    shares = (0.8, 0.1, 0.1)
    out = MaskCells('uniform', rate=0.9, corruption=shares)(plain)
    mask, x, target = out['b'].mask, out['b'].x, out['b'].target
    hidden, same = mask & (x == 0), mask & (x == target)
    counts = [hidden.sum(), (mask & ~hidden & ~same).sum(), same.sum()]
    counts = np.array([int(c) for c in counts], dtype=float)
    assert chisquare(counts, counts.sum() * np.array(shares)).pvalue > 1e-3
    assert torch.isin(
        x[:, 1][mask[:, 1]], torch.cat([target[:, 1], torch.zeros(1)])
    ).all()

    out = MaskCells('uniform', rate=0.9, corruption=(0.0, 1.0, 0.0))(data)
    for name in data.node_types:
        old, new = features(data[name].tf), features(out[name].tf)
        for i, (column, feat) in enumerate(old.items()):
            mask = out[name].mask[:, i]
            rows = {str(row.tolist()) for row in feat[mask]}
            shown = new[column][mask]
            known = [str(row.tolist()) for row in feat]
            assert {str(row.tolist()) for row in shown} <= set(known)
            if len(rows) > 20:
                assert (shown != feat[mask]).view(len(shown), -1).any(
                    1
                ).float().mean() > 0.8


@pytest.mark.parametrize('strategy', ['uniform', 'neighborhood', 'foreign_key'])
def test_subgraphs_do_not_depend_on_the_batch(data, strategy):
    graph, _ = to_hetero(toy_database())
    time = torch.full((30,), int(1.64e9))

    def rows(batch_size):
        loader = TemporalNeighborLoader(
            graph,
            num_neighbors=[3, 3],
            input_nodes='customers',
            input_time=time,
            time_attr='time',
            batch_size=batch_size,
            transform=MaskCells(strategy, seed=4),
        )
        out = {}
        for batch in loader:
            for name in ('orders', 'customers'):
                context = batch['customers'].input_id[batch[name].batch]
                for i, key in enumerate(
                    zip(context.tolist(), batch[name].n_id.tolist())
                ):
                    out[name, key] = batch[name].mask[i].tolist()
            store = batch['orders', 'f2p_customer_id', 'customers']
            if strategy == 'foreign_key':
                for c, _ in store.target_index.T.tolist():
                    context = int(batch['orders'].batch[c])
                    key = int(batch['customers'].input_id[context])
                    out['link', key, int(batch['orders'].n_id[c])] = True
        return out

    together = rows(30)
    assert together == rows(7)
    assert any(v is True or any(v) for v in together.values())


def test_bad_graphs(data, plain):
    with pytest.raises(ValueError, match="strategy='target' hides nothing of a Hetero"):
        MaskCells()(plain)
    graph = HeteroData()
    graph['c'].num_nodes = 3
    with pytest.raises(ValueError, match=r"needs a node type with col.*got 'c', all"):
        MaskCells('uniform')(graph)
    plain['a'].x = plain['a'].x.long()
    with pytest.raises(ValueError, match=r"'x' of node type 'a' .*int64 \[50, 4\]"):
        MaskCells('uniform')(plain)
    data['shops'].x = torch.randn(4, 2)
    with pytest.raises(ValueError, match="'shops' has both 'tf' and 'x'"):
        MaskCells('uniform')(data)
    del data['shops'].x
    images = TensorFrame(
        {stype.image_embedded: torch.randn(4, 1)}, {stype.image_embedded: ['i']}
    )
    data['shops'].tf = images
    with pytest.raises(ValueError, match=r"\['i'\] .*'shops' are of stype 'image_emb"):
        MaskCells('uniform')(data)


def test_all_missing_columns_are_never_chosen(data, plain):
    plain['a'].x[:] = torch.nan
    out = MaskCells('column', rate=0.9)(plain)
    assert not out['a'].mask.any()
    assert out['b'].mask.any()
    data['orders'].tf.feat_dict[stype.numerical][:] = torch.nan

    data['customers'].tf = TensorFrame(
        {stype.numerical: torch.ones(30, 1)}, {stype.numerical: ['__const__']}
    )
    out = MaskCells('uniform', rate=0.9, corruption=(0.5, 0.5, 0.0))(data)
    assert (
        not out['orders']
        .mask[:, list(features(data['orders'].tf)).index('amount')]
        .any()
    )
    assert not out['customers'].mask.any()
