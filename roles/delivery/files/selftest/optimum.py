# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""optimum.py FILE: whether the model that fedavg.py wrote is the one that its data were made of: weights 1, 2, 3, 4."""

from __future__ import annotations

import json
import sys

OPTIMUM = [1.0, 2.0, 3.0, 4.0]
TOLERANCE = 1e-3


def main() -> None:
    """Look."""
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            weights = [float(weight) for weight in json.load(file)["weights"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"FAIL: {sys.argv[1]}: found no model there: {error!r}")
    if len(weights) != len(OPTIMUM) or any(abs(a - b) > TOLERANCE for a, b in zip(weights, OPTIMUM)):
        sys.exit(f"FAIL: the optimum is {OPTIMUM}, the model has {weights}")


if __name__ == "__main__":
    main()
