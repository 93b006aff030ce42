"""Arrays, their formats and their projections."""

import numpy as np
import pytest


def test_netcdf_goes_round(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    data = xarray.Dataset({"x": ("t", np.arange(5.0))})
    data.to_netcdf(tmp_path / "data.nc")
    with xarray.open_dataset(tmp_path / "data.nc") as read:
        xarray.testing.assert_equal(data, read)


def test_projections_know_their_database():
    pyproj = pytest.importorskip("pyproj")
    east, north = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(0, 0)
    assert (east, north) == pytest.approx((0, 0), abs=1e-6)
