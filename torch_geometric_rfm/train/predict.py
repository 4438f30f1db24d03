from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader.context_loader import ContextLoader


@torch.no_grad()
def predict_rows(
    model: torch.nn.Module,
    store: TaskStore,
    rows: Any,
    protocol: str = 'rolling',
    batch_size: int = 64,
    progress: Any = None,
    observe: Callable[[torch.Tensor, CellData], None] | None = None,
    **sampling: Any,
) -> np.ndarray:
    r"""Predictions for rows of a task table, in their order.

    Args:
        model (RelationalTransformer): The model, also set up by Fabric.
        store (TaskStore): The database with the task.
        rows (str or array): A split, or rows of the task table.
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`.
        batch_size (int): Contexts of a batch. (default: :obj:`64`)
        progress (callable, optional): Wraps the loader, for a progress bar.
        observe (callable, optional): Called with the output and the cells of every
            batch. (default: :obj:`None`)
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Returns:
        :obj:`[len(rows)]` numbers in their own unit, or probabilities.
    """
    loader = ContextLoader(
        store,
        input_nodes=rows,
        protocol=protocol,
        batch_size=batch_size,
        **sampling,
    )
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    outputs = []
    batches: Iterable[Any] = loader if progress is None else progress(loader)
    for cells in batches:
        seed_cell = cells.ptr[:-1]
        output = model(cells.to(device), hidden_only=True)
        if observe is not None:
            observe(output, cells)
        outputs.append(output[seed_cell.to(device)].float().cpu())
    model.train(training)
    return store.denormalise(torch.cat(outputs).double().numpy())
