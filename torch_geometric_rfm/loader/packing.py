from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

_ALIGNMENT = 16


class PackedBatch:
    r"""A batch as one tensor, to go from one process to another at once.

    Every tensor that processes exchange costs a message of its own.

    Args:
        batch (Data): The batch; its tensors are copied.
    """

    def __init__(self, batch: Data) -> None:
        self.type = type(batch)
        self.fields: dict[str, tuple[torch.dtype, torch.Size, int]] = {}
        self.others: dict[str, Any] = {}
        tensors: dict[str, Tensor] = {}
        size = 0
        for key, value in batch.to_dict().items():
            if isinstance(value, Tensor) and value.device.type == 'cpu':
                tensors[key] = value.detach().contiguous()
                self.fields[key] = value.dtype, value.shape, size
                size += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
            else:
                self.others[key] = value
        storage = torch.UntypedStorage._new_shared(max(size, 1))
        self.buffer = torch.empty(0, dtype=torch.uint8).set_(storage)
        for key, value in tensors.items():
            self._view(key).copy_(value)

    def _view(self, key: str) -> Tensor:
        dtype, shape, offset = self.fields[key]
        size = shape.numel() * dtype.itemsize
        return self.buffer[offset : offset + size].view(dtype).view(shape)

    def pin_memory(self) -> 'PackedBatch':
        r"""Moves the buffer to page-locked memory, as a loader asks for it."""
        self.buffer = self.buffer.pin_memory()
        return self

    def unpack(self) -> Data:
        r"""The batch, whose tensors are views of one buffer."""
        views = {key: self._view(key) for key in self.fields}
        return self.type.from_dict({**views, **self.others})
