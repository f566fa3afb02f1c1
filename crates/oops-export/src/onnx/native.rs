//! ONNX Runtime's own library, loaded from where it is installed: prefill and decoding steps with the cache, as a program
//! that serves the model does.
//!
//! The library is found by the parameter, then `ORT_DYLIB_PATH`, then the package `onnxruntime` of `python3`. A process
//! loads one; whoever comes second uses the first.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use half::f16;
use oops_core::{Fault, Result, bail_if};
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{Session, SessionInputValue},
    value::{DynValue, Tensor},
};

use super::{
    decoder::{Cache, cache_names},
    draft::Precision,
};
use crate::proof::Proof;

/// Variable that names the library.
const VARIABLE: &str = "ORT_DYLIB_PATH";
/// Prints the folder of python's package, without loading it.
const FIND: &str = "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";

/// ONNX Runtime, loaded.
pub(super) struct Runtime(Loaded);

/// The library of this process, by its file's name.
#[derive(Clone)]
struct Loaded {
    environment: Environment,
    file: String,
}

/// A graph that ONNX Runtime has opened.
pub(super) struct Opened {
    session: Session,
    caches: Vec<Cache>,
    precision: Precision,
}

impl Runtime {
    /// Loads the library; says where it was looked for if there is none.
    pub(super) fn load(path: Option<&Path>) -> Result<Self> {
        static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);
        // A panic while it was held leaves it empty or whole.
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(Self(loaded.clone()));
        }
        let path = library(path)?;
        let refused = |e: String| {
            Fault::device(format!("ONNX Runtime cannot be loaded: {e}"))
                .at(path.display())
                .help("ONNX Runtime 1.18 or newer is needed, for this machine")
        };
        let builder = ort::init_from(&path).map_err(|e| refused(e.to_string()))?;
        let environment = builder.with_name("oops").build().map_err(|e| refused(e.to_string()))?;
        environment.set_log_level(LogLevel::Fatal);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self(loaded.insert(Loaded { environment, file }).clone()))
    }

    /// The library: its file's name, and its build in its own words.
    pub(super) fn build(&self) -> String {
        format!("{}; {}", self.0.file, ort::info())
    }

    /// Opens a graph.
    pub(super) fn open(&self, graph: &Path, caches: Vec<Cache>, precision: Precision) -> Result<Opened> {
        let session = Session::builder(&self.0.environment).and_then(|mut b| b.commit_from_file(graph));
        let session = session.map_err(|e| failed("open", &e))?;
        Ok(Opened { session, caches, precision })
    }
}

fn failed(what: &str, e: &ort::Error) -> Fault {
    Fault::numerical(format!("ONNX Runtime cannot {what} the export: {e}"))
        .help("this is a bug of the exporter: please report it with the pipeline file")
}

impl Opened {
    /// Logits of a proof's sequences, `[Σ lengths, vocab]`: each prompt at once, then token by token.
    pub(super) fn run(&mut self, proof: &Proof, between: &dyn Fn() -> Result<()>) -> Result<Vec<f32>> {
        let mut logits = Vec::new();
        for (sequence, calls) in proof.calls() {
            between()?;
            let mut caches = self.empty().map_err(|e| failed("start", &e))?;
            for call in calls {
                let (tokens, end) = (&sequence[call.clone()], call.end);
                caches = self.step(tokens, end, caches, &mut logits).map_err(|e| failed("run", &e))?;
            }
        }
        Ok(logits)
    }

    /// Caches of no tokens, key and value of each.
    fn empty(&self) -> ort::Result<Vec<DynValue>> {
        let allocator = self.session.allocator();
        let one = |c: &Cache| -> ort::Result<DynValue> {
            let shape = [1, c.kv_heads, 0, c.head_dim];
            Ok(match self.precision {
                Precision::F32 | Precision::F16Weights => Tensor::<f32>::new(allocator, shape)?.into_dyn(),
                Precision::F16 => Tensor::<f16>::new(allocator, shape)?.into_dyn(),
            })
        };
        self.caches.iter().flat_map(|c| [one(c), one(c)]).collect()
    }

    /// Feeds `tokens`, with which the sequence has `total`; gives the new caches.
    fn step(
        &mut self,
        tokens: &[u32],
        total: usize,
        caches: Vec<DynValue>,
        logits: &mut Vec<f32>,
    ) -> ort::Result<Vec<DynValue>> {
        let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = vec![
            ("input_ids".to_owned(), Tensor::from_array(([1, ids.len()], ids))?.into()),
            ("attention_mask".to_owned(), Tensor::from_array(([1, total], vec![1_i64; total]))?.into()),
        ];
        let names: Vec<_> = (0..self.caches.len()).flat_map(|i| ["key", "value"].map(|p| cache_names(i, p))).collect();
        inputs.extend(names.iter().zip(caches).map(|((past, _), value)| (past.clone(), value.into())));
        let mut outputs = self.session.run(inputs)?;
        logits.extend(outputs["logits"].try_extract_tensor::<f32>()?.1);
        let taken = |name: &String| outputs.remove(name).ok_or_else(|| ort::Error::new(format!("no output `{name}`")));
        names.iter().map(|(_, present)| present).map(taken).collect()
    }
}

/// Where the library lies.
fn library(given: Option<&Path>) -> Result<PathBuf> {
    let variable = std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
    let named = given.map(|p| (p.to_owned(), "parameter `runtime`")).or(variable.map(|p| (p, VARIABLE)));
    if let Some((path, by)) = named {
        bail_if(!path.is_file(), || {
            Fault::device("there is no ONNX Runtime library").at(path.display()).at(by).help(HELP)
        })?;
        return Ok(path);
    }
    of_python("python3").ok_or_else(|| {
        Fault::device(format!(
            "no ONNX Runtime library to verify with: {VARIABLE} is not set, `python3` has no onnxruntime"
        ))
        .help(HELP)
    })
}

const HELP: &str = "`pip install onnxruntime` brings it; `runtime` or ORT_DYLIB_PATH names it elsewhere; `verify: embedded` does without";

/// The library of a Python's package `onnxruntime`.
pub(super) fn of_python(python: &str) -> Option<PathBuf> {
    let out = Command::new(python).args(["-c", FIND]).output().ok().filter(|o| o.status.success())?;
    let folder = PathBuf::from(String::from_utf8(out.stdout).ok()?.trim()).join("capi");
    let is_library = |p: &PathBuf| {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        ["libonnxruntime.so.", "libonnxruntime.1", "onnxruntime.dll"].iter().any(|s| name.starts_with(s))
    };
    let files = std::fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path()));
    files.filter(is_library).max()
}
