from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader.context_loader import ContextLoader
from torch_geometric_rfm.nn import candidate_scores
from torch_geometric_rfm.nn.cell_output import CellOutput
from torch_geometric_rfm.train.calibration import Calibration


def predict_rows(
    model: torch.nn.Module,
    store: TaskStore,
    rows: Any,
    protocol: str = 'rolling',
    batch_size: int = 64,
    progress: Any = None,
    levels: list[float] | None = None,
    calibration: Calibration | None = None,
    observe: Callable[[CellOutput, CellData], None] | None = None,
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
        levels (list, optional): Quantiles to predict in place of the value.
            (default: :obj:`None`)
        calibration (Calibration, optional): What makes probabilities and quantiles
            hold, or numbers whole. (default: :obj:`None`)
        observe (callable, optional): Called with the output and the cells of every
            batch. (default: :obj:`None`)
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Returns:
        :obj:`[len(rows)]` numbers in their own unit, or probabilities;
        :obj:`[len(rows), classes]` probabilities of a category;
        :obj:`[len(rows), len(levels)]` quantiles.

    Raises:
        ValueError: If quantiles are asked of what is no number, or of a model
            without them.
    """
    if levels is not None and store.task.cell_type != CellType.NUMBER:
        raise ValueError(
            f"task '{store.task.name}' is no regression, and has no quantiles (got "
            f'cell type {store.task.cell_type.name.lower()})'
        )
    output = predict_outputs(
        model, store, rows, protocol, batch_size, progress, levels, observe, **sampling
    )
    calibration = calibration or Calibration()
    if store.task.cell_type != CellType.NUMBER:
        output = calibration.scale(output)
    prediction = store.denormalise(output)
    if levels is None:
        return calibration.round(prediction)
    return calibration.shift(prediction, levels)


@torch.no_grad()
def predict_outputs(
    model: torch.nn.Module,
    store: TaskStore,
    rows: Any,
    protocol: str = 'rolling',
    batch_size: int = 64,
    progress: Any = None,
    levels: list[float] | None = None,
    observe: Callable[[CellOutput, CellData], None] | None = None,
    **sampling: Any,
) -> NDArray[np.float64]:
    r"""What a model gives for rows of a task table: normalised numbers, or logits,
    one a class of a category. See :func:`predict_rows` for the arguments.
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
        # The labels of the seeds are all that is hidden.
        heads = model(cells.to(device), all_heads=True)
        if observe is not None:
            observe(heads, cells)
        if store.task.cell_type == CellType.CATEGORY:
            # One column of candidates, the classes of the task.
            output = candidate_scores(heads.embedding, cells.candidate_embedding)
        elif levels is not None:
            output = heads.quantiles(levels)
        else:
            output = heads.value
        outputs.append(output.float().cpu())
    model.train(training)
    return torch.cat(outputs).double().numpy()
