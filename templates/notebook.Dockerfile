# {{ image }}: what this folder asks for, on {{ root }}.
#
# Rendered by `esker render` from {{ template }}, esker.yml and the locks: change those, not this file.
# {{ root }} does the work: its ONBUILD steps run right after FROM, and install
# {{ locks | join(", ") }}, whichever is of the platform; one that is not there fails the build.

ARG BASE_TAG={{ base_tag }}
ARG BASE_IMAGE={{ base_name }}:${BASE_TAG}
# The folder is only read: hubs lay a volume over the home directory.
ARG REPO_DIR=/srv/repo
{% for arg in build_args %}
ARG {{ arg }}
{% endfor %}
{% block base %}
FROM ${BASE_IMAGE}
{% endblock %}
{% if labels %}
LABEL {{ labels | join(" \\\n      ") }}
{% endif %}
ENV {{ env | join(" \\\n    ") }}
{% for file in files %}
COPY --chown={{ file.owner }} {{ file.source }} /{{ file.path }}
{% endfor %}
{% block last %}
{% endblock %}
