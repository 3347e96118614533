# Completion of pgqrs for bash. A test compares it with the program's own list.

_pgqrs_flags() {
    case $1 in
    install) echo --dry-run --sql --roles ;;
    "queue configure") echo --lease --attempts --backoff --backoff-factor --backoff-max --retention ;;
    "queue create") echo --workflow --if-missing --lease --attempts --backoff --backoff-factor --backoff-max --retention ;;
    "queue delete") echo --force --yes ;;
    "queue purge") echo --yes ;;
    enqueue) echo --param --priority --delay --at --key --key-ttl --headers --batch ;;
    ls) echo --state --after --limit ;;
    "dead ls") echo --after --limit ;;
    "dead replay") echo --queue ;;
    "dead purge") echo --limit --yes ;;
    "workers purge") echo --silent ;;
    "run ls") echo --status --after --limit ;;
    bench) echo --quick --large --only --rounds --seconds --svg ;;
    trigger) echo --param --priority --delay --at --key --key-ttl --headers ;;
    esac
    echo --dsn --schema --json --help
}

# Flags that are followed by a value.
_pgqrs_takes_value() {
    case $1 in
    --dsn | --schema | --after | --at | --attempts | --backoff | --backoff-factor | --backoff-max | \
        --batch | --delay | --headers | --key | --key-ttl | --lease | --limit | --only | --param | -P | \
        --priority | --queue | --retention | --roles | --rounds | --seconds | --silent | --state | --status | --svg) return 0 ;;
    esac
    return 1
}

_pgqrs() {
    local current=${COMP_WORDS[COMP_CWORD]} previous= word command= group= words= i
    [ "$COMP_CWORD" -gt 0 ] && previous=${COMP_WORDS[COMP_CWORD - 1]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if _pgqrs_takes_value "$word"; then
            i=$((i + 1))
        elif [[ $word != -* && -z $command ]]; then
            case $word in
            queue | dead | run | workers) if [ -z "$group" ]; then group=$word; else command="$group $word"; fi ;;
            *) command=${group:+$group }$word ;;
            esac
        fi
    done
    case $previous in
    --state) words="ready scheduled leased live done success error cancelled dead archived all" ;;
    --status) words="queued running paused cancelling success error cancelled" ;;
    --priority) words="0 1 2 3 4 5 6 7 8 9" ;;
    *)
        if _pgqrs_takes_value "$previous"; then
            COMPREPLY=()
            return
        fi
        if [[ $current == -* ]]; then
            words=$(_pgqrs_flags "${command:-$group}")
            [ -z "$command$group" ] && words="$words --version"
        elif [ -n "$command" ]; then
            [ "$command" = help ] && words="install verify queue enqueue ls show cancel dead run trigger workers stats bench version help"
        else
            case $group in
            queue) words="ls create configure delete pause resume purge" ;;
            dead) words="ls replay purge" ;;
            workers) words="purge" ;;
            run) words="ls show cancel" ;;
            *) words="install verify queue enqueue ls show cancel dead run trigger workers stats bench version help" ;;
            esac
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _pgqrs pgqrs
