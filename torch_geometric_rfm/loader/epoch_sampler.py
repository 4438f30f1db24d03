from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler


class Identity(Dataset):
    r"""A dataset whose examples are their own keys."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Any) -> Any:
        return key


class EpochSampler(Sampler):
    r"""Sends the epoch along with each input, so that workers need no state of
    their own.

    Args:
        length (int): Number of inputs.
        shuffle (bool): Whether to reorder them every epoch.
            (default: :obj:`False`)
        seed (int): Determines the order. (default: :obj:`0`)
        order (Sampler, optional): Gives the inputs, one by one or in batches,
            in place of :obj:`shuffle`. (default: :obj:`None`)
        rank (int): The first input of this process. (default: :obj:`0`)
        num_replicas (int): It takes every so many. (default: :obj:`1`)
        even (bool): Whether all ranks get equally many, and the rest is left
            out. (default: :obj:`False`)

    Attributes:
        skip (int): Inputs of its own that the next iteration leaves out.

    Example:
        >>> sampler = EpochSampler(2)
        >>> list(sampler), list(sampler)
        ([(0, 0), (0, 1)], [(1, 0), (1, 1)])
    """

    def __init__(
        self,
        length: int,
        shuffle: bool = False,
        seed: int = 0,
        order: Any = None,
        rank: int = 0,
        num_replicas: int = 1,
        even: bool = False,
    ) -> None:
        self.length, self.shuffle, self.seed = length, shuffle, seed
        self.order, self.rank, self.num_replicas = order, rank, num_replicas
        self.last = length - length % num_replicas if even else length
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        if self.order is not None:
            return len(self.order)
        return len(range(self.rank, self.last, self.num_replicas))

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epoch
        self.epoch += 1
        for i in self._inputs(epoch):
            if isinstance(i, (list, tuple)):
                yield [(epoch, int(j)) for j in i]
            else:
                yield epoch, int(i)

    def _inputs(self, epoch: int) -> Any:
        if self.order is not None:
            return self.order
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        return order[self.rank : self.last : self.num_replicas][self.skip :].tolist()

    def set_epoch(self, epoch: int) -> None:
        r"""Sets the epoch that the next iteration counts as."""
        self.epoch = epoch
        if hasattr(self.order, 'set_epoch'):
            self.order.set_epoch(epoch)


def split_epochs(inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Epochs and indices of inputs; an index without an epoch is of the first."""
    # Without batches there is one pair, or one index.
    inputs = [inputs] if isinstance(inputs, (tuple, int)) else inputs
    pairs = [i if isinstance(i, tuple) else (0, int(i)) for i in inputs]
    epoch, index = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return epoch, index


class EpochDataLoader(DataLoader):
    r"""A data loader whose :obj:`collate_fn` is given pairs of epoch and index.

    Args:
        dataset (Sized): What gives the number of inputs.
        shuffle (bool): Whether to reorder them every epoch.
            (default: :obj:`False`)
        sampler, batch_sampler (Sampler, optional): As in
            :class:`torch.utils.data.DataLoader`. (default: :obj:`None`)
        seed (int): Determines the order. (default: :obj:`0`)
        **kwargs: Further arguments of :class:`torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        length = len(dataset)
        if shuffle and (sampler is not None or batch_sampler is not None):
            raise ValueError(
                'shuffle=True excludes a sampler and a batch_sampler, which give the '
                'order themselves; pass one of them alone'
            )
        if batch_sampler is not None:
            self.epoch_sampler = EpochSampler(length, order=batch_sampler)
            kwargs['batch_sampler'] = self.epoch_sampler
        else:
            self.epoch_sampler = EpochSampler(length, bool(shuffle), seed, sampler)
            kwargs['sampler'] = self.epoch_sampler
        super().__init__(Identity(length), **kwargs)

    def set_epoch(self, epoch: int) -> None:
        r"""Sets the epoch that the next iteration counts as."""
        self.epoch_sampler.set_epoch(epoch)
