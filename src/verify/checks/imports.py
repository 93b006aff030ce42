"""Imports modules, one after another, and tells on standard output what happened. Then runs programs of Python, each in a
copy of this process: most of what they take by themselves is importing the same again.

The first argument is JSON: the programs by name, each a list of words. The others are modules. A line begins with a mark, so
that what modules print themselves is told apart. When a module takes the process with it, its "begin" is the last line.
Nothing is said of a program that another interpreter would run.
"""

import importlib
import importlib.machinery
import json
import os
import runpy
import shutil
import sys
import tempfile
import traceback

# How much is kept of an output of a program, in bytes.
LIMIT = 1 << 16

compiled = []
original = importlib.machinery.SourceFileLoader.source_to_code


def recording(self, data, path, *args, **kwargs):
    """Called by the import system exactly when no valid byte code was found."""
    compiled.append(str(path))
    return original(self, data, path, *args, **kwargs)


importlib.machinery.SourceFileLoader.source_to_code = recording


def say(**line):
    os.write(1, ("\n@esker " + json.dumps(line) + "\n").encode())


def is_this(interpreter):
    return os.path.realpath(interpreter) == os.path.realpath(sys.executable)


def as_main(words):
    """Returns what runs `words` as their interpreter would once it has started; None if that is another interpreter."""
    program = shutil.which(words[0])
    if program is None:
        return None
    if is_this(program):
        option, text = words[1:3]
        sys.argv = [text if option == "-m" else option, *words[3:]]
        if option == "-m":
            return lambda: runpy.run_module(text, run_name="__main__", alter_sys=True)
        return lambda: exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
    with open(program, "rb") as file:
        line = file.readline(256)
    if not line.startswith(b"#!") or not is_this(os.fsdecode(line[2:].strip())):
        return None
    sys.argv = [program, *words[1:]]
    return lambda: runpy.run_path(program, run_name="__main__")


def ended(main):
    """Runs it, and returns the exit code."""
    try:
        main()
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    return 1


def run(words):
    """Exit code, or the number of a signal below 0, and both outputs of a program; None if another interpreter runs it."""
    main = as_main(words)
    if main is None:
        return None
    outputs = [tempfile.TemporaryFile() for _ in (1, 2)]
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number, file in zip((1, 2), outputs):
                os.dup2(file.fileno(), number)
            code = ended(main)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code & 0xFF)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in outputs:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LIMIT))
        texts.append(file.read().decode(errors="replace"))
    return code, *texts


programs, modules = json.loads(sys.argv[1]), sys.argv[2:]
for name in modules:
    say(begin=name)
    try:
        importlib.import_module(name)
    except BaseException as error:  # a module may even call exit()
        say(failed=name, reason=f"{type(error).__name__}: {error}"[:500])
say(compiled=sorted({path for path in compiled if path.startswith(sys.prefix)}))
for name, words in programs.items():
    try:
        came = run(words)
    except BaseException:  # they run by themselves then
        traceback.print_exc()
    else:
        if came is not None:
            say(ran=name, code=came[0], stdout=came[1], stderr=came[2])
# Threads and handlers of imported modules have no say in how this ends.
sys.stdout.flush()
os._exit(0)
