#!/bin/sh
# A stand-in for micromamba: the command line of it that images use, with rattler inside (see app/__main__.py).
# Runs the Python beside it, wherever the two were unpacked and by whichever link this file was called.
home=$(dirname -- "$(readlink -f -- "$0")")/../lib/micromamba
exec "$home/bin/python3.11" -I -S -B -X utf8 "$home/app" "$@"
