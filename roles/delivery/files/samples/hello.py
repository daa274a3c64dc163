# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says hello from every rank: mpirun /data/environments/ml/bin/python hello.py"""

from __future__ import annotations

import os
import socket

from mpi4py import MPI

world = MPI.COMM_WORLD
node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
# Something that a rank cannot know without the others.
total = world.allreduce(world.rank)
print(f"rank {world.rank} of {world.size} {node}, sum {total}", flush=True)
