# Compiles Python sources that come in on standard input to the bytes of .pyc files on standard output.
#
# Request:  4 bytes length of the file name, the name, 4 bytes length of the source, the source (lengths little-endian).
# Answer:   1 byte status (0 compiled, 1 does not compile), 4 bytes length, the .pyc.
#
# Plain marshal output depends on reference counts and interned strings, that is, on what was compiled before
# (cpython#129724). Version 2 of the format has no references, so what is loaded back from it has a shape that depends on
# the content alone, and dumping that is reproducible. From 3.14 on code may hold slices, which version 2 cannot
# write: there every file is compiled in a process of its own, forked from one that never compiled anything.

import importlib.util
import marshal
import os
import sys
import warnings

warnings.simplefilter("ignore")
FORK = sys.version_info >= (3, 14) or sys.argv[1:] == ["fork"]
# Bit 0: validated by hash; bit 1 unset: the source is not checked (PEP 552).
FLAGS = (1).to_bytes(4, "little")
stdin = sys.stdin.buffer
stdout = sys.stdout.buffer


def compile_one(name, source):
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
        body = marshal.dumps(code) if FORK else marshal.dumps(marshal.loads(marshal.dumps(code, 2)), 4)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return importlib.util.MAGIC_NUMBER + FLAGS + importlib.util.source_hash(source) + body


def compile_forked(name, source):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with open(write_end, "wb") as pipe:
                pipe.write(compile_one(name, source) or b"")
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        result = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("compiling " + name + " ended a process")
    return result or None


def read(size):
    data = stdin.read(size)
    if len(data) != size:
        sys.exit(0)
    return data


def read_block():
    return read(int.from_bytes(read(4), "little"))


stdout.write(b"esker %d.%d\n" % sys.version_info[:2])
stdout.flush()
while True:
    name = read_block().decode()
    source = read_block()
    result = compile_forked(name, source) if FORK else compile_one(name, source)
    stdout.write(b"\1" if result is None else b"\0")
    stdout.write(len(result or b"").to_bytes(4, "little"))
    stdout.write(result or b"")
    stdout.flush()
