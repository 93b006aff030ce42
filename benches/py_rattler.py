"""Solves one request with py-rattler: what `benches/lock.py` runs beside esker, as a process of its own.

Reads a JSON document from the file it is given: channel, cache, specs, and virtual packages by subdir. Prints how many packages.
"""

import asyncio
import json
import sys

from rattler import Gateway, GenericVirtualPackage, MatchSpec, PackageName, Version, solve
from rattler.package import BuildString


async def main(request):
    gateway = Gateway(cache_dir=request["cache"])
    solutions = [
        solve(
            sources=[request["channel"]],
            specs=[MatchSpec(spec, strict=False) for spec in request["specs"]],
            gateway=gateway,
            platforms=[subdir, "noarch"],
            virtual_packages=[
                GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
                for name, version, build in virtual_packages
            ],
        )
        for subdir, virtual_packages in request["subdirs"].items()
    ]
    print(*(len(solution) for solution in await asyncio.gather(*solutions)))


asyncio.run(main(json.load(open(sys.argv[1]))))
