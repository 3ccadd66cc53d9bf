# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Print constraints for pip: the lowest versions that setup.cfg allows, and tested ones of what it does not name.

Usage: lowest.py setup.cfg constraints.txt [extra ...]
"""

import configparser
import re
import sys
from pathlib import Path


def normalized(name: str) -> str:
    """Return the name of a distribution in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(setup: str, tested: str, *extras: str) -> None:
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
    for line in Path(tested).read_text().splitlines():
        if "==" in line and normalized(line.split("==")[0]) not in lowest:
            print(line)


main(*sys.argv[1:])
