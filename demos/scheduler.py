# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`Scheduler` alone: calls on an executor that start when the futures they depend on are done."""

from concurrent.futures import Future, ThreadPoolExecutor

from parman import Scheduler

log: list[str] = []


def step(name: str) -> str:
    """Do something that others depend on."""
    log.append(name)
    if name == "bake the fish":
        raise OSError("the oven is broken")
    return f"{name}: done"


with ThreadPoolExecutor(4) as executor, Scheduler(executor.submit) as scheduler:

    def schedule(name: str, *dependencies: "Future[str]") -> "Future[str]":
        """Submit a step that comes after others."""
        return scheduler.submit([step, name], dependencies=dependencies)

    peel = schedule("peel the potatoes")
    boil = schedule("boil them", peel)
    mash = schedule("mash them", boil)
    fish = schedule("bake the fish", mash)
    serve = schedule("serve", mash, fish)

print(*log, sep="\n")
print(mash.result())
print("serve:", repr(serve.exception()))
