//! Completions, in the real shells; man pages, by a real formatter.

use std::process::Command;

use crate::support::{Done, Registry, done};

/// A script in a shell that has this build of leasehold in its path, and reads no settings.
fn shell(words: &[&str]) -> Done {
    let registry = Registry::new();
    let plain = registry.command::<&str>([]);
    let program = std::path::Path::new(plain.get_program());
    let folder = program.parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env("PATH", format!("{folder}:{path}"))
        .env("HOME", registry.folder.path())
        .current_dir(registry.folder.path());
    done(command)
}

#[test]
fn bash_completes_verbs_options_and_values() {
    let asked = |words: &str| {
        let script = format!(
            "set -u; source <(leasehold completions bash) && complete -p leasehold >/dev/null && \
             COMP_WORDS=({words}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && \
             _leasehold leasehold \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\" && \
             echo \"${{COMPREPLY[@]}}\""
        );
        shell(&["bash", "--norc", "-c", &script])
    };
    let verbs = asked("leasehold wa").exits(0);
    assert_eq!((&*verbs.out, &*verbs.err), ("watch wait\n", ""));
    assert_eq!(asked("leasehold wait --unt").exits(0).out, "--until\n");
    let values = asked("leasehold wait x --until ''").exits(0);
    assert_eq!(values.out, "free held changed\n");
}

#[test]
fn fish_completes_verbs_options_and_values() {
    let asked = |line: &str| {
        let script = format!("leasehold completions fish | source; complete -C '{line}'");
        let done = shell(&["fish", "--no-config", "-c", &script]).exits(0);
        assert_eq!(done.err, "");
        let words = done.out.lines().filter_map(|line| line.split('\t').next());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(asked("leasehold wa"), ["wait", "watch"]);
    assert_eq!(asked("leasehold wait --unt"), ["--until"]);
    assert_eq!(
        asked("leasehold wait x --until "),
        ["changed", "free", "held"]
    );
}

/// Keys are pressed in a terminal, since zsh completes nowhere else.
#[test]
fn zsh_completes_verbs() {
    // Each step waits for what the one before has shown, however busy the machine is.
    let script = "\
        zmodload zsh/zpty\n\
        zpty z zsh -f -i\n\
        zpty -w z 'PS1=; TERM=dumb; autoload -U compinit; compinit -D -u; source <(leasehold completions zsh)'\n\
        zpty -w z 'print registered=$_comps[leasehold]'\n\
        zpty -r -m z seen '*registered=_leasehold*' && print registered\n\
        zpty -w -n z $'leasehold doct\\t'\n\
        zpty -r -m z seen '*leasehold doctor*' && print completed\n\
        zpty -d z\n";
    let done = shell(&["timeout", "60", "zsh", "-f", "-c", script]).exits(0);
    assert_eq!(done.out, "registered\ncompleted\n", "{done:?}");
}

#[test]
fn other_shells_are_64() {
    let registry = Registry::new();
    registry
        .line("completions tcsh")
        .exits(64)
        .says(&["tcsh", "bash, zsh, fish"]);
}

#[test]
fn man_pages_are_set_without_a_complaint() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/man");
    let mut count = 0;
    for entry in std::fs::read_dir(pages).unwrap() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        let done = shell(&["groff", "-man", "-Tutf8", "-ww", "-P-cbou", path]).exits(0);
        assert_eq!(done.err, "", "{path}");
        let whole = path.ends_with("/leasehold.1");
        for heading in ["NAME", "SYNOPSIS", "OPTIONS", "SEE ALSO"] {
            assert!(done.out.contains(heading), "{path}: {heading}");
        }
        assert_eq!(
            done.out.contains("EXIT STATUS"),
            whole || path.contains("-run.") || path.contains("-lead."),
            "{path}"
        );
        count += 1;
    }
    assert!(count > 12, "{count}");
}
