#!/bin/bash -l
# The image's entrypoint. A login shell, so that /etc/profile.d/init_conda.sh has activated the environment.
export PANGEO_ENV="{{ image }}"

# Each user's own part of the hub's scratch bucket, where the hub says there is one.
if [ -n "${PANGEO_SCRATCH_PREFIX:-}" ] && [ -n "${JUPYTERHUB_USER:-}" ]; then
    export PANGEO_SCRATCH="${PANGEO_SCRATCH_PREFIX}/${JUPYTERHUB_USER}/"
fi

# As process 1, leave reaping to an init: kernels and dask workers would stay behind as zombies.
if [ "$$" -eq 1 ] && [ -x "${CONDA_DIR}/bin/tini" ]; then
    exec "${CONDA_DIR}/bin/tini" -g -- "$@"
fi
exec "$@"
