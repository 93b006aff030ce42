"""Runs pytest on a copy of the folder named as the first argument, with what is lent in the second behind all that the
image has itself."""

import os
import shutil
import sys

tests, lent = sys.argv[1], sys.argv[2]
sys.path.append(lent)
import pytest  # noqa: E402

work = "/tmp/esker-tests"
shutil.copytree(tests, work)
os.chdir(work)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", work, "--import-mode=importlib", work]))
