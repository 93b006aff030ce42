"""A stand-in for micromamba: the part of its command line that images use, done by rattler.

What it does not know it refuses, so that a command that works here is one that micromamba takes, too; what it takes
means what it means there. Everything it needs lies beside it: nothing of the machine is used but its C library and
a shell, and nothing depends on where it was unpacked.
"""

import os
import sys

import commands
import options
from problem import Problem


def main():
    try:
        status = commands.run(options.parse(sys.argv[1:]))
        sys.stdout.flush()
        return status
    except Problem as problem:
        told = str(problem)
    except KeyboardInterrupt:
        told = "interrupted"
    except SystemExit as end:  # argparse's --help
        return end.code
    except Exception as error:  # rattler's errors have no class in common
        told = f"{type(error).__name__}: {error}"
    print(f"error    {told}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    # Not sys.exit: after an error rattler's threads may still be at work, and would fall over a Python that is ending.
    os._exit(main())
