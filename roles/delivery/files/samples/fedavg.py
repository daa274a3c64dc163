# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Federated averaging: each rank trains on data that never leave it, rank 0 averages the models.

    sbatch --nodes=2 --ntasks-per-node=1 --wrap 'mpirun /data/environments/ml/bin/python fedavg.py model.json'

The data are made of a linear model with the weights 1, 2, 3, 4, and each rank sees another part of the space, so that
no rank alone would find all of it well. The averaged model has to find these weights again.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from mpi4py import MPI

OPTIMUM = np.array([1.0, 2.0, 3.0, 4.0])
SAMPLES, ROUNDS, LOCAL_STEPS, RATE = 400, 300, 5, 0.1


def own_data(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The part that this rank has: most of it along an axis of its own."""
    random = np.random.default_rng(rank)
    spread = np.full(OPTIMUM.size, 0.5)
    spread[rank % OPTIMUM.size] = 1.5
    inputs = random.normal(scale=spread, size=(SAMPLES + 50 * rank, OPTIMUM.size))
    return inputs, inputs @ OPTIMUM


def train(weights: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Some steps of gradient descent on one's own data."""
    for _step in range(LOCAL_STEPS):
        weights = weights - RATE * inputs.T @ (inputs @ weights - outputs) / len(outputs)
    return weights


def main() -> None:
    """Train together; rank 0 writes the model."""
    world = MPI.COMM_WORLD
    inputs, outputs = own_data(world.rank)
    weights = np.zeros(OPTIMUM.size)
    for number in range(ROUNDS):
        weights = world.bcast(weights, root=0)
        # A rank counts by how much data it has.
        models = world.gather((len(outputs), train(weights, inputs, outputs)), root=0)
        if world.rank == 0:
            weights = sum(count * model for count, model in models) / sum(count for count, _model in models)
            if number % 50 == 0:
                print(f"round {number}: distance to the optimum {np.abs(weights - OPTIMUM).max():.6f}", flush=True)
    if world.rank == 0:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            json.dump({"ranks": world.size, "rounds": ROUNDS, "weights": weights.tolist()}, file)
        print(f"model of {world.size} ranks: {weights.round(4).tolist()}")


if __name__ == "__main__":
    main()
