"""Executes the notebook named as the second argument in a copy of the folder named as the first; looks at its plots.

A cell is to make a plot if it is tagged "plot", or if the notebook was saved with a picture below it.
"""

import base64
import json
import os
import shutil
import struct
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

folder, name, timeout = sys.argv[1], sys.argv[2], int(sys.argv[3])


def say(**line):
    os.write(1, ("\n@esker " + json.dumps(line) + "\n").encode())


def pictures(cell):
    """Bytes of the PNGs below a cell."""
    data = [output.get("data", {}).get("image/png") for output in cell.get("outputs", [])]
    return [base64.b64decode(text) for text in data if text]


def is_drawn(png):
    """Whether it is a PNG of more than a point."""
    return png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) > 33 and min(struct.unpack(">II", png[16:24])) > 1


work = "/tmp/esker-tests"
shutil.copytree(folder, work)
notebook = nbformat.read(os.path.join(work, name), as_version=4)
wanted = [
    index
    for index, cell in enumerate(notebook.cells)
    if cell.cell_type == "code" and ("plot" in cell.metadata.get("tags", []) or pictures(cell))
]
try:
    place = {"metadata": {"path": os.path.dirname(os.path.join(work, name))}}
    NotebookClient(notebook, timeout=timeout, resources=place).execute()
except CellExecutionError as error:
    failed = [any(o.output_type == "error" for o in cell.get("outputs", [])) for cell in notebook.cells]
    index = failed.index(True) if True in failed else 0
    say(cell=index + 1, fault=f"{error.ename}: {error.evalue}"[:500])
except BaseException as error:  # a kernel that dies, a cell that takes too long
    say(cell=0, fault=f"{type(error).__name__}: {error}"[:500])
else:
    for index in wanted:
        if not any(map(is_drawn, pictures(notebook.cells[index]))):
            say(cell=index + 1, fault="no plot was drawn")
    say(end=True, plots=len(wanted))
