"""System calls that Python has no function for, and the thread in which some of them have to be made."""

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

T = TypeVar("T")


@cache
def libc() -> ctypes.CDLL:
    """Return the C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    """Make the system call of this number. Raises OSError."""
    return checked(libc().syscall(number, *arguments))


def checked(answer: int) -> int:
    """Return what the C library has answered. Raises OSError where that means an error."""
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def in_a_thread(step: Callable[[], T]) -> T:
    """Take a step in a thread that ends with it: one that has entered another view must do nothing else. Raises OSError."""
    done: list[T] = []
    trouble: list[OSError] = []

    def take() -> None:
        try:
            done.append(step())
        except OSError as error:
            trouble.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return done[0]
