# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`WaitGraph` alone: futures that wait for futures, from any executor."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

from parman import WaitGraph

graph = WaitGraph()

with ThreadPoolExecutor() as executor:
    squares = [executor.submit(pow, base, 2) for base in range(5)]
    total = graph.submit(squares, lambda *results: sum(results))
    text = graph.submit([total], "the sum of the squares is {}".format)
    print(text.result())

by_hand: Future[int] = Future()
half = graph.submit([by_hand], lambda number: 1 / number)
after = graph.submit([half, total])
print("before:", half.done(), after.done())
by_hand.set_result(0)
print("failed:", repr(half.exception()))
print("what depends on it:", repr(after.exception()))

never: Future[int] = Future()
first = graph.submit([never])
second = graph.submit([first])
print("cancelled:", first.cancel())
wait([second])
print("what depends on it:", second.cancelled())

last: Future[int] = graph.submit([], lambda: 0)
for _ in range(10_000):
    last = graph.submit([last], lambda number: number + 1)
print("a chain of", last.result())
