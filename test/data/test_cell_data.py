import torch
from torch_geometric.data import Batch

from torch_geometric_rfm.testing import random_cells


def test_contexts_shift_when_they_are_joined():
    first, second = random_cells(num_cells=7), random_cells(num_cells=9, seed=1)
    batch = Batch.from_data_list([first, second])
    assert batch.num_contexts == 2
    assert batch.num_rows == first.num_rows + second.num_rows
    assert batch.num_nodes == 16
    assert batch.seed_row.tolist() == [0, first.num_rows]
    assert torch.equal(batch.row[7:], second.row + first.num_rows)
    assert torch.equal(batch.column[7:], second.column + len(first.column_embedding))
    moved = second.fkey_index + first.num_rows
    assert torch.equal(batch.fkey_index[:, first.fkey_index.size(1) :], moved)
    shown = second.text_index >= 0
    embedding = batch.text_embedding[batch.text_index[7:][shown]]
    assert torch.equal(embedding, second.text_embedding[second.text_index[shown]])
    assert batch.ptr.tolist() == [0, 7, 16]
    again = Batch.from_data_list([batch, batch])
    assert again.num_contexts == 4
    assert torch.equal(again.row[16:], batch.row + batch.num_rows)


def test_batch_or_zeros():
    cells = random_cells(num_cells=5)
    assert cells.batch_or_zeros.tolist() == [0] * 5
    assert random_cells(2, [2, 3]).batch_or_zeros.tolist() == [0, 0, 1, 1, 1]
