//! Phases on the screen: `[4/9] build … 31.2 s`. On a terminal one live line, otherwise plain lines.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, INTERRUPTED, Result};
use crate::out::{brief, say};

const TICK: Duration = Duration::from_millis(100);
/// Without a terminal a silent build looks hung: say so this often.
const STILL: Duration = Duration::from_secs(20);
/// After a failure or Ctrl-C the other phases get this long to end their children.
const STOPPING: Duration = Duration::from_secs(3);
const COLUMNS: usize = 79;

/// What a phase may look at and write to while it works.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    detail: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
}

impl Watcher {
    /// Shows what the phase is at.
    pub(crate) fn detail(&self, text: &str) {
        text.clone_into(&mut self.detail.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the phase should end its children and return.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks again and again until there is an answer; `None` when the time is up.
    pub(crate) fn wait_for<T>(&self, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask()? {
                return Ok(Some(answer));
            }
            if self.stopped() {
                return Err(interrupted());
            }
            if start.elapsed() > limit {
                return Ok(None);
            }
            std::thread::sleep(TICK);
        }
    }
}

pub(crate) fn interrupted() -> Error {
    Error::new("interrupted").with_code(INTERRUPTED).with_hint("run it again to go on; `make stop` ends what was started")
}

/// What a phase does: it gives a short note for its line.
pub(crate) type Work = Box<dyn FnOnce(&Watcher) -> Result<String> + Send>;

/// One phase: its name, the log that a reader may look into, and the work.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) log: Option<PathBuf>,
    pub(crate) work: Work,
}

/// Runs phases one after the other or side by side, and prints them.
pub(crate) struct Progress {
    total: usize,
    begun: usize,
    terminal: bool,
    stop: Arc<AtomicBool>,
}

struct Running {
    label: String,
    name: &'static str,
    log: Option<PathBuf>,
    watcher: Watcher,
    said: Duration,
}

impl Progress {
    /// `stop` is raised by Ctrl-C.
    pub(crate) fn new(total: usize, stop: Arc<AtomicBool>) -> Self {
        Self { total, begun: 0, terminal: std::io::stdout().is_terminal(), stop }
    }

    /// Runs the phases side by side. The first failure stops the others and is returned.
    pub(crate) fn run(&mut self, phases: Vec<Phase>) -> Result<()> {
        let start = Instant::now();
        let (send, receive) = mpsc::channel();
        // The phases of one call stop together, without stopping the whole command.
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = Vec::new();
        for (index, phase) in phases.into_iter().enumerate() {
            self.begun += 1;
            let watcher = Watcher { detail: Arc::default(), stop: Arc::clone(&stop) };
            let (send, own) = (send.clone(), watcher.clone());
            let Phase { name, log, work } = phase;
            running.push((index, Running { label: label(self.begun, self.total, name), name, log, watcher, said: Duration::ZERO }));
            std::thread::spawn(move || send.send((index, work(&own))));
        }
        drop(send);
        while !running.is_empty() {
            match receive.recv_timeout(TICK) {
                Ok((index, result)) => {
                    let Some(at) = running.iter().position(|(own, _)| *own == index) else { continue };
                    let (_, phase) = running.remove(at);
                    if let Err(error) = self.finish(&phase, start.elapsed(), result) {
                        return Err(stop_others(&stop, &receive, running.len(), error));
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.draw(&mut running, start.elapsed()),
                // A phase ended without an answer: it panicked, and the panic hook has said why.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::new("a phase ended unexpectedly (a bug in reprise)")),
            }
            if self.stop.load(Ordering::Relaxed) {
                self.clear();
                return Err(stop_others(&stop, &receive, running.len(), interrupted()));
            }
        }
        Ok(())
    }

    fn finish(&self, phase: &Running, took: Duration, result: Result<String>) -> Result<()> {
        self.clear();
        match result {
            Ok(note) => {
                say!("{}", finished(&phase.label, took, &note));
                Ok(())
            }
            Err(error) => {
                say!("{}", finished(&phase.label, took, "failed"));
                let error = error.in_phase(phase.name);
                Err(phase.log.iter().cloned().fold(error, Error::with_log))
            }
        }
    }

    fn draw(&self, running: &mut [(usize, Running)], elapsed: Duration) {
        if self.terminal {
            let parts: Vec<String> = running
                .iter()
                .map(|(_, phase)| {
                    let detail = phase.watcher.detail.lock().unwrap_or_else(PoisonError::into_inner);
                    format!("{} … {} {}", phase.label.trim_end(), seconds(elapsed), brief(&detail, 60 / running.len().max(1)))
                })
                .collect();
            let mut stdout = std::io::stdout().lock();
            let _closed = write!(stdout, "\r\x1b[K{}", brief(&parts.join("  "), COLUMNS)).and_then(|()| stdout.flush());
            return;
        }
        for (_, phase) in running {
            if elapsed.saturating_sub(phase.said) >= STILL {
                phase.said = elapsed;
                let log = phase.log.as_ref().map(|log| format!(", log: {}", log.display())).unwrap_or_default();
                say!("{} … running for {}{log}", phase.label, seconds(elapsed));
            }
        }
    }

    fn clear(&self) {
        if self.terminal {
            let mut stdout = std::io::stdout().lock();
            let _closed = write!(stdout, "\r\x1b[K").and_then(|()| stdout.flush());
        }
    }
}

fn stop_others<T>(stop: &AtomicBool, receive: &mpsc::Receiver<T>, count: usize, error: Error) -> Error {
    stop.store(true, Ordering::Relaxed);
    let start = Instant::now();
    for _ in 0..count {
        if receive.recv_timeout(STOPPING.saturating_sub(start.elapsed())).is_err() {
            break;
        }
    }
    error
}

fn label(number: usize, total: usize, name: &str) -> String {
    format!("[{number}/{total}] {name:<9}")
}

fn finished(label: &str, took: Duration, note: &str) -> String {
    format!("{label} … {:>7}  {note}", seconds(took)).trim_end().to_owned()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &'static str, work: impl FnOnce(&Watcher) -> Result<String> + Send + 'static) -> Phase {
        Phase { name, log: Some(format!("{name}.log").into()), work: Box::new(work) }
    }

    #[test]
    fn a_phase_is_one_line_with_its_number_its_time_and_a_note() {
        assert_eq!(
            finished(&label(3, 7, "deploy"), Duration::from_millis(2140), "41 resources"),
            "[3/7] deploy    …   2.1 s  41 resources"
        );
        assert_eq!(finished(&label(1, 7, "toolchain"), Duration::from_secs(131), ""), "[1/7] toolchain … 131.0 s");
    }

    #[test]
    fn the_first_failure_stops_the_phases_beside_it_and_names_itself_and_its_log() {
        let mut progress = Progress::new(2, Arc::default());
        let slow = |watcher: &Watcher| watcher.wait_for(Duration::from_secs(30), || Ok(None)).map(|_: Option<()>| String::new());
        let start = Instant::now();
        let error = progress.run(vec![phase("tools", slow), phase("build", |_| Err(Error::new("no")))]).unwrap_err();
        assert_eq!(error.render(), "error: build: no\nlog: build.log\n");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_interrupt_ends_a_waiting_phase() {
        let stop = Arc::new(AtomicBool::new(true));
        let error = Progress::new(1, stop)
            .run(vec![phase("ready", |watcher| watcher.wait_for(Duration::from_secs(30), || Ok(None)).map(|_: Option<()>| String::new()))])
            .unwrap_err();
        assert_eq!(error, interrupted());
    }
}
