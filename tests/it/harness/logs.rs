//! Everything that this process logs, at TRACE.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use latchkey::config::{Log, LogFormat};
use latchkey::telemetry;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that were written.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

static ALL: OnceLock<Lines> = OnceLock::new();

impl Lines {
    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("text")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// All logs of this process from now on, as JSON. Tests share them: look for what is this test's alone.
pub fn of_this_process() -> Lines {
    let start = || {
        let lines = Lines::default();
        let subscriber = subscriber(LogFormat::Json, &lines);
        tracing::subscriber::set_global_default(subscriber).expect("nobody else takes the logs");
        lines
    };
    ALL.get_or_init(start).clone()
}

/// What the process would log with, writing to `lines`.
pub fn subscriber(format: LogFormat, lines: &Lines) -> Box<dyn tracing::Subscriber + Send + Sync> {
    telemetry::subscriber(Log { format, level: tracing::Level::TRACE }, lines.clone())
}
