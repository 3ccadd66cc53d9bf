# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Print constraints for pip: the lowest versions that setup.cfg allows. What these need in turn pip chooses.

Usage: lowest.py setup.cfg [extra ...]
"""

import configparser
import re
import sys


def normalized(name: str) -> str:
    """Return the name of a distribution in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(setup: str, *extras: str) -> None:
    """Print a line for each distribution."""
    config = configparser.ConfigParser()
    config.read(setup)
    lists = [config["options"]["install_requires"]]
    lists += [config["options.extras_require"][extra] for extra in extras]
    lowest: dict[str, str] = {}
    for line in "\n".join(lists).splitlines():
        found = re.match(r"([\w.-]+)(?:\[[^]]*\])? *>= *([\w.]+)", line.strip())
        if found:
            lowest[normalized(found[1])] = found[2]
    for name, version in lowest.items():
        print(f"{name}=={version}")


main(*sys.argv[1:])
