# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# The three-hole potential of P. Metzner, C. Schütte, E. Vanden-Eijnden, J. Chem. Phys. 125, 084110 (2006).
# Reads lines "x y", writes lines "x y energy".

function hill(x, y) { return exp(-x * x - y * y) }

{
    x = $1
    y = $2
    holes = -3 * hill(x, y - 5 / 3) - 5 * hill(x - 1, y) - 5 * hill(x + 1, y)
    walls = 0.2 * x ^ 4 + 0.2 * (y - 1 / 3) ^ 4
    printf "%s %s %.9f\n", x, y, 3 * hill(x, y - 1 / 3) + holes + walls
}
