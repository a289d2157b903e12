# Made by: python -m lvskeeper.cli.generated
_lvskeeper() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path= word
    local codes='LK0101 LK0102 LK0103 LK0104 LK0105 LK0106 LK0107 LK0108 LK0109 LK0110 LK0111 LK0112 LK0113 LK0114 LK0115 LK0116 LK0201 LK0202 LK0203 LK0204 LK0205 LK0206 LK0207 LK0208 LK0209 LK0210 LK0211 LK0212 LK0213 LK0215 LK0216 LK0217 LK0218 LK0219 LK0301 LK0302 LK0303 LK0304 LK0305 LK0306 LK0307 LK0308 LK0309 LK0311 LK0312 LK0313 LK0314 LK0315 LK0316 LK0317 LK0318 LK0319 LK0320 LK0321 LK0322 LK0323 LK0324 LK0325 LK0326 LK0327 LK0328 LK0329 LK0330 LK0331 LK0332 LK0333 LK0334 LK0335 LK0336 LK0337 LK0338 LK0339 LK0340 LK0341 LK0342 LK0343 LK0344 LK0345 LK0346 LK0347 LK0401 LK0402 LK0403 LK0404 LK0405 LK0406 LK0407 LK0408 LK0409 LK0410 LK0411 LK0412 LK0413 LK0414 LK0415 LK0416 LK0417 LK0418 LK0419 LK0420 LK0421 LK0422 LK0423 LK0424 LK0425 LK0426 LK0427 LK0428 LK0429 LK0431 LK0432 LK0433 LK0434 LK0435 LK0430'
    COMPREPLY=()
    # --option=value comes as three words
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "${path:+$path }$word" in
            run | check | convert | schema | status | events | top | metrics | dump | replay | reload | confirm | drain | undrain | weight | disable | enable | explain | plan | doctor | cleanup | demo) path=${path:+$path }$word ;;
        esac
    done
    case "$path:$prev" in
        ':--signum') :; return ;;
        'run:-f' | 'run:--file' | 'run:--use-file') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'run:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'run:--web') :; return ;;
        'run:-i' | 'run:--config-id') :; return ;;
        'run:--off') COMPREPLY=($(compgen -W "$codes" -- "$cur")); return ;;
        'run:--compat') COMPREPLY=($(compgen -W 'keepalived' -- "$cur")); return ;;
        'run:--log-format') COMPREPLY=($(compgen -W 'auto console json keyvalue text' -- "$cur")); return ;;
        'run:--log-level') COMPREPLY=($(compgen -W 'error warning notice info debug' -- "$cur")); return ;;
        'run:-g' | 'run:--log-file') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'run:--log-file-format') COMPREPLY=($(compgen -W 'json keyvalue text' -- "$cur")); return ;;
        'run:-S' | 'run:--log-facility') :; return ;;
        'run:--log-compat') COMPREPLY=($(compgen -W 'keepalived keepalived-only' -- "$cur")); return ;;
        'run:-t' | 'run:--config-test') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'run:-p' | 'run:--pid') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'run:-r' | 'run:--vrrp_pid') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'run:-c' | 'run:--checkers_pid') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'run:--dump-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'run:--signum') :; return ;;
        'check:-i' | 'check:--config-id') :; return ;;
        'check:--off') COMPREPLY=($(compgen -W "$codes" -- "$cur")); return ;;
        'check:--compat') COMPREPLY=($(compgen -W 'keepalived' -- "$cur")); return ;;
        'check:--format') COMPREPLY=($(compgen -W 'text json github' -- "$cur")); return ;;
        'convert:--to') COMPREPLY=($(compgen -W 'keepalived yaml' -- "$cur")); return ;;
        'convert:-o' | 'convert:--output') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'convert:-i' | 'convert:--config-id') :; return ;;
        'convert:--off') COMPREPLY=($(compgen -W "$codes" -- "$cur")); return ;;
        'convert:--compat') COMPREPLY=($(compgen -W 'keepalived' -- "$cur")); return ;;
        'status:-o' | 'status:--output') COMPREPLY=($(compgen -W 'table wide json' -- "$cur")); return ;;
        'status:--watch') :; return ;;
        'status:--is-master') :; return ;;
        'status:--is-serving') :; return ;;
        'status:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'events:-n' | 'events:--last') :; return ;;
        'events:-l' | 'events:--level') COMPREPLY=($(compgen -W 'error warning notice info debug' -- "$cur")); return ;;
        'events:-e' | 'events:--event') :; return ;;
        'events:-o' | 'events:--output') COMPREPLY=($(compgen -W 'text json' -- "$cur")); return ;;
        'events:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'top:-d' | 'top:--delay') :; return ;;
        'top:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'metrics:--textfile') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'metrics:--names') :; return ;;
        'metrics:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'dump:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'reload:--confirm') :; return ;;
        'reload:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'confirm:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'drain:--vs') :; return ;;
        'drain:--deadline') :; return ;;
        'drain:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'drain:--for') :; return ;;
        'drain:--reason') :; return ;;
        'undrain:--vs') :; return ;;
        'undrain:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'weight:--vs') :; return ;;
        'weight:--for') :; return ;;
        'weight:--reason') :; return ;;
        'weight:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'disable:--deadline') :; return ;;
        'disable:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'disable:--for') :; return ;;
        'disable:--reason') :; return ;;
        'enable:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'explain:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'plan:--against') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'plan:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'plan:-i' | 'plan:--config-id') :; return ;;
        'plan:--off') COMPREPLY=($(compgen -W "$codes" -- "$cur")); return ;;
        'plan:--compat') COMPREPLY=($(compgen -W 'keepalived' -- "$cur")); return ;;
        'plan:-o' | 'plan:--output' | 'plan:--format') COMPREPLY=($(compgen -W 'text json' -- "$cur")); return ;;
        'doctor:-f' | 'doctor:--file') compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
        'doctor:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        'doctor:--listen') :; return ;;
        'doctor:-o' | 'doctor:--output') COMPREPLY=($(compgen -W 'text json' -- "$cur")); return ;;
        'doctor:-i' | 'doctor:--config-id') :; return ;;
        'doctor:--off') COMPREPLY=($(compgen -W "$codes" -- "$cur")); return ;;
        'doctor:--compat') COMPREPLY=($(compgen -W 'keepalived' -- "$cur")); return ;;
        'cleanup:--run-dir') compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
    esac
    case "$path" in
        '')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --signum --version' -- "$cur"))
            else
                COMPREPLY=($(compgen -W 'run check convert schema status events top metrics dump replay reload confirm drain undrain weight disable enable explain plan doctor cleanup demo' -- "$cur"))
            fi
            ;;
        'run')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help -f --file --use-file --run-dir --allow-empty --web --dry-run -i --config-id --off --compat --log-format --log-level -g --log-file --log-file-format -S --log-facility --log-compat -t --config-test -l --log-console -D --log-detail -P --vrrp -C --check -I --dont-release-ipvs -V --dont-release-vrrp -p --pid -r --vrrp_pid -c --checkers_pid --dump-dir --signum' -- "$cur"))
            else
                :
            fi
            ;;
        'check')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --strict --allow-empty -i --config-id --off --compat --elsewhere --format' -- "$cur"))
            else
                compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))
            fi
            ;;
        'convert')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --to -o --output --force -i --config-id --off --compat' -- "$cur"))
            else
                compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))
            fi
            ;;
        'schema')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help' -- "$cur"))
            else
                :
            fi
            ;;
        'status')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help -o --output --watch --is-master --is-serving --run-dir' -- "$cur"))
            else
                COMPREPLY=($(compgen -W 'vs rs vrrp checks drains lips sync' -- "$cur"))
            fi
            ;;
        'events')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help -f --follow -n --last -l --level -e --event -o --output --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'top')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help -d --delay --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'metrics')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --textfile --names --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'dump')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'replay')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --inputs --events --probes' -- "$cur"))
            else
                compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))
            fi
            ;;
        'reload')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --wait --confirm --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'confirm')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'drain')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --vs --deadline --wait --run-dir --for --reason --force' -- "$cur"))
            else
                :
            fi
            ;;
        'undrain')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --vs --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'weight')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --vs --for --reason --force --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'disable')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --deadline --wait --run-dir --for --reason' -- "$cur"))
            else
                :
            fi
            ;;
        'enable')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --run-dir' -- "$cur"))
            else
                :
            fi
            ;;
        'explain')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --run-dir' -- "$cur"))
            else
                COMPREPLY=($(compgen -W "$codes" -- "$cur"))
            fi
            ;;
        'plan')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --against --run-dir --allow-empty -i --config-id --off --compat -o --output --format' -- "$cur"))
            else
                compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))
            fi
            ;;
        'doctor')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help -f --file --run-dir --listen -o --output -i --config-id --off --compat' -- "$cur"))
            else
                :
            fi
            ;;
        'cleanup')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help --run-dir --vips' -- "$cur"))
            else
                :
            fi
            ;;
        'demo')
            if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W '-h --help' -- "$cur"))
            else
                :
            fi
            ;;
    esac
}
complete -F _lvskeeper lvskeeper
