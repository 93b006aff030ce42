#!/bin/sh
# The image's command: a hub's single-user server where a hub started this container, JupyterLab elsewhere.
# Arguments are handed on: DockerSpawner appends its own to the image's command.
if [ -n "${JUPYTERHUB_API_TOKEN:-}" ]; then
    exec jupyterhub-singleuser "$@"
fi
exec jupyter lab --ip=0.0.0.0 --port=8888 --no-browser "$@"
