//! Warnings of stages: told while they run and again at every hit, kept in records, and errors where they should be.

use oops_artifact::Kind;
use oops_core::Result;
use oops_engine::Selection;
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use oops_store::Lookup;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fakes::{Bench, FILE, number, put};

/// Hands a number on and warns, when it is checked and while it runs, of what it is told.
pub(crate) struct Warn;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WarnParams {
    check: Option<String>,
    run: Option<String>,
}

impl Stage for Warn {
    type Params = WarnParams;
    const NAME: &'static str = "test.warn";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a number with a warning";
    const INPUTS: &'static [Port] = &[Port::one("number", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Tokens;

    fn check(params: &WarnParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts { warnings: params.check.iter().cloned().collect(), ..Facts::default() })
    }

    fn run(params: &WarnParams, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        params.run.iter().for_each(|message| cx.warn(message.as_str()));
        put(cx, FILE, number(inputs.one("number")?)?)
    }
}

const PIPELINE: &str = "
version: 1
stages:
  a: { use: test.read, with: { path: number.txt } }
  w: { use: test.warn, in: { number: a }, with: { check: checked, run: ran } }
  s: { use: test.add, in: { numbers: w } }
";

#[test]
fn a_warning_is_told_kept_and_told_again_at_a_hit() {
    let bench = Bench::new(PIPELINE);
    let first = bench.select(&[], &Selection::default()).unwrap();
    bench.heard();
    let named = |message: &str| ("w".to_owned(), message.to_owned());
    assert_eq!(first.warnings, [named("checked"), named("ran")]);
    let again = bench.select(&[], &Selection::default()).unwrap();
    assert_eq!((again.executed.len(), &again.warnings), (0, &first.warnings));
    assert_eq!(bench.heard(), ["warning w: checked", "warning w: ran"]);
    let run = bench.store().runs().remove(0).log.outcome.unwrap();
    assert_eq!(run.warnings, first.warnings);
}

#[test]
fn where_warnings_are_errors_nothing_is_published_and_no_such_result_is_used() {
    let mut bench = Bench::new(PIPELINE);
    bench.limits.strict = true;
    let failed = bench.select(&["w.with.check=null"], &Selection::default()).unwrap();
    let (name, fault) = &failed.failed[0];
    assert_eq!((name.as_str(), fault.what(), fault.class().exit_code()), ("w", "ran", 2));
    assert_eq!(failed.open, ["s"]);
    assert_eq!(failed.results.len(), 1, "only what was read is published");
    bench.limits.strict = false;
    let done = bench.select(&["w.with.check=null"], &Selection::default()).unwrap();
    let key = done.results[&1].key;
    assert!(matches!(bench.store().lookup(&key), Lookup::Hit(record) if record.warnings == ["ran"]));
    bench.limits.strict = true;
    let refused = bench.select(&["w.with.check=null"], &Selection::default()).unwrap();
    assert_eq!((refused.failed[0].0.as_str(), refused.executed.len()), ("w", 0));
    let quiet = ["w.with.check=null", "w.with.run=null"];
    assert!(bench.select(&quiet, &Selection::default()).unwrap().failed.is_empty());
}
