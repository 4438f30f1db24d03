import signal
import threading
from typing import Any


class Interrupt:
    r"""Within it, Ctrl-C is noted in :obj:`pending` rather than raised, so that a step
    is never cut in two; the second one is raised.

    Example:
        >>> import os, signal
        >>> with Interrupt() as interrupt:
        ...     os.kill(os.getpid(), signal.SIGINT)
        >>> interrupt.pending
        True
    """

    def __init__(self) -> None:
        self.pending = False

    def __enter__(self) -> 'Interrupt':
        # Other threads cannot handle signals, nor do they receive them.
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *args: Any) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *args: Any) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True
