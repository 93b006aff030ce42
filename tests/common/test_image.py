"""What holds in every image of this project."""

import os
import shutil
import subprocess
import sys

import pytest


def test_python_is_the_environments():
    assert sys.prefix == os.environ["CONDA_PREFIX"]
    assert shutil.which("python") == f"{sys.prefix}/bin/python"


def test_home_can_be_written(tmp_path):
    assert os.access(os.path.expanduser("~"), os.W_OK)
    (tmp_path / "file").write_text("x")


def test_programs_started_from_python_find_the_environment():
    output = subprocess.run(["python", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert output.stdout.strip() == sys.prefix


@pytest.mark.parametrize("name", ["LANG", "LC_ALL"])
def test_text_is_unicode(name):
    assert os.environ[name] == "C.UTF-8"
    assert sys.getfilesystemencoding() == "utf-8"
