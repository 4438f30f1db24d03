import math
import time


class Budget:
    r"""How much of a training run is done, by steps, by minutes, or both.

    Args:
        num_steps (int, optional): Steps to train. (default: :obj:`None`)
        minutes (float, optional): Wall-clock minutes to train.
            (default: :obj:`None`)

    Raises:
        ValueError: If neither is given, or one is not positive.
    """

    def __init__(
        self, num_steps: int | None = None, minutes: float | None = None
    ) -> None:
        if num_steps is None and minutes is None:
            raise ValueError('a training run needs num_steps or minutes')
        for name, value in (('num_steps', num_steps), ('minutes', minutes)):
            if value is not None and value <= 0:
                raise ValueError(f'{name} must be positive (got {value})')
        self.num_steps = num_steps
        self.minutes = minutes
        self.start = time.monotonic()
        self.step = 0

    @property
    def seconds(self) -> float:
        r"""Seconds since the start."""
        return time.monotonic() - self.start

    def resume(self, step: int, seconds: float) -> None:
        r"""Goes on after so many steps and seconds."""
        self.step, self.start = step, time.monotonic() - seconds

    @property
    def progress(self) -> float:
        r"""Share of the budget that is spent, in :math:`[0, 1]`."""
        by_steps = self.step / self.num_steps if self.num_steps else 0.0
        by_time = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_steps, by_time))


def episode_warmup(position: int, episode_steps: int) -> float:
    r"""Factor of the learning rate of a batch: linear over the first fifth of its
    episode, as the optimizer begins anew, then constant.

    Example:
        >>> [episode_warmup(position, 10) for position in (0, 1, 2, 9, 10)]
        [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    return min(1.0, 5 * (position % episode_steps + 1) / episode_steps)


def warmup_cosine(progress: float, warmup: float = 0.05) -> float:
    r"""Factor of the learning rate: linear warm-up, then half a cosine to zero.

    Example:
        >>> warmup_cosine(0.05), warmup_cosine(1.0)
        (1.0, 0.0)
    """
    if progress < warmup:
        return max(progress, 1e-3 * warmup) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
