#!/bin/sh
# The image's command: a hub's single-user server where a hub started this container, JupyterLab elsewhere.
# Arguments are handed on: DockerSpawner appends its own to the image's command.
if [ -n "${JUPYTERHUB_API_TOKEN:-}" ]; then
    exec jupyterhub-singleuser "$@"
fi
# Reachable from outside the container, unless told otherwise: Jupyter refuses an option that is given twice.
case " $*" in
    *" --ip"[=\ ]* | *App.ip[=\ ]*) ;;
    *) set -- --ip=0.0.0.0 "$@" ;;
esac
case " $*" in
    *" --port"[=\ ]* | *App.port[=\ ]*) ;;
    *) set -- --port=8888 "$@" ;;
esac
exec jupyter lab --no-browser "$@"
