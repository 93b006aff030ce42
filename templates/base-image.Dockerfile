# {{ image }}: the system, the user and the root prefix of all images of this project.
#
# Rendered by `esker render` from {{ template }}, esker.yml and the locks: change those, not this file.
#
# Whoever builds FROM it gets what their folder asks for, in this order: apt.txt, preBuild, jupyter_notebook_config.py,
# the conda environment (conda-linux-64.lock or conda-lock.yml, else environment.yml, else {{ default_packages }}),
# requirements.txt, postBuild, start; all of binder/, else of .binder/, else of the folder itself. So this is a whole
# Dockerfile of a repository for Binder:
#
#     FROM {{ name }}:TAG

{% block base %}
{% if base %}
# The system below, by the digest of its index, which has every platform.
ARG BASE={{ base }}
{% else %}
# The system below, which no registry has under a name that could stand here: `esker build --engine docker` passes it.
# By hand: docker build --build-arg BASE=…
ARG BASE
{% endif %}
{% endblock %}

# ---------------------------------------------------------------------------------------------------------------------
# The root prefix is installed in a stage of its own, so that nothing of the installation stays.
FROM ${BASE} AS root
# BuildKit sets it to amd64 or arm64; without BuildKit, the system itself is asked.
ARG TARGETARCH
# Where conda packages are fetched from instead of https:/, such as http://127.0.0.1:8080/https
ARG PACKAGE_MIRROR=https:/
{% block bootstrap %}
# micromamba installs this prefix and, in images built on this one, the environment. It is locked like every package.
{% for one in micromamba %}
ADD {{ one.url }} /srv/onbuild/files/environment/micromamba-{{ one.subdir }}.tar.bz2
{% endfor %}
{% endblock %}
COPY docker/micromamba.sha256 {{ locks | join(" ") }} /srv/onbuild/files/environment/
COPY docker/onbuild docker/init_conda.sh /srv/onbuild/
{% if cache_mounts %}
RUN --mount=type=cache,id=conda-packages,target=/var/cache/conda,sharing=locked \
    PACKAGE_CACHE=/var/cache/conda bash /srv/onbuild/onbuild root
{% else %}
RUN bash /srv/onbuild/onbuild root
{% endif %}

# ---------------------------------------------------------------------------------------------------------------------
FROM ${BASE}
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG TARGETARCH
{% if labels %}
LABEL {{ labels | join(" \\\n      ") }}
{% endif %}
# Where everything is: repo2docker's places, which hubs and Binder know.
ENV {{ env | join(" \\\n    ") }}

{% block user %}
# The user, by number what JupyterHub and Binder expect. Its home is empty: hubs lay a volume over it.
RUN taken="$(awk -F: '$3 == {{ account.uid }} { print $1 }' /etc/passwd)"; \
    if [ -n "${taken}" ]; then userdel --remove "${taken}"; fi; \
    getent group {{ account.gid }} > /dev/null || groupadd --gid {{ account.gid }} {{ account.name }}; \
    useradd --uid {{ account.uid }} --gid {{ account.gid }} --no-create-home --home-dir {{ account.home }} \
        --shell {{ account.shell }} {{ account.name }}; \
    install --directory --owner {{ account.uid }} --group {{ account.gid }} {{ account.home }} /srv; \
    rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
{% endblock %}
{% block apt %}
{% if apt %}

# Debian packages, each by the hash in apt-lock.yml.
COPY apt-lock.yml apt.txt docker/onbuild docker/init_conda.sh /srv/onbuild/files/system/
RUN install -D --target-directory /srv/onbuild /srv/onbuild/files/system/init_conda.sh; \
    bash /srv/onbuild/files/system/onbuild system; \
    rm -r /srv/onbuild
{% endif %}
{% endblock %}

COPY --from=root --chown={{ owner }} /srv /srv
{% for file in files %}
COPY {% if file.owner %}--chown={{ file.owner }} {% endif %}{{ file.source }} /{{ file.path }}
{% endfor %}
RUN chmod 0755 {% for path in executables %}{{ path }} {% endfor %}/srv/onbuild/onbuild; \
    rm -r /srv/onbuild/files
{% block last %}
{% endblock %}

EXPOSE 8888
USER {{ user }}
WORKDIR {{ account.home }}
ENTRYPOINT ["/srv/start"]
CMD {{ cmd }}

# ---------------------------------------------------------------------------------------------------------------------
# What happens in an image that is built FROM this one. What changes seldom comes first, so that the builder's cache
# serves the rest; each file is matched by a pattern, as it need not be there, and beside a Dockerfile, as something has
# to match. No two steps copy to the same place: Docker's classic builder loses layers that are equal.
{% block onbuild %}
ONBUILD USER root
ONBUILD ARG TARGETARCH
ONBUILD ARG PACKAGE_MIRROR=https:/
# The packages of an environment that nothing asks for.
ONBUILD ARG DEFAULT_PACKAGES="{{ default_packages }}"
# Where the folder goes: the home directory, as on Binder. The images of this project set another, which is removed.
ONBUILD ARG REPO_DIR
{% for name in build_args %}
ONBUILD ARG {{ name }}
{% endfor %}
ONBUILD COPY --chown={{ owner }} Dockerfil[e] binde[r]/Dockerfil[e] .binde[r]/Dockerfil[e] binde[r] /srv/onbuild/files/binder/
ONBUILD COPY --chown={{ owner }} Dockerfil[e] binde[r]/Dockerfil[e] .binde[r]/Dockerfil[e] .binde[r] /srv/onbuild/files/.binder/
ONBUILD COPY --chown={{ owner }} Dockerfil[e] binde[r]/Dockerfil[e] .binde[r]/Dockerfil[e] \
    apt.tx[t] apt-lock.ym[l] preBuil[d] jupyter_notebook_config.p[y] /srv/onbuild/files/system/
ONBUILD RUN /srv/onbuild/onbuild system
ONBUILD USER {{ user }}
ONBUILD COPY --chown={{ owner }} Dockerfil[e] binde[r]/Dockerfil[e] .binde[r]/Dockerfil[e] \
    conda-linux-*.loc[k] conda-lock.ym[l] environment.ym[l] environment.yam[l] requirements.tx[t] \
    /srv/onbuild/files/environment/
ONBUILD RUN /srv/onbuild/onbuild environment
ONBUILD COPY --chown={{ owner }} . ${REPO_DIR:-{{ account.home }}}
ONBUILD RUN /srv/onbuild/onbuild finish
ONBUILD ENV CONDA_PREFIX={{ prefix }} CONDA_DEFAULT_ENV={{ environment }}
ONBUILD CMD ["/srv/serve"]
{% endblock %}
