r"""The road from end to end, for each kind of graph that may enter it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_frame import stype
from torch_frame.config import TextEmbedderConfig
from torch_geometric.data import HeteroData

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import predict_rows
from torch_geometric_rfm.transforms import MaskCells

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'
FRAME_STYPES = {
    'number': stype.numerical,
    'category': stype.categorical,
    'boolean': stype.categorical,
    'text': stype.text_embedded,
    'datetime': stype.timestamp,
}


@pytest.mark.filterwarnings('ignore:The given NumPy array is not writable')
@pytest.mark.filterwarnings('ignore:Series.dt.dayofweek is deprecated')
def test_graphs_of_relbench_and_of_to_hetero_predict_the_same():
    from relbench.modeling.graph import make_pkey_fkey_graph

    encoder = HashingTextEncoder(channels=16)
    dataset = load_dataset(REL_F1)
    db = load_database(dataset)
    cutoff = dataset.val_timestamp
    ours, our_stats = to_hetero(db, cutoff=cutoff)
    col_to_stype = {
        table: {c: FRAME_STYPES[kind] for c, kind in ours[table].cell_types.items()}
        for table in ours.node_types
    }
    theirs, their_stats = make_pkey_fkey_graph(
        db, col_to_stype, TextEmbedderConfig(encoder.encode, batch_size=4096)
    )
    options = {'text_encoder': encoder, 'cutoff': cutoff, 'cache_dir': False}
    first = CellStore.from_hetero(ours, our_stats, **options)
    second = CellStore.from_hetero(theirs, their_stats, db=db, **options)
    task = Task.from_relbench(load_task(dataset, 'driver-dnf'), db)

    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=32, heads=2, text_channels=16, zero_init=False
    )
    predictions = []
    for store in (first.with_task(task), second.with_task(task)):
        rows = store.rows_of_split('test')[::20]
        sampling = {'num_cells': 128, 'num_neighbors': 8}
        predictions.append(predict_rows(model, store, rows, **sampling))
        cells = next(iter(ContextLoader(store, input_nodes=rows, **sampling)))
        strings = cells.text_embedding[cells.text_index]
        strings[cells.cell_type < 3] = 0
        predictions.append(torch.cat([cells.value, strings.flatten()]).numpy())
    assert predictions[0].std() > 0
    assert np.allclose(predictions[0], predictions[2], atol=1e-5)
    assert np.allclose(predictions[1], predictions[3], atol=1e-5)


def test_plain_graph_with_features_and_many_to_many_edges():
    rng = np.random.default_rng(0)
    data = HeteroData()
    data['author'].x = torch.from_numpy(rng.normal(size=(20, 3))).float()
    data['paper'].x = torch.from_numpy(rng.normal(size=(50, 4))).float()
    data['paper'].time = torch.arange(50) * 86_400
    data['venue'].num_nodes = 5
    data['author', 'writes', 'paper'].edge_index = torch.from_numpy(
        np.stack([rng.integers(0, 20, 150), rng.integers(0, 50, 150)])
    )
    data['paper', 'published_in', 'venue'].edge_index = torch.stack(
        [torch.arange(50), torch.from_numpy(rng.integers(0, 5, 50))]
    )
    store = CellStore.from_hetero(data, text_encoder=HashingTextEncoder(channels=16))
    assert store.table_names == ['author', 'paper', 'venue', 'author__writes__paper']
    assert 'paper.published_in' in store.fkey_names

    loader = ContextLoader(
        store,
        input_nodes=('paper', torch.arange(20, 50)),
        input_time=data['paper'].time[20:50],
        num_cells=24,
        batch_size=10,
        shuffle=True,
        transform=MaskCells('uniform', rate=0.3),
    )
    torch.manual_seed(0)
    model = RelationalTransformer.small(channels=16, heads=2, text_channels=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loss_fn, losses = MaskedCellLoss(), []
    for _ in range(3):
        for cells in loader:
            assert cells.mask.any()
            tables = np.array(cells.table_names)[cells.row_table]
            assert (tables[cells.seed_row] == 'paper').all()
            time = cells.row_time[tables == 'paper']
            context = torch.zeros(cells.num_rows, dtype=torch.long)
            context[cells.row] = cells.batch
            limit = cells.visible_until[context[torch.from_numpy(tables == 'paper')]]
            assert (time <= limit).all()
            loss = loss_fn(model(cells), cells)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert np.isfinite(losses).all()
