//! `oops bench`: what this machine does, beside what it could do.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oops_bench::{
    Decoding, Figures, GramSize, Like, ModelSpec, Report, SolveSize, StageBench, Subject, bench_stages, gemm, gram,
    growth, plot_growth, publish, read, repeat, select, solve, write_model,
};
use oops_core::{Fault, Result, bail_if};
use oops_model::{ComputeDtype, DType};
use oops_stage::Registry;
use serde_json::{Value, json};

use crate::{
    args::{Bench, BenchWhat, Calibrating, Computed, OnModel, Repeats, Stored},
    open::Answer,
    platform::{CANCEL, catch_interrupt},
    show::line,
    terminal::{err, out},
    units::{seconds, size},
};

type Settings = BTreeMap<&'static str, Value>;

/// Runs the command.
pub(crate) fn bench(args: &Bench, registry: &Registry) -> Answer {
    catch_interrupt();
    match &args.what {
        BenchWhat::Gemm(repeats) => kernel("gemm", Settings::new(), repeats, gemm),
        BenchWhat::Gram { channels, rows, repeats } => {
            let settings = Settings::from([("channels", json!(channels)), ("rows", json!(rows))]);
            let sizes = GramSize { channels: *channels as usize, rows: *rows as usize };
            kernel("gram", settings, repeats, || gram(sizes))
        }
        BenchWhat::Solve { channels, kept, outputs, repeats } => {
            let kept = kept.unwrap_or((channels * 4).div_ceil(5));
            bail_if(kept > *channels, || Fault::config("`--kept` must not exceed `--channels`"))?;
            let settings =
                Settings::from([("channels", json!(channels)), ("kept", json!(kept)), ("outputs", json!(outputs))]);
            let sizes = SolveSize { channels: *channels as usize, kept: kept as usize, outputs: *outputs as usize };
            kernel("solve", settings, repeats, || solve(sizes))
        }
        BenchWhat::Select { units, blocks, repeats } => {
            bail_if(blocks > units, || Fault::config("`--blocks` must not exceed `--units`"))?;
            let settings = Settings::from([("units", json!(units)), ("blocks", json!(blocks))]);
            kernel("select", settings, repeats, || select(*units as usize, *blocks as usize))
        }
        BenchWhat::Read { model, repeats } => {
            kernel("read", Settings::from([("model", json!(model))]), repeats, || read(model))
        }
        BenchWhat::Publish { folder, size, repeats } => {
            let folder = folder.clone().unwrap_or_else(std::env::temp_dir);
            let settings = Settings::from([("folder", json!(folder)), ("bytes", json!(size))]);
            kernel("publish", settings, repeats, || publish(&folder, *size as usize))
        }
        BenchWhat::Calibrate(on) => calibrating("calibrate", StageBench::Calibrate, on, registry),
        BenchWhat::Gradients(on) => calibrating("gradients", StageBench::Gradients, on, registry),
        BenchWhat::Evaluate(on) => stages("evaluate", StageBench::Evaluate, on, ComputeDtype::F32, registry),
        BenchWhat::Decode { model, prompt_tokens, tokens, repeats } => {
            let subject = Model::new(model.as_deref())?;
            let decoding = Decoding::load(&subject.path, *prompt_tokens as usize, *tokens as usize)?;
            let settings = Settings::from([
                ("model", subject.shown),
                ("prompt_tokens", json!(prompt_tokens)),
                ("tokens", json!(tokens)),
            ]);
            kernel("decode", settings, repeats, || decoding.run())
        }
        BenchWhat::Distill(on) => stages("distill", StageBench::Distill, on, ComputeDtype::F32, registry),
        BenchWhat::Prune(on) => calibrating("prune", StageBench::Prune, on, registry),
        BenchWhat::Oops(on) => calibrating("oops", StageBench::Oops, on, registry),
        BenchWhat::Growth { plot, repeats } => growing(plot.as_deref(), repeats, registry),
        BenchWhat::MakeModel { like, blocks, dtype, seed, out } => {
            let dtype = match dtype {
                Stored::F32 => DType::F32,
                Stored::F16 => DType::F16,
                Stored::Bf16 => DType::BF16,
            };
            let spec = ModelSpec { config: like.config(blocks.map(|n| n as usize), dtype), seed: *seed };
            make_model(&spec, out)
        }
    }
}

fn kernel(name: &'static str, settings: Settings, repeats: &Repeats, one: impl FnMut() -> Result<Figures>) -> Answer {
    print(&repeated(name, settings, repeats, one)?, repeats)
}

fn repeated(
    name: &'static str,
    settings: Settings,
    repeats: &Repeats,
    one: impl FnMut() -> Result<Figures>,
) -> Result<Report> {
    let runs = repeat(repeats.runs as usize, &mut progress(repeats), one)?;
    Ok(Report::of(name, settings, &runs))
}

fn calibrating(name: &'static str, bench: StageBench, with: &Calibrating, registry: &Registry) -> Answer {
    let compute = match with.compute_dtype {
        Computed::F32 => ComputeDtype::F32,
        Computed::Bf16 => ComputeDtype::Bf16,
    };
    stages(name, bench, &with.on, compute, registry)
}

fn stages(
    name: &'static str,
    bench: StageBench,
    on: &OnModel,
    compute_dtype: ComputeDtype,
    registry: &Registry,
) -> Answer {
    let Model { path, shown, _folder } = Model::new(on.model.as_deref())?;
    let (sequences, sequence_tokens) = (on.sequences as usize, on.sequence_tokens as usize);
    let subject = Subject { model: path, sequences, sequence_tokens, compute_dtype };
    let mut settings = Settings::from([
        ("model", shown),
        ("sequences", json!(on.sequences)),
        ("sequence_tokens", json!(on.sequence_tokens)),
    ]);
    if !compute_dtype.is_f32() {
        settings.insert("compute_dtype", json!(compute_dtype));
    }
    let runs = on.repeats.runs as usize;
    let runs = bench_stages(bench, &subject, registry, runs, &CANCEL, &mut progress(&on.repeats))?;
    print(&Report::of(name, settings, &runs), &on.repeats)
}

fn growing(plot: Option<&Path>, repeats: &Repeats, registry: &Registry) -> Answer {
    let models = tempfile::tempdir().map_err(|e| Fault::store(format!("no temporary folder: {e}")))?;
    let report = repeated("growth", Settings::new(), repeats, || growth(models.path(), registry, &CANCEL))?;
    // Figures first: a plot that cannot be written loses none.
    let code = print(&report, repeats)?;
    plot.map_or(Ok(()), |path| plot_growth(&report.medians, path))?;
    Ok(code)
}

/// What a benchmark runs on.
struct Model {
    path: PathBuf,
    /// As reports name it.
    shown: Value,
    /// Where a made one lies.
    _folder: tempfile::TempDir,
}

impl Model {
    /// The checkpoint at `path`; without one, random weights in SmolLM2-135M's shape.
    fn new(path: Option<&Path>) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(|e| Fault::store(format!("no temporary folder: {e}")))?;
        if let Some(path) = path {
            return Ok(Self { path: path.to_owned(), shown: json!(path), _folder: folder });
        }
        let made = folder.path().join("model");
        let spec = ModelSpec { config: Like::SmolLm2135m.config(None, DType::BF16), seed: 0 };
        write_model(&spec, &made, &mut |_, _| ())?;
        Ok(Self { path: made, shown: json!("random, like smollm2-135m"), _folder: folder })
    }
}

fn make_model(spec: &ModelSpec, folder: &Path) -> Answer {
    write_model(spec, folder, &mut |i, n| err(&format!("{i} of {n} blocks")))?;
    out(&format!("made {}", folder.display()));
    Ok(0)
}

fn progress(repeats: &Repeats) -> impl FnMut(usize) + use<> {
    let runs = repeats.runs;
    move |i| err(&format!("{i} of {runs} runs"))
}

fn print(report: &Report, repeats: &Repeats) -> Answer {
    if repeats.json {
        out(&line(report)?);
    } else {
        table(report);
    }
    let Some(path) = &repeats.against else { return Ok(0) };
    let text = std::fs::read_to_string(path).map_err(|e| Fault::reading(path, &e))?;
    let stored = text.lines().filter_map(|l| serde_json::from_str(l).ok()).find(|stored| report.is_like(stored));
    let none = || Fault::data("no report of this benchmark with these settings").at(path.display());
    let worse = report.regressions(&stored.ok_or_else(none)?);
    worse.iter().for_each(|w| err(&format!("regression: {w}")));
    Ok(u8::from(!worse.is_empty()))
}

fn table(report: &Report) {
    let settings = report.settings.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    });
    let settings: Vec<String> = settings.collect();
    out(&format!("{}{}{}", report.bench, if settings.is_empty() { "" } else { ": " }, settings.join(", ")));
    let width = report.medians.keys().map(String::len).max().unwrap_or(0);
    for (name, median) in &report.medians {
        let [low, high] = report.spread[name].map(|v| shown(name, v));
        out(&format!("  {name:width$}  {:>10}  ({low} … {high})", shown(name, *median)));
    }
    out(&format!("  median of {} (smallest … largest)", report.runs));
}

/// A figure in the unit that its name ends in.
fn shown(name: &str, value: f64) -> String {
    match name {
        n if n.ends_with("_bytes") => size(value as u64),
        n if n.contains("seconds") => seconds(value),
        n if n.contains("share_of") => format!("{:.1} %", 100.0 * value),
        _ if value >= 1000.0 => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    }
}
