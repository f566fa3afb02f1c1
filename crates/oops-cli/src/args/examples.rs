//! Examples that stand below the help of commands.

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  oops run pipelines/llama.yaml
  oops run pipelines/llama.yaml --set plan.with.remove_fraction=0.5
  oops run pipelines/llama.yaml quality --set scores.use=score.wanda
  oops run pipelines/llama.yaml --from pruned --dry-run
  oops run pipelines/llama.yaml --jobs 4 --memory 8GiB --events events.jsonl";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  oops status pipelines/llama.yaml
  oops status pipelines/llama.yaml --set text.with.sequences=32 --explain pruned";

pub(super) const SWEEP_EXAMPLES: &str = "\
Examples:
  oops sweep pipelines/llama.yaml --set plan.with.remove_fraction=0.2,0.3,0.5 --set scores.use=score.flap,score.wanda
  oops sweep pipelines/ablations/methods.yaml --dry-run
  oops sweep pipelines/ablations/methods.yaml --row FLAP --row OOPS --keep-going
  oops sweep pipelines/ablations/*.yaml --markdown docs/results.md

A sweep file has version, about, pipeline (of every row, relative to the file), set (for all rows), columns (NAME: \
overrides), rows (NAME: { pipeline, set, judge }), seeds, judge (the model that fills the table) and figures (the stages whose \
figures do; all without it). In a set, null drops what the pipeline gives. Killed or stopped, the same command goes on.";

pub(super) const SHOW_EXAMPLES: &str = "\
Examples:
  oops show pipelines/llama.yaml quality --json
  oops show pipelines/llama.yaml plan
  oops show pipelines/llama.yaml pruned --out pruned-model
  oops show latest
  oops show latest~1 plan

A recorded run is called by its id in `oops log`, the id's first digits, latest or latest~N.";

pub(super) const DAG_EXAMPLES: &str = "\
Examples:
  oops dag pipelines/oops.yaml
  oops dag pipelines/oops.yaml --format dot | dot -Tsvg > oops.svg";

pub(super) const STAGES_EXAMPLES: &str = "\
Examples:
  oops stages
  oops stages select.qp
  oops stages --json | jq -r '.[].name'";

pub(super) const GENERATE_EXAMPLES: &str = "\
Examples:
  oops generate data/model --prompt 'Once upon a time'
  oops generate SmolLM2-135M-Instruct.Q4_1.gguf --chat --prompt 'Why is the sky blue?' --tokens 200
  oops generate pipelines/llama.yaml pruned --prompt 'Tom had' --temperature 0.8 --top-p 0.9 --seed 3
  oops generate pipelines/llama.yaml pruned --set plan.with.remove_fraction=0.5 --prompt 'Tom had' --json

Text goes to stdout as it comes, speeds go to stderr. The prompt starts with the special tokens that the tokenizer itself adds.";

pub(super) const BENCH_EXAMPLES: &str = "\
Examples:
  oops bench calibrate --json
  oops bench solve --channels 11008 --kept 8800 --outputs 4096 --runs 1
  oops bench make-model --like llama-2-7b --blocks 4 big
  oops bench prune --model big --sequences 16 --sequence-tokens 2048 --runs 1";
