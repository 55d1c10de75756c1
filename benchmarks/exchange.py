"""What a step over several processes costs besides its products: sums of gradients in a fixed tree, and weights to all, by MPI.

    pip install mpi4py mpich
    mpiexec -n 2 python benchmarks/exchange.py [--hidden-size 512] [--batch-size 64]

A gradient is that of a recurrent layer with 65 characters. Each process has some of 8 shards, sums neighbours as far as it has them,
sends each other process its part of the parameters, adds up what it gets, updates it, and all get the new weights. The bits do not
depend on the number of processes: the last line is the same for any. Products are those of training on the process' own streams.
"""

import argparse
import hashlib
import itertools
import time

import numpy as np
from mpi4py import MPI

from charrnn.network import Network

SHARDS, V, T = 8, 65, 25


def subtrees(first, stop):
    """The largest whole subtrees of a binary tree over shards that cover shards first to stop: pairs (height, number)."""
    while first < stop:
        height = 0
        while first % (2 << height) == 0 and first + (2 << height) <= stop:
            height += 1
        yield height, first >> height
        first += 1 << height


def summed(parts):
    """The sum of arrays by (height, number) in the tree over all shards."""
    for height in range(SHARDS.bit_length() - 1):
        for number in sorted(number for at, number in list(parts) if at == height and number % 2 == 0):
            parts[height + 1, number // 2] = parts.pop((height, number)) + parts.pop((height, number + 1))
    ((root, total),) = parts.items()
    assert root == (SHARDS.bit_length() - 1, 0)
    return total


class Exchange:
    """Processes that own a part of the parameters each."""

    def __init__(self, comm, size):
        self.comm, ranks = comm, comm.size
        self.bounds = [size * rank // ranks for rank in range(ranks + 1)]
        shards = [SHARDS * rank // ranks for rank in range(ranks + 1)]
        self.trees = [list(subtrees(*pair)) for pair in itertools.pairwise(shards)]
        self.mine = range(shards[comm.rank], shards[comm.rank + 1])
        self.own = slice(*self.bounds[comm.rank : comm.rank + 2])

    def sum(self, gradients):
        """The sum over all shards of what is owned; gradients are those of this process' shards."""
        parts = {(0, shard): gradient for shard, gradient in zip(self.mine, gradients, strict=True)}
        for height, number in self.trees[self.comm.rank]:
            for at in range(height):
                for low in range(number << (height - at), (number + 1) << (height - at), 2):
                    parts[at + 1, low // 2] = parts.pop((at, low)) + parts.pop((at, low + 1))
        sent = [np.concatenate([parts[tree][a:b] for tree in sorted(parts)] or [np.empty(0, np.float32)]) for a, b in self._spans()]
        width = self.own.stop - self.own.start
        got = [np.empty(width * len(trees), np.float32) for trees in self.trees]
        requests = [self.comm.Irecv(array, source) for source, array in enumerate(got)]
        requests += [self.comm.Isend(array, target) for target, array in enumerate(sent)]
        MPI.Request.Waitall(requests)
        found = {}
        for trees, array in zip(self.trees, got, strict=True):
            found.update(zip(sorted(trees), array.reshape(len(trees), width), strict=True))
        return summed(found)

    def _spans(self):
        return itertools.pairwise(self.bounds)

    def gather(self, weights):
        """Have all processes hold the weights that each owns."""
        counts = [b - a for a, b in self._spans()]
        self.comm.Allgatherv(MPI.IN_PLACE, [weights, counts, self.bounds[:-1], MPI.FLOAT])


def seconds(comm, action, times):
    """The least time of an action that all processes take together: what others do on the machine adds to it."""
    took = []
    for _ in range(times):
        comm.Barrier()
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return comm.allreduce(min(took), MPI.MAX)


def products(H, streams):
    """An action: forward and backward of one window of so many streams, and an update that is part of it."""
    network = Network(([("rnn", H)], V), "float32")
    network.weights.block[...] = np.random.default_rng(0).normal(0, 0.01, network.weights.block.shape)
    network.memory.block[...] = 1
    work = network.workspace(T, streams, training=True)
    ids = np.random.default_rng(0).integers(0, V, (T + 1, streams)).astype(np.int32)
    return lambda: network.train_steps(work, ids[:-1], ids[1:], rate=1e-4, clip=5.0)


def main():
    """Print what was measured, on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    comm, H = MPI.COMM_WORLD, arguments.hidden_size
    size = H * H + 2 * H * V + H + V
    exchange = Exchange(comm, size)
    gradients = [np.random.default_rng(shard).standard_normal(size, np.float32) for shard in exchange.mine]
    weights, memory = np.zeros(size, np.float32), np.ones(exchange.own.stop - exchange.own.start, np.float32)

    def update():
        gradient = np.clip(exchange.sum(gradients), -5, 5)
        memory[:] += gradient * gradient
        weights[exchange.own] -= 0.1 * gradient / np.sqrt(memory)

    small, echo = np.zeros(1, np.float32), np.zeros(1, np.float32)
    figures = {
        "latency, one number to all": seconds(comm, lambda: comm.Allreduce(small, echo), 200) * 1e6,
        "sums": seconds(comm, lambda: exchange.sum(gradients), 20) * 1e6,
        "weights to all": seconds(comm, lambda: exchange.gather(weights), 20) * 1e6,
        "products of the streams": seconds(comm, products(H, arguments.batch_size // comm.size), 20) * 1e6,
    }
    for _ in range(3):
        update()
        exchange.gather(weights)
    if comm.rank == 0:
        print(f"{comm.size} processes, H={H}, B={arguments.batch_size}, T={T}, {size:,} parameters")
        for name, value in figures.items():
            print(f"{name:28}{value:10,.0f} us")
        print("sha256", hashlib.sha256(weights.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
