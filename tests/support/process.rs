//! A server as a child process: started with its output in a file, stopped and reaped when it goes out of scope.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// What kills it on drop.
    farewell: Signal,
}

impl Process {
    /// Starts `command` with what it prints appended to the file `log`.
    pub fn start(command: Command, log: &Path, farewell: Signal) -> Self {
        Self::start_on(Stdio::null(), command, log, farewell)
    }

    /// The same, with `input` as its standard input.
    pub fn start_on(input: Stdio, mut command: Command, log: &Path, farewell: Signal) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        let child = command
            .stdin(input)
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", command.get_program().display()));
        Self { child, log: log.to_owned(), farewell }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends `signal`, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
        }
    }

    /// Sends `signal`, one that cannot be refused, and waits until it is gone.
    pub fn kill(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().expect("it was ours to wait for");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it was ours to wait for")
    }

    /// Sends `signal` and waits until it has ended.
    pub async fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        eventually("the process ends when it is asked to", async || self.ended()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill(self.farewell);
        if std::thread::panicking() {
            eprintln!("---- {} of process {}:\n{}", self.log.display(), self.id(), self.log());
        }
    }
}
