# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND interpreter-exit
# RUNNERS serial threads:2 processes:2
# EXPECT error contains=fit|7.0
# EXIT 1
"""A script can't call itself a success at the end of its block, with a call that has failed there unseen."""

import sys

import numpy as np

from parman import resolve, task, workflow


@task
def fit(x: np.ndarray) -> float:
    if x[0] == 1:
        raise ValueError("the fit did not converge")
    return float(x.max())


def main() -> None:
    with workflow(sys.argv[1]):
        fits = [fit(np.full(1_250_000, float(i))) for i in range(8)]
        print(resolve(fits[7]))
        while any(hasattr(one, "done") and not one.done() for one in fits):
            pass
        sys.exit()


main()
