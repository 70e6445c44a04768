//! A real terminal, kept by a tmux server of its own.

use std::process::Command;

use crate::support::{Registry, done, eventually};

/// What a shell prompts with: nothing that a table could show.
pub(crate) const PROMPT: &str = "prompt>";

/// A terminal of 80 columns and 24 lines in which an interactive shell runs.
pub(crate) struct Terminal {
    socket: tempfile::TempDir,
}

impl Terminal {
    /// `variables`: what the shell's environment has beside the registry, as `NAME=value`.
    pub(crate) fn new(registry: &Registry, variables: &[&str]) -> Self {
        let terminal = Self {
            socket: tempfile::tempdir().unwrap(),
        };
        let store = format!("LEASEHOLD_STORE={}", registry.file().display());
        let prompt = format!("PS1={PROMPT}");
        let mut command = terminal.command();
        command.args([
            "-u",
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
        ]);
        command.arg("-c").arg(registry.folder.path());
        // By its name alone: lines are as long wherever it was built.
        let folder = std::path::Path::new(env!("CARGO_BIN_EXE_leasehold")).parent();
        let path = std::env::var("PATH").unwrap();
        let path = format!("PATH={}:{path}", folder.unwrap().display());
        command.args([
            "env",
            "-u",
            "NO_COLOR",
            "LC_ALL=C.UTF-8",
            &path,
            &store,
            &prompt,
        ]);
        command.args(variables);
        command.args(["bash", "--norc", "--noprofile", "-i"]);
        done(command).exits(0);
        terminal.until("a prompt", |lines| lines[0] == PROMPT);
        terminal
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.socket.path().join("tmux"));
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        command
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = self.command();
        command.args(words);
        done(command).exits(0).out
    }

    /// Types leasehold's command line, and Enter.
    pub(crate) fn leasehold(&self, line: &str) {
        self.tmux(&["send-keys", "-l", &format!("leasehold {line}")]);
        self.press("Enter");
    }

    pub(crate) fn shell(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    pub(crate) fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// All of its lines, without the blanks at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.tmux(&["capture-pane", "-p"]);
        text.split('\n')
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// The same with what makes them bold or coloured, and with what was scrolled away.
    pub(crate) fn everything(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e", "-S", "-"])
    }

    /// What tmux knows of it, `#{cursor_flag}` for instance.
    pub(crate) fn knows(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format])
            .trim_end()
            .to_owned()
    }

    /// Waits until the lines are as they should be, and returns them.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut seen = || {
            lines = self.lines();
            holds(&lines)
        };
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, &mut seen);
        }));
        assert!(found.is_ok(), "never {what}:\n{}", lines.join("\n"));
        lines
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = self.command().arg("kill-server").output();
    }
}
