"""Arrays and clusters of the demo's image."""

import numpy as np
import pytest


def test_zarr_goes_round(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(tmp_path / "data.zarr", data=np.arange(10))
    assert array[:].tolist() == list(range(10))


def test_dask_sums():
    array = pytest.importorskip("dask.array")
    assert array.ones((100, 100), chunks=10).sum().compute() == 10000
