"""Ranks that are threads of this process: a training over MPI in milliseconds, without mpiexec."""

import itertools
import pickle
import threading
from types import SimpleNamespace
from unittest import mock

import numpy as np

from charrnn.training import mpi

SECONDS = 600  # until a rank that waits for others gives up
IN_PLACE = object()


class Comm:
    """What a training needs of an MPI communicator. All of it is made of `allgather`."""

    def __init__(self, rank, size, barrier, table):
        self.rank, self.size, self.barrier, self.table = rank, size, barrier, table

    def Dup(self):
        return self

    def Free(self):
        pass

    def Abort(self, code):
        self.barrier.abort()

    def allgather(self, one):
        self.table[self.rank] = pickle.dumps(one)
        self.barrier.wait(SECONDS)
        found = [pickle.loads(content) for content in self.table]
        self.barrier.wait(SECONDS)
        return found

    def gather(self, one):
        found = self.allgather(one)
        return None if self.rank else found

    def bcast(self, one, root=0):
        return self.allgather(one if self.rank == root else None)[root]

    def Bcast(self, block):
        block[...] = self.bcast(block)

    def allreduce(self, fine, _):
        return all(self.allgather(fine))

    def Allgatherv(self, own, into):
        """Into is a block, how much of it each rank has, and perhaps where, and of which type."""
        block, counts, *more = into
        starts = more[0] if more else [0, *np.cumsum(counts)[:-1]]
        if own is IN_PLACE:
            own = block[starts[self.rank] :][: counts[self.rank]]
        for start, found in zip(starts, self.allgather(own), strict=True):
            block[start : start + len(found)] = found

    def Gatherv(self, own, into):
        found = self.allgather(None if own is IN_PLACE else own)
        if into is not None:
            block, _, starts, _ = into
            for start, one in itertools.islice(zip(starts, found, strict=True), 1, None):
                block[start : start + len(one)] = one

    def Irecv(self, block, rank):
        return self, block, rank, None

    def Isend(self, block, rank):
        return self, None, rank, block


def wait_all(requests):
    """Send and receive: all ranks are here at the same time."""
    if requests:
        own = requests[0][0]
        sent = own.allgather({rank: block for _, _, rank, block in requests if block is not None})
        for _, into, rank, block in requests:
            if block is None:
                into[...] = sent[rank][own.rank]


MPI = SimpleNamespace(
    **{"Comm": Comm, "Intracomm": Comm, "COMM_NULL": None, "IN_PLACE": IN_PLACE},
    **{"FLOAT": None, "DOUBLE": None, "LAND": None},
    Request=SimpleNamespace(Waitall=wait_all),
)


def train(size, call):
    """Return what call, given a communicator, returns in each of so many ranks, or raise."""
    barrier, table, found = threading.Barrier(size), [None] * size, [None] * size

    def run(rank):
        try:
            found[rank] = call(Comm(rank, size, barrier, table))
        except BaseException as error:
            found[rank] = error
            barrier.abort()

    with mock.patch.object(mpi, "_mpi", return_value=MPI):
        others = [threading.Thread(target=run, args=(rank,)) for rank in range(1, size)]
        for thread in others:
            thread.start()
        run(0)
        for thread in others:
            thread.join()
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found
