"""What ends a command from outside: SIGTERM (systemd, Slurm, Kubernetes), SIGHUP (a terminal)."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ended(KeyboardInterrupt):
    """A signal came that ends the command as Ctrl-C does.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Raise `Ended` in the main thread when such a signal comes, each time."""

    def end(number: int, _: Any) -> NoReturn:
        raise Ended(number)

    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows lacks one
    is_main = threading.current_thread() is threading.main_thread()  # no other may set a handler
    # what nohup has told to ignore stays ignored
    ours = [n for n in numbers if is_main and n and signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
