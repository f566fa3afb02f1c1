//! The stream of events: what happens in a run, one JSON object per line, each written whole when it happens.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use oops_core::{Fault, Result};
use serde_json::{Value, json};

/// Where events go.
pub(crate) struct Events {
    to: Mutex<Box<dyn Write + Send>>,
    start: Instant,
}

impl Events {
    /// Into a file, which is made anew, or to stdout for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let to: Box<dyn Write + Send> = if is_stdout(path) {
            Box::new(io::stdout())
        } else {
            let failed = |e| {
                Fault::store(format!("cannot write: {e}"))
                    .at(path.display())
                    .help("give --events a file that can be written, or `-`")
            };
            Box::new(File::create(path).map_err(failed)?)
        };
        Ok(Self { to: Mutex::new(to), start: Instant::now() })
    }

    /// Writes one event with its fields. A reader that went away is no error.
    pub(crate) fn write(&self, event: &str, cell: Option<&str>, fields: Value) {
        // The clock is read under the lock, so that lines of several stages stand in the order of their times.
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = json!({ "event": event, "t": (self.start.elapsed().as_secs_f64() * 1e3).round() / 1e3 });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(cell.map(|name| ("cell".to_owned(), Value::from(name))));
            line.extend(fields);
        }
        let _ = writeln!(to, "{line}").and_then(|()| to.flush());
    }
}

/// Whether events go to stdout.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}
