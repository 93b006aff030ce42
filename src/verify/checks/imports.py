"""Imports the modules named as arguments, one after another, and tells on standard output what happened.

A line begins with a mark, so that what modules print themselves is told apart. When a module takes the process with
it, its "begin" is the last line.
"""

import importlib
import importlib.machinery
import json
import os
import sys

compiled = []
original = importlib.machinery.SourceFileLoader.source_to_code


def recording(self, data, path, *args, **kwargs):
    """Called by the import system exactly when no valid byte code was found."""
    compiled.append(str(path))
    return original(self, data, path, *args, **kwargs)


importlib.machinery.SourceFileLoader.source_to_code = recording


def say(**line):
    os.write(1, ("\n@esker " + json.dumps(line) + "\n").encode())


for name in sys.argv[1:]:
    say(begin=name)
    try:
        importlib.import_module(name)
    except BaseException as error:  # a module may even call exit()
        say(failed=name, reason=f"{type(error).__name__}: {error}"[:500])
say(compiled=sorted({path for path in compiled if path.startswith(sys.prefix)}))
# Threads and handlers of imported modules have no say in how this ends.
sys.stdout.flush()
os._exit(0)
