"""Libraries for machine learning, on the processor: what a GPU does is for `esker verify --gpus`."""

import pytest


def test_jax_differentiates():
    jax = pytest.importorskip("jax")
    assert jax.grad(lambda x: x**3)(2.0) == pytest.approx(12.0)


def test_tensorflow_multiplies():
    tensorflow = pytest.importorskip("tensorflow")
    assert tensorflow.matmul([[1.0, 2.0]], [[3.0], [4.0]]).numpy().tolist() == [[11.0]]
