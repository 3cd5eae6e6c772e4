//! Stops servers even when the process that started them is killed.
//!
//! A small shell waits on a pipe in a process group of its own. The pipe ends when this process
//! does, in whatever way; then the shell kills the processes it was last told of and removes their
//! folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::{Result, process};

const SCRIPT: &str = r#"
pids=
while IFS= read -r line; do
    case $line in
        release) exit 0 ;;
        *) pids=$line ;;
    esac
done
[ -z "$pids" ] || { kill -9 $pids; sleep 0.2; }
rm -rf "$1"
"#;

/// Watches the servers below one folder.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "watchdog"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut shell = command
            .spawn()
            .map_err(|error| process::missing(&command, &error))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// The processes that have to die with this one.
    pub(crate) fn watch(&mut self, pids: &[u32]) {
        let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
        self.tell(&list.join(" "));
    }

    /// Lets the servers live on.
    pub(crate) fn release(&mut self) {
        self.tell("release");
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // Without the shell there is only the ordinary stop.
            let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing is left to do when it cannot be waited for.
        let _ = self.shell.wait();
    }
}
