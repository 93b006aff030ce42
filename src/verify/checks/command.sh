# Starts what stands after this, and prints the name of the first program of these that it comes to. Where `end` is set, that
# is ended then: to wait for an answer would cost as long as it takes to import a server, which other checks do.
"${command[@]}" --version >&2 &
while kill -0 $! 2> /dev/null; do
    for process in /proc/[0-9]*/cmdline; do
        # A process may have ended since it was listed.
        while IFS= read -r -d '' word; do
            case ${word##*/} in
                jupyter-lab | jupyter-labhub | jupyterhub-singleuser)
                    echo "${word##*/}"
                    [[ ! $end ]] || kill -KILL $!
                    break 3
                    ;;
            esac
        done 2> /dev/null < "$process"
    done
    sleep 0.02
done
wait $! || [[ $end ]]
