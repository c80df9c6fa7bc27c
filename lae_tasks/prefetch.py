"""Work that goes ahead of whoever needs it: reading while a model computes."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def prefetch(items: Iterable[T], ahead: int) -> Iterator[T]:
    """The items in their order, made in another thread up to `ahead` before they are asked for.

    What `items` raises is raised here, after what came before it. If the iterator is closed, the
    thread ends with the item that it is at.
    """
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=ahead)
    unwanted = threading.Event()

    def give(item: Any, error: BaseException | None = None) -> None:
        while not unwanted.is_set():
            try:
                made.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                give(item)
                if unwanted.is_set():
                    return
        except BaseException as error:
            give(_END, error)
        else:
            give(_END)

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        unwanted.set()
        thread.join()
