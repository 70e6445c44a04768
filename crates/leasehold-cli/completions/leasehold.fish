# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_leasehold_global_optspecs
    string join \n store= q/quiet v/verbose log-format= h/help V/version
end

function __fish_leasehold_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_leasehold_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_leasehold_using_subcommand
    set -l cmd (__fish_leasehold_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c leasehold -n "__fish_leasehold_needs_command" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_needs_command" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_needs_command" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_needs_command" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_needs_command" -s V -l version -d 'Print version'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "run" -d 'Run a command while holding a lease'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "lead" -d 'Run a command while leading: campaign, lead, lose, campaign again'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "acquire" -d 'Acquire a lease and print its fence'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "renew" -d 'Renew a lease'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "release" -d 'Release a lease: the name is vacant at once'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "steal" -d 'Take a lease over from its holder'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "break" -d 'End the term of a lease, whoever holds it'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "get" -d 'Show who holds a lease'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "list" -d 'List the leases that are held'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "watch" -d 'Tell of every change, until interrupted'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "wait" -d 'Wait until a lease is free, held, or another one\'s'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "check" -d 'Check whether the term of a fence still stands'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "plan" -d 'Show what a period comes to: outages, take-overs, requests'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "doctor" -d 'Check a registry: settings, clocks, permissions, latency, the contract'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "completions" -d 'Print the script by which a shell completes leasehold\'s words'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l wait -d 'Wait for the lease, at most so long, or `forever` [default: do not wait]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l once-per -d 'Run once per slot, `1d` say: if it ran already nothing is done, and the exit status is 0' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -s E -l conflict-exit -d 'Exit status if somebody else holds the lease' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l time-limit -d 'End the command after so long: TERM, KILL a grace later; the exit status is 124' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l report -d 'Write what happened to this file descriptor in the end, as a line of JSON' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l period -d 'How long a grant lasts; it is renewed at a third of it. A crash blocks the name for so long' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l grace -d 'How long the command may take to end after TERM, before KILL [default: a tenth of the period and 1s at least before a deadline, 10s where nothing presses]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l max-hold -d 'Give the lease up after so long: its command is ended before' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l watchdog -d 'Renew only while the command reports WATCHDOG=1 (sd_notify) at least so often. One that does not is ended before the lease runs out: up to a period later' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l take-over -d 'Take the lease over from a holder of another version of the same policy' -r -f -a "never\t'From nobody'
higher-version\t'From a lower version'
lower-version\t'From a higher version'"
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l machine-id -d 'Who holds the lease [default: host, process id and chance: never twice the same]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l lessee-version -d 'The holder\'s version of itself' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l note -d 'A sentence for those who find the lease taken' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l data -d 'Data to keep with the lease, an address for instance' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -l strict -d 'Refuse to run where the command\'s processes cannot be held in a cgroup'
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l restart -d 'When a command that has ended by itself is run again, after campaigning anew' -r -f -a "never\t'Never: leads no more, and exits with the command\'s status'
on-failure\t'Unless it exited with 0'
always\t'Whatever it exited with'"
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l period -d 'How long a grant lasts; it is renewed at a third of it. A crash blocks the name for so long' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l grace -d 'How long the command may take to end after TERM, before KILL [default: a tenth of the period and 1s at least before a deadline, 10s where nothing presses]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l max-hold -d 'Give the lease up after so long: its command is ended before' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l watchdog -d 'Renew only while the command reports WATCHDOG=1 (sd_notify) at least so often. One that does not is ended before the lease runs out: up to a period later' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l take-over -d 'Take the lease over from a holder of another version of the same policy' -r -f -a "never\t'From nobody'
higher-version\t'From a lower version'
lower-version\t'From a higher version'"
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l machine-id -d 'Who holds the lease [default: host, process id and chance: never twice the same]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l lessee-version -d 'The holder\'s version of itself' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l note -d 'A sentence for those who find the lease taken' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l data -d 'Data to keep with the lease, an address for instance' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -l strict -d 'Refuse to run where the command\'s processes cannot be held in a cgroup'
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand lead" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l period -d 'How long the grant lasts' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l wait -d 'Wait for the lease, at most so long, or `forever` [default: do not wait]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -s E -l conflict-exit -d 'Exit status if somebody else holds the lease' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l machine-id -d 'Who holds the lease [default: host, process id and chance: never twice the same]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l lessee-version -d 'The holder\'s version of itself' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l note -d 'A sentence for those who find the lease taken' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l data -d 'Data to keep with the lease, an address for instance' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand acquire" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l fence -d 'The term\'s fence, as `acquire` printed it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l index -d 'The grant\'s index: fails if the lease was renewed since' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l period -d 'How long the new grant lasts [default: as the one before]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l note -d 'A new sentence for those who find the lease taken; empty removes it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l data -d 'New data to keep with the lease; empty removes it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand renew" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -l fence -d 'The term\'s fence, as `acquire` printed it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -l index -d 'The grant\'s index: fails if the lease was renewed since' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l period -d 'How long the grant lasts, once the old term is over' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l fence -d 'Only if the term still has this fence' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l index -d 'Only if the lease still has this index: not if it was renewed since' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l reason -d 'Why, for the record' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l assume-dead -d 'The holder is known to be dead, and how you know: do not wait its term out. If it lives, there are two' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l machine-id -d 'Who holds the lease [default: host, process id and chance: never twice the same]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l lessee-version -d 'The holder\'s version of itself' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l note -d 'A sentence for those who find the lease taken' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l data -d 'Data to keep with the lease, an address for instance' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand steal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l fence -d 'Only if the term still has this fence' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l index -d 'Only if the lease still has this index: not if it was renewed since' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l reason -d 'Why, for the record' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l assume-dead -d 'The holder is known to be dead, and how you know: do not wait its term out. If it lives, there are two' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand get" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand get" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand get" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand get" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand get" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l all -d 'Names that nobody holds, too'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l watch -d 'Go on: on a terminal a table that repaints, else a line for each change'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l json -d 'Print a JSON object for each'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l prefix -d 'Every name with these leading segments; empty: all' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l json -d 'Print a JSON object for each'
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -l until -d 'What to wait for' -r -f -a "free\t''
held\t''
changed\t''"
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -l fence -d 'Wait until the term of this fence is over, instead' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -l timeout -d 'How long to wait at most [default: for ever]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -l json -d 'Print a JSON object, after the time has passed too: `reached` tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -l fence -d 'The term\'s fence' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l period -d 'How long a grant lasts' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l leases -d 'How many leases' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l grace -d 'How long before the deadline the work is told to stop [default: a tenth of the period]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l delay -d 'How long a successor waits on purpose after a term that did not end clean' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l round-trip -d 'How long a request takes' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l timeout -d 'The manager\'s time-out, in a program of your own: a request waits for its answer for half of it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l price -d 'What a request costs, in any currency' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -l json -d 'Print a JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l json -d 'Print one JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -l store -d 'The registry: a URL (etcd://host/prefix) or a file\'s path; $LEASEHOLD_STORE without it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -l log-format -d 'How that, and every other message, is written on standard error. What `run` runs writes as it likes' -r -f -a "text\t'Lines for people'
json\t'A JSON object in each line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -s q -l quiet -d 'No messages but failures; the exit status tells'
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -s v -l verbose -d 'Tell on standard error what is done; twice: everything'
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "run" -d 'Run a command while holding a lease'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "lead" -d 'Run a command while leading: campaign, lead, lose, campaign again'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "acquire" -d 'Acquire a lease and print its fence'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "renew" -d 'Renew a lease'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "release" -d 'Release a lease: the name is vacant at once'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "steal" -d 'Take a lease over from its holder'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "break" -d 'End the term of a lease, whoever holds it'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "get" -d 'Show who holds a lease'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "list" -d 'List the leases that are held'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "watch" -d 'Tell of every change, until interrupted'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "wait" -d 'Wait until a lease is free, held, or another one\'s'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "check" -d 'Check whether the term of a fence still stands'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "plan" -d 'Show what a period comes to: outages, take-overs, requests'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "doctor" -d 'Check a registry: settings, clocks, permissions, latency, the contract'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "completions" -d 'Print the script by which a shell completes leasehold\'s words'
complete -c leasehold -n "__fish_leasehold_using_subcommand help; and not __fish_seen_subcommand_from run lead acquire renew release steal break get list watch wait check plan doctor completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
