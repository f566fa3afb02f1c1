//! Stages that add numbers, and a bench that runs pipelines of them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

use oops_artifact::{Artifact, Kind};
use oops_core::{Fault, Result};
use oops_engine::{Event, Limits, Observer, Outcome, Selection, Session, run};
use oops_pipeline::Graph;
use oops_stage::{Cx, Facts, Inputs, Needs, NoProgress, Port, PortFacts, Progress, Registry, Source, Stage, erase};
use oops_store::Store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::warnings::Warn;

pub(crate) const FILE: &str = "number.txt";

pub(crate) fn number(artifact: &Artifact) -> Result<i64> {
    let path = artifact.path(FILE)?;
    let text = fs::read_to_string(path).map_err(|e| Fault::reading(path, &e))?;
    text.trim().parse().map_err(|_| Fault::data("not a number").at(path.display()))
}

pub(crate) fn put(cx: &Cx<'_>, name: &str, number: i64) -> Result<()> {
    cx.work.write(name, |p| fs::write(p, format!("{number}\n")).map_err(|e| Fault::writing(p, &e)))
}

/// Reads a number from a file outside the store.
pub(crate) struct Read;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadParams {
    /// The file.
    path: PathBuf,
}

impl Stage for Read {
    type Params = ReadParams;
    const NAME: &'static str = "test.read";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a number from a file";
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Kind = Kind::Tokens;
    const UNKEYED: &'static [&'static str] = &["path"];

    fn sources(params: &ReadParams, base: &Path) -> Result<Vec<Source>> {
        Ok(vec![Source { name: FILE.to_owned(), path: base.join(&params.path) }])
    }

    fn check(_: &ReadParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(_: &ReadParams, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        inputs.sources.iter().for_each(|s| cx.work.link_source(s));
        Ok(())
    }
}

/// Adds its inputs and a constant, then divides: (Σ + plus) / divide. A negative sum fails, 13 panics.
pub(crate) struct Add;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AddParams {
    /// Constant.
    plus: i64,
    /// Divisor.
    divide: i64,
    /// Length of a second file, in bytes.
    pad: usize,
}

impl Default for AddParams {
    fn default() -> Self {
        Self { plus: 0, divide: 1, pad: 0 }
    }
}

impl Stage for Add {
    type Params = AddParams;
    const NAME: &'static str = "test.add";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a sum";
    const INPUTS: &'static [Port] = &[Port::many("numbers", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Tokens;

    fn check(_: &AddParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(params: &AddParams, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let sum: i64 = inputs.many("numbers").iter().map(number).sum::<Result<i64>>()? + params.plus;
        assert!(sum != 13, "unlucky");
        oops_core::bail_if(sum < 0, || Fault::numerical("a negative sum"))?;
        cx.measure("sum", sum);
        if params.pad > 0 {
            cx.work.write("pad.bin", |p| fs::write(p, vec![0; params.pad]).map_err(|e| Fault::writing(p, &e)))?;
        }
        put(cx, FILE, sum / params.divide)
    }
}

/// Writes many files, slowly, and goes on where it was killed.
pub(crate) struct Slow;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SlowParams {
    files: i64,
    millis: u64,
    heavy: bool,
    /// Memory that it says it needs, in bytes.
    memory: u64,
}

impl Default for SlowParams {
    fn default() -> Self {
        Self { files: 8, millis: 5, heavy: false, memory: 0 }
    }
}

/// Variable that names a folder: `slow.log` there counts files, `stop` there makes the stage wait after three.
pub(crate) const SIGNALS: &str = "OOPS_TEST_SIGNALS";

impl Stage for Slow {
    type Params = SlowParams;
    const NAME: &'static str = "test.slow";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "many files";
    const INPUTS: &'static [Port] = &[Port::one("number", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Tokens;
    const SEEDED: bool = true;
    const ON_DEVICE: bool = true;

    fn check(_: &SlowParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn needs(params: &SlowParams, _: &PortFacts) -> Needs {
        Needs { heavy: params.heavy, memory_bytes: Some(params.memory), ..Needs::default() }
    }

    fn run(params: &SlowParams, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        use std::io::Write as _;
        let signals = std::env::var_os(SIGNALS).map(PathBuf::from);
        let start = number(inputs.one("number")?)?;
        for i in 0..params.files {
            cx.check_cancelled()?;
            let name = format!("part-{i}.txt");
            if cx.work.is_done(&name) {
                continue;
            }
            put(cx, &name, start + i + cx.seed as i64)?;
            std::thread::sleep(Duration::from_millis(params.millis));
            let Some(signals) = &signals else { continue };
            let log = fs::File::options().create(true).append(true).open(signals.join("slow.log"));
            log.and_then(|mut f| writeln!(f, "{name}")).map_err(|e| Fault::writing(signals, &e))?;
            while i == 3 && signals.join("stop").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        put(cx, FILE, start)
    }
}

/// Remembers warnings.
#[derive(Default)]
pub(crate) struct Log(pub(crate) Mutex<Vec<String>>);

impl Observer for Log {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Warning { instance, message } => format!("warning {instance}: {message}"),
            Event::Finished { instance, reason, .. } => format!("{instance}: {reason}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }

    fn progress<'o>(&'o self, _: &str) -> Box<dyn Progress + 'o> {
        Box::new(NoProgress)
    }
}

/// A folder with a pipeline, a number file and a store.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
}

/// a → b → d, a → c → d, d → e.
pub(crate) const DIAMOND: &str = "
version: 1
stages:
  a: { use: test.read, with: { path: number.txt } }
  b: { use: test.add, in: { numbers: a }, with: { plus: 1 } }
  c: { use: test.add, in: { numbers: a }, with: { plus: 2, divide: 10 } }
  d: { use: test.add, in: { numbers: [b, c] } }
  e: { use: test.slow, in: { number: d } }
";

pub(crate) fn registry() -> Registry {
    Registry::new([erase::<Read>(), erase::<Add>(), erase::<Slow>(), erase::<Warn>()]).unwrap()
}

impl Bench {
    pub(crate) fn new(pipeline: &str) -> Self {
        let bench = Self { dir: TempDir::new().unwrap(), log: Log::default(), limits: Limits::default() };
        bench.pipeline(pipeline);
        bench.number(40);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pipeline(&self, text: &str) {
        fs::write(self.path("p.yaml"), text).unwrap();
    }

    pub(crate) fn number(&self, n: i64) {
        fs::write(self.path("number.txt"), format!("{n}\n")).unwrap();
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    pub(crate) fn select(&self, overrides: &[&str], selection: &Selection) -> Result<Outcome> {
        let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
        let registry = registry();
        let mut graph = Graph::load(&self.path("p.yaml"), &overrides, &registry)
            .map_err(|p| Fault::config(p.render(false, 100)))?;
        graph.check(&selection.needed(&graph)?).map_err(|p| Fault::config(p.render(false, 100)))?;
        let store = self.store();
        let cancel = AtomicBool::new(false);
        let session = Session { graph: &graph, store: &store, observer: &self.log, cancel: &cancel };
        run(session, selection, &overrides, self.limits)
    }

    /// Names of the stages that ran.
    pub(crate) fn executed(&self, overrides: &[&str]) -> Vec<String> {
        let outcome = self.select(overrides, &Selection::default()).unwrap();
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        assert_eq!(outcome.executed.len() + outcome.cached.len(), 5);
        outcome.executed
    }

    /// Lines that the observer heard since the last call.
    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.log.0.lock().unwrap())
    }

    /// Digest of the result of the last stage in the file's order.
    pub(crate) fn digest(&self) -> String {
        let outcome = self.select(&[], &Selection::default()).unwrap();
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        outcome.results.values().last().unwrap().artifact.digest().to_string()
    }
}

/// All files below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut out: Vec<PathBuf> =
        entries.flatten().flat_map(|e| if e.path().is_dir() { files(&e.path()) } else { vec![e.path()] }).collect();
    out.sort();
    out
}
