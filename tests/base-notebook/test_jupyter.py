"""What hubs need of the notebook's servers."""

import shutil
from importlib import import_module

import pytest


@pytest.mark.parametrize("program", ["jupyter-lab", "jupyterhub-singleuser", "dask-scheduler", "dask-worker"])
def test_programs_are_there(program):
    assert shutil.which(program)


@pytest.mark.parametrize("module", ["jupyterlab", "jupyterhub", "dask_gateway", "ipywidgets"])
def test_modules_can_be_imported(module):
    assert import_module(module)
