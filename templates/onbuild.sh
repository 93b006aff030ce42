#!/bin/bash
# Builds what a folder asks for into /srv/conda: called by the ONBUILD steps of {{ image }}, and by its own Dockerfile
# for the root prefix. Every step fails when any command of it fails.
#
#   onbuild root            the root prefix, of the explicit lock in /srv/onbuild/files/environment
#   onbuild system          apt.txt, preBuild, jupyter_notebook_config.py (as root)
#   onbuild environment     the environment `{{ environment }}`: locks before environment.yml before the default
#   onbuild finish          requirements.txt, postBuild, start, of the copy of the folder in $REPO_DIR
#
# Files are those of binder/, else of .binder/, else of the folder itself.
set -euo pipefail
# A pattern that nothing matches is nothing.
shopt -s nullglob

files=/srv/onbuild/files
root_prefix={{ root_prefix }}
micromamba=$root_prefix/bin/micromamba
prefix={{ prefix }}
# Where https:// is fetched from: https:/ as it is, or a mirror's http://HOST:PORT/https.
mirror=${PACKAGE_MIRROR:-https:/}
repository=${REPO_DIR:-$HOME}

fail() {
    echo "error: $*" >&2
    exit 1
}

# BuildKit says for which platform it builds; the classic builder does not, and the system knows.
subdir() {
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in
        amd64) echo linux-64 ;;
        arm64) echo linux-aarch64 ;;
        *) fail "there are no locks for ${TARGETARCH:-$(dpkg --print-architecture)}" ;;
    esac
}

# chosen STEP: where the files of a step are. A binder/ with nothing in it but a Dockerfile is none: see the anchor of COPY.
chosen() {
    local binder dotted
    binder=$(has_files "$files/binder")
    dotted=$(has_files "$files/.binder")
    if [ -n "$binder" ] && [ -n "$dotted" ]; then
        fail 'there are files in both binder/ and .binder/; keep one of them'
    elif [ -n "$binder" ]; then
        echo "$files/binder"
    elif [ -n "$dotted" ]; then
        echo "$files/.binder"
    else
        echo "$files/$1"
    fi
}

has_files() {
    [ ! -d "$1" ] || find "$1" -type f ! -name Dockerfile -print -quit
}

# conda PREFIX ARGUMENT...: makes an environment. Every package comes with its records, so the packages themselves are of no
# use to anyone afterwards, nor are the records' paths of them.
conda() {
    local cache=${PACKAGE_CACHE:-/tmp/packages}
    MAMBA_ROOT_PREFIX=$root_prefix CONDA_PKGS_DIRS=$cache "$micromamba" create --yes --prefix "$@"
    find "$1/conda-meta" -name '*.json' -exec sed -i "s#\"$cache/[^\"]*\"#\"\"#g" {} +
    [ -n "${PACKAGE_CACHE:-}" ] || rm -rf "$cache"
}

# create PREFIX LOCK: what an explicit lock lists, each package checked with the hash that is locked; then pip's packages.
create() {
    local lock pip
    lock=$(mktemp --suffix=.lock)
    sed "s#^https:/#$mirror#" "$2" > "$lock"
    conda "$1" --file "$lock"
    # The records tell where a package is from, not through which mirror it came.
    [ "$mirror" = https:/ ] || find "$1/conda-meta" -type f -exec sed -i "s#$mirror/#https://#g" {} +
    pip=$(mktemp --suffix=.txt)
    sed -n 's/^# pip //p' "$2" > "$pip"
    if [ -s "$pip" ]; then
        "$1/bin/python" -m pip install --no-deps --no-cache-dir --require-hashes --requirement "$pip"
    fi
    rm "$lock" "$pip"
}

# strip PREFIX: removes what nobody needs in a notebook. The last pattern that fits a file decides.
strip() {
    local all taken
    all=$(mktemp)
    taken=$(mktemp)
    find "$1" -type f -not -path "$1/conda-meta/*" -not -path "$1/envs/*" -printf '%P\n' > "$all"
{% for rule in strip %}
    rule {{ rule.verb }} '{{ rule.regex }}' "$all" "$taken"
{% endfor %}
    (cd "$1" && xargs --no-run-if-empty --delimiter '\n' rm --) < "$taken"
    rm "$all" "$taken"
}

# rule take|keep REGEX ALL TAKEN: moves the lines that fit from ALL, to TAKEN if they are taken.
rule() {
    [ "$1" = keep ] || grep -E "$2" "$3" >> "$4" || [ $? -eq 1 ]
    grep -vE "$2" "$3" > "$3.rest" || [ $? -eq 1 ]
    mv "$3.rest" "$3"
}

# locked_debs LOCK PLATFORM: what an apt-lock.yml lists for a platform, as `NAME VERSION URL SHA256` a line.
locked_debs() {
    awk -v platform="$2:" '
        /^  [a-z]/ { inside = ($1 == platform) }
        inside && /^ *- name:/ { name = $3 }
        inside && $1 == "version:" { version = $2 }
        inside && $1 == "url:" { url = $2 }
        inside && $1 == "sha256:" { print name, version, url, $2 }
    ' "$1" | tr -d "\"'"
}

# Installs the .debs of a lock that the system does not have yet, each checked with the hash that is locked.
install_locked() {
    local name version url sha256 debs
    debs=$(mktemp --directory)
    # apt reads them as its own user.
    chmod 0755 "$debs"
    while read -r name version url sha256; do
        [ "$(dpkg-query --show --showformat '${Version}' "$name" 2> /dev/null)" != "$version" ] || continue
        # Plain HTTP will do for what is checked, and takes no certificates.
        /usr/lib/apt/apt-helper download-file "${url/#https:/http:}" "$debs/$name.deb" "SHA256:$sha256"
    done
    local found=("$debs"/*.deb)
    if [ -n "${found[*]}" ]; then
        apt-get install --yes --no-install-recommends --no-download "${found[@]}"
    fi
    rm -r "$debs"
}

# Installs apt.txt: what its lock says if there is one, else what the archive has today.
install_debian() {
    local platform lock=$1/apt-lock.yml
    if [ -f "$lock" ]; then
        platform=linux/${TARGETARCH:-$(dpkg --print-architecture)}
        grep -q "^  $platform:" "$lock" || fail "apt-lock.yml is not for $platform"
        locked_debs "$lock" "$platform" > /tmp/debs
        install_locked < /tmp/debs
        rm /tmp/debs
    else
        sed 's/#.*//' "$1/apt.txt" | tr -s '[:space:]' '\n' | sed '/^$/d' > /tmp/names
        if [ -s /tmp/names ]; then
            apt-get update
            xargs apt-get install --yes --no-install-recommends < /tmp/names
        fi
        rm /tmp/names
    fi
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt/* /var/log/dpkg.log \
        /var/log/alternatives.log
}

root() {
    local bootstrap subdir
    subdir=$(subdir)
    bootstrap=$(mktemp --directory)
    (cd "$files/environment" && grep -F " micromamba-$subdir.tar.bz2" micromamba.sha256 | sha256sum --check --strict -)
    if ! command -v bzip2 > /dev/null; then
        # In a stage that is thrown away: what comes of it has just been checked.
        apt-get update
        apt-get install --yes --no-install-recommends bzip2
    fi
    tar --extract --bzip2 --directory "$bootstrap" --file "$files/environment/micromamba-$subdir.tar.bz2"
    micromamba=$bootstrap/bin/micromamba
    [ -f "$files/environment/conda-$subdir.lock" ] || fail "there is no conda-$subdir.lock"
    create "$root_prefix" "$files/environment/conda-$subdir.lock"
    strip "$root_prefix"
    rm -rf "$bootstrap"
}

system() {
    local folder
    # The steps that follow are the user's.
    mkdir -p "$files/binder" "$files/.binder" "$files/system" "$files/environment"
    chown -R {{ owner }} "$files"
    folder=$(chosen system)
    if [ -f "$folder/apt.txt" ] || [ -f "$folder/apt-lock.yml" ]; then
        install_debian "$folder"
    fi
    if [ -f "$folder/preBuild" ]; then
        chmod +x "$folder/preBuild"
        (cd "$folder" && ./preBuild)
    fi
    if [ -f "$folder/jupyter_notebook_config.py" ]; then
        install -D --mode 0644 "$folder/jupyter_notebook_config.py" /etc/jupyter/jupyter_notebook_config.py
    fi
    # From here on, login shells have the environment.
    install --mode 0644 /srv/onbuild/init_conda.sh /etc/profile.d/init_conda.sh
}

environment() {
    local folder lock locks environment
    folder=$(chosen environment)
    lock=$folder/conda-$(subdir).lock
    locks=("$folder"/conda-linux-*.lock)
    environment=("$folder"/environment.yml "$folder"/environment.yaml)
    if [ -f "$lock" ]; then
        create "$prefix" "$lock"
    elif [ -f "$folder/conda-lock.yml" ]; then
        grep -qE "^ *platform: *$(subdir) *$" "$folder/conda-lock.yml" || fail "conda-lock.yml is not for $(subdir)"
        conda "$prefix" --file "$folder/conda-lock.yml"
    elif [ -n "${locks[*]}" ]; then
        # An environment.yml beside locks of other platforms is what they were made of: solving it would be another image.
        fail "there is no conda-$(subdir).lock, only ${locks[*]##*/}"
    elif [ -f "${environment[0]}" ]; then
        (cd "$folder" && conda "$prefix" --file "${environment[0]}")
    elif [ -f "${environment[1]}" ]; then
        (cd "$folder" && conda "$prefix" --file "${environment[1]}")
    else
        # Words, as there may be several packages.
        # shellcheck disable=SC2086
        conda "$prefix" ${DEFAULT_PACKAGES:?}
    fi
    strip "$prefix"
}

finish() {
    local folder
    # The same folder in the repository, where files may name those beside them.
    folder=$(chosen .)
    folder=$repository/${folder##*/}
    # What packages have in activate.d need not hold up to this script's strictness.
    set +eu
    # shellcheck disable=SC1091
    . /etc/profile.d/init_conda.sh
    set -eu
    cd "$repository"
    if [ -f "$folder/requirements.txt" ]; then
        python -m pip install --no-cache-dir --requirement "$folder/requirements.txt"
    fi
    if [ -f "$folder/postBuild" ]; then
        chmod +x "$folder/postBuild"
        "$folder/postBuild"
    fi
    if [ -f "$folder/start" ]; then
        install --mode 0755 "$folder/start" /srv/start
    fi
    cd /
    find "$files" -mindepth 2 -delete
    # A folder that is only there to be built from has gone to a place of its own.
    [ "$repository" = "$HOME" ] || rm -rf "$repository"
    rm -rf "$HOME/.cache"
}

case "${1:-}" in
    root | system | environment | finish) "$1" ;;
    *) fail "usage: onbuild root|system|environment|finish" ;;
esac
