# Activates the environment `{{ environment }}` in login shells, as `conda activate` would, without starting Python.
# shellcheck shell=sh
export CONDA_PREFIX="{{ prefix }}"
export CONDA_DEFAULT_ENV="{{ environment }}"
export CONDA_SHLVL=1
case ":${PATH}:" in
    *":{{ prefix }}/bin:"*) ;;
    *) export PATH="{{ prefix }}/bin:{{ root }}/bin:${PATH}" ;;
esac
if [ -d "{{ prefix }}/etc/conda/activate.d" ]; then
    for script in "{{ prefix }}"/etc/conda/activate.d/*.sh; do
        # shellcheck disable=SC1090
        [ -r "${script}" ] && . "${script}"
    done
    unset script
fi
# Defines the `conda` function where the root prefix has conda.
if [ -r "{{ root }}/etc/profile.d/conda.sh" ]; then
    # shellcheck disable=SC1091
    . "{{ root }}/etc/profile.d/conda.sh"
fi
