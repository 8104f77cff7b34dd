"""SIGTERM (systemd, Slurm, Kubernetes) and SIGHUP (a closed terminal) as interrupts."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class Ended(KeyboardInterrupt):
    """A signal that ends the command as Ctrl-C does.

    Attributes:
        number: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Raise `Ended` in the main thread for each SIGTERM and SIGHUP."""

    def end(number: int, _: Any) -> NoReturn:
        raise Ended(number)

    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows lacks one
    is_main = threading.current_thread() is threading.main_thread()  # only it may set handlers
    # not SIG_DFL: nohup, for example, makes the process ignore SIGHUP, and it stays ignored
    ours = [n for n in numbers if is_main and n and signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
