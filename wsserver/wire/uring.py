"""io_uring (Linux) through ctypes: sends the same bytes to many sockets with one system call.

The layout of the shared memory is that of ``linux/io_uring.h``; see also io_uring_setup(2) and
io_uring_enter(2). No send may block (``MSG_DONTWAIT``), so each is either done or refused when the
call returns, and none is in progress between two calls. The kernel accesses the shared memory only
within a call of this thread: no memory barriers are needed.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

ENTRIES: Final = 1024
"""Maximum of sends in one system call; a power of two. They take about 100 KB of memory."""

_SETUP: Final = 425
_ENTER: Final = 426
"""Numbers of the system calls: the same on all architectures of Linux with Python."""

_RINGS_OFFSET: Final = 0
_SUBMISSIONS_OFFSET: Final = 0x10000000
"""Offsets to map: both rings, and the array of submissions."""

_FEATURES: Final = 1 << 0 | 1 << 11
"""Both rings in one mapping (5.4); sends that succeed need not be reported (5.17)."""

_SUBMISSION: Final = struct.Struct("=BBHiQQIIQ24x")
"""opcode, flags, priority, descriptor, offset, address, size, flags of the send, user data."""
_SEND: Final = 26
_SKIP_SUCCESS: Final = 1 << 6
"""Report only sends that did not succeed."""
_SEND_FLAGS: Final = 0x40 | 0x100 | 0x4000
"""MSG_DONTWAIT, MSG_WAITALL, MSG_NOSIGNAL. With the second one a short send is not a success."""
_COMPLETION_BYTES: Final = 16
"""user data (8), result (4), flags (4)"""

_U32: Final = 0xFFFFFFFF

Results = list[tuple[int, int]]
"""``(index, result)``: bytes accepted, or a negative error number, as the kernel reports it."""


class Ring:
    """The two rings, for sending only.

    Raises ``OSError`` where io_uring is missing, forbidden, or lacks a needed feature. For the
    process that made it, and one thread at a time.
    """

    def __init__(self, entries: int = ENTRIES) -> None:
        setup, self._enter = _system_calls()
        parameters = (ctypes.c_uint32 * 30)()
        self._fd: int = setup(_SETUP, entries, ctypes.addressof(parameters))
        if self._fd < 0:
            raise _last_error()
        self._maps: list[mmap.mmap] = []
        self._views: list[memoryview] = []
        self._filled: Sequence[int] | None = None
        """The array whose descriptors the submissions have."""
        try:
            values = list(parameters)
            if values[5] & _FEATURES != _FEATURES:
                raise OSError(errno.ENOSYS, "the kernel's io_uring is too old")
            self._lay_out(values[0], values[1], values[10:20], values[20:30])
        except BaseException:
            self.close()
            raise

    def send_all(self, fds: Sequence[int], data: bytes) -> Results:
        """Send to each socket without blocking; return those that did not accept everything.

        The descriptors must be distinct: a refused send does not hold up a later one.
        """
        address = _address_of(data)
        results: Results = []
        for begin in range(0, len(fds), self._entries):
            count = self._fill(fds, begin)
            self._addresses[:count] = array("Q", (address,)) * count
            self._sizes[:count] = array("I", (len(data),)) * count
            results += self._submit(count, begin)
        return results

    def send_each(self, fds: Sequence[int], frames: Sequence[bytes]) -> Results:
        """The same with other bytes for each socket."""
        joined = b"".join(frames)
        sizes = array("I", map(len, frames))
        addresses = array("Q", accumulate(sizes, initial=_address_of(joined)))
        results: Results = []
        for begin in range(0, len(fds), self._entries):
            count = self._fill(fds, begin)
            self._addresses[:count] = addresses[begin : begin + count]
            self._sizes[:count] = sizes[begin : begin + count]
            results += self._submit(count, begin)
        return results

    def _fill(self, fds: Sequence[int], begin: int) -> int:
        """Write descriptors from there on into the submissions; return how many they are.

        Those of an array that is there already are left: nobody changes an array.
        """
        count = min(len(fds) - begin, self._entries)
        is_whole = count == len(fds) and isinstance(fds, array)
        if fds is not self._filled or not is_whole:
            self._fds[:count] = array("i", fds[begin : begin + count])
            self._filled = fds if is_whole else None
        return count

    def _submit(self, count: int, begin: int) -> Results:
        """Send the first submissions; ``begin``: index of the first one."""
        tail = self._ring[self._sq_tail]
        first = tail & (self._entries - 1)
        before_end = min(count, self._entries - first)
        self._order[first : first + before_end] = self._slots[:before_end]
        self._order[: count - before_end] = self._slots[before_end:count]
        self._ring[self._sq_tail] = (tail + count) & _U32
        self._enter(_ENTER, self._fd, count, 0, 0, None, 0)
        head = self._ring[self._sq_head]
        submitted = (head - tail) & _U32
        results: Results = []
        if submitted < count:  # the kernel is short of memory: withdrawn, for a later try
            self._ring[self._sq_tail] = head
            results += [(begin + index, -errno.EAGAIN) for index in range(submitted, count)]
        if self._ring[self._cq_head] != self._ring[self._cq_tail]:
            results += [(begin + slot, result) for slot, result in self._reported()]
        return results

    def close(self) -> None:
        """Release memory and descriptors; idempotent."""
        for view in self._views:
            view.release()
        for mapped in self._maps:
            mapped.close()  # each has duplicated the descriptor
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lay_out(self, entries: int, completions: int, sq: list[int], cq: list[int]) -> None:
        """Map the shared memory, and fill in the constant fields of all submissions.

        ``sq``, ``cq``: offsets of head, tail and so on in the rings, in bytes.
        """
        order_at, completions_at = sq[6], cq[5]
        completions_end = completions_at + _COMPLETION_BYTES * completions
        rings = self._map(_RINGS_OFFSET, max(order_at + 4 * entries, completions_end))
        submissions = self._map(_SUBMISSIONS_OFFSET, _SUBMISSION.size * entries)
        self._entries = entries
        self._completions = completions
        self._sq_head, self._sq_tail = sq[0] // 4, sq[1] // 4
        self._cq_head, self._cq_tail = cq[0] // 4, cq[1] // 4
        self._ring = self._view(memoryview(rings).cast("I"))
        self._reports = self._view(memoryview(rings)[completions_at:completions_end].cast("i"))
        self._order = self._view(memoryview(rings)[order_at : order_at + 4 * entries].cast("I"))
        self._slots = memoryview(array("I", range(entries)))
        for slot in range(entries):
            _SUBMISSION.pack_into(
                *(submissions, slot * _SUBMISSION.size),
                *(_SEND, _SKIP_SUCCESS, 0, -1, 0, 0, 0, _SEND_FLAGS, slot),
            )
        # Three fields, each of all submissions.
        self._fds = self._view(memoryview(submissions).cast("i")[1::16])
        self._addresses = self._view(memoryview(submissions).cast("Q")[2::8])
        self._sizes = self._view(memoryview(submissions).cast("I")[6::16])

    def _map(self, offset: int, size: int) -> mmap.mmap:
        mapped = mmap.mmap(self._fd, size, offset=offset)
        self._maps.append(mapped)
        return mapped

    def _view(self, view: memoryview) -> memoryview:
        self._views.append(view)
        return view

    def _reported(self) -> Results:
        """Consume the completions: slots and their results."""
        head, tail = self._ring[self._cq_head], self._ring[self._cq_tail]
        first = head & (self._completions - 1)
        count = (tail - head) & _U32
        places = [4 * ((first + number) & (self._completions - 1)) for number in range(count)]
        self._ring[self._cq_head] = tail
        return [(self._reports[place], self._reports[place + 2]) for place in places]


def open_ring(entries: int = ENTRIES) -> Ring:
    """Make a ring and test it; raises ``OSError`` if it does not work as expected."""
    ring = Ring(entries)
    try:
        if not _is_exact(ring):
            raise OSError(errno.ENOTSUP, "the kernel's io_uring reports short sends differently")
    except BaseException:
        ring.close()
        raise
    return ring


def _is_exact(ring: Ring) -> bool:
    """Test what differs between kernels: a short send, a refused one, a broken one."""
    near, far = socket.socketpair()
    broken, gone = socket.socketpair()
    with near, far, broken:
        gone.close()
        for sock in (near, far, broken):
            sock.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        data = bytes(range(256)) * 2048
        first = dict(ring.send_all([near.fileno(), broken.fileno()], data))
        if first.get(1) != -errno.EPIPE or not 0 < first.get(0, 0) < len(data):
            return False
        if ring.send_all([near.fileno()], data) != [(0, -errno.EAGAIN)]:
            return False
        if _received(far) != data[: first[0]]:
            return False
        return not ring.send_all([near.fileno()], b"all") and _received(far) == b"all"


def _address_of(data: bytes) -> int:
    """Where the bytes are; valid while the object lives."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _received(sock: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            received += sock.recv(1 << 20)
        except BlockingIOError:
            return received


def _system_calls() -> tuple[Callable[..., int], Callable[..., int]]:
    """io_uring_setup(2) and io_uring_enter(2); the C library has no functions for them."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "not Linux")
    library = ctypes.CDLL(None)
    u32, pointer = ctypes.c_uint32, ctypes.c_void_p

    def system_call(*types: Any) -> Callable[..., int]:
        prototype = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *types, use_errno=True)
        return prototype(("syscall", library))

    return (system_call(u32, pointer), system_call(u32, u32, u32, u32, pointer, ctypes.c_size_t))


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
