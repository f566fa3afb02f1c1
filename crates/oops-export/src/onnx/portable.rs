//! The form of standard operators only (opset 18): norms, rotation and masked attention written out. Norms and softmax
//! are computed in f32 whatever the precision.

use super::{
    decoder::{Part, cache_names},
    draft::{Draft, int, ints},
    genai,
    proto::BOOL,
};

/// A score that no softmax sees, and that stays finite where a whole row is masked.
const MASKED: f32 = -1e30;

/// What the attention of all blocks reads.
pub(super) struct Shared {
    /// cos and sin at the positions of the new tokens, `[batch, 1, tokens, head_dim]`.
    cos: String,
    sin: String,
    /// Whether a new token sees a key, `[batch, 1, 1, tokens, keys]`.
    sees: String,
}

/// Rotary tables and mask from `attention_mask`; padding may stand on either side.
pub(super) fn shared(d: &mut Draft<'_>) -> Shared {
    let lengths = Lengths::of(d);
    let (cos, sin) = turns(d, &lengths, 1);
    Shared { cos, sin, sees: mask(d, &lengths) }
}

/// Tokens before this call, and with it; scalars.
pub(super) struct Lengths {
    past: String,
    keys: String,
}

impl Lengths {
    pub(super) fn of(d: &mut Draft<'_>) -> Self {
        let one = d.integer(1);
        let mut length = |of: &str| {
            let shape = d.node(&format!("{of}.dims"), "Shape", &[of], vec![]);
            d.node(&format!("{of}.length"), "Gather", &[&shape, &one], vec![int("axis", 0)])
        };
        let (tokens, keys) = (length("input_ids"), length("attention_mask"));
        Self { past: d.node("past_length", "Sub", &[&keys, &tokens], vec![]), keys }
    }
}

/// cos and sin at the positions of the new tokens, `[batch, tokens, head_dim]` with a dimension of 1 at `axis`.
pub(super) fn turns(d: &mut Draft<'_>, lengths: &Lengths, axis: i64) -> (String, String) {
    let (one, zero) = (d.integer(1), d.integer(0));
    let counted = d.node("positions.counted", "CumSum", &["attention_mask", &one], vec![]);
    let before = d.node("positions.before", "Sub", &[&counted, &one], vec![]);
    let all = d.node("positions.all", "Max", &[&before, &zero], vec![]);
    let (first, end, second) = (listed(d, &lengths.past), listed(d, &lengths.keys), d.list(&[1]));
    let new = d.node("positions", "Slice", &[&all, &first, &end, &second], vec![]);
    let (cos, sin) = genai::tables(d);
    (turned(d, &cos, &new, axis), turned(d, &sin, &new, axis))
}

/// A scalar as a list of one.
fn listed(d: &mut Draft<'_>, scalar: &str) -> String {
    let axis = d.list(&[0]);
    d.node(&format!("{scalar}.list"), "Unsqueeze", &[scalar, &axis], vec![])
}

/// Rows of a rotary table at the positions, for both halves of a head.
fn turned(d: &mut Draft<'_>, table: &str, positions: &str, axis: i64) -> String {
    let rows = d.node(&format!("{table}.rows"), "Gather", &[table, positions], vec![int("axis", 0)]);
    let both = d.node(&format!("{table}.both"), "Concat", &[&rows, &rows], vec![int("axis", -1)]);
    let axis = d.list(&[axis]);
    d.node(&format!("{table}.turns"), "Unsqueeze", &[&both, &axis], vec![])
}

/// A key is seen if it is no padding, not after the query, and inside the window.
fn mask(d: &mut Draft<'_>, lengths: &Lengths) -> String {
    let Lengths { past, keys } = lengths;
    let (zero, one, column) = (d.integer(0), d.integer(1), d.list(&[1]));
    let key = d.node("mask.key", "Range", &[&zero, keys, &one], vec![]);
    let query = d.node("mask.new", "Range", &[past, keys, &one], vec![]);
    let query = d.node("mask.query", "Unsqueeze", &[&query, &column], vec![]);
    let mut sees = d.node("mask.causal", "LessOrEqual", &[&key, &query], vec![]);
    if let Some(window) = d.config.sliding_window {
        let window = d.integer(window as i64);
        let edge = d.node("mask.edge", "Sub", &[&query, &window], vec![]);
        let near = d.node("mask.near", "Greater", &[&key, &edge], vec![]);
        sees = d.node("mask.window", "And", &[&sees, &near], vec![]);
    }
    let real = d.node("mask.real", "Cast", &["attention_mask"], vec![int("to", BOOL.into())]);
    let axes = d.list(&[1, 2, 3]);
    let real = d.node("mask.keys", "Unsqueeze", &[&real, &axes], vec![]);
    d.node("mask", "And", &[&real, &sees], vec![])
}

/// RMSNorm of the last dimension; the mean square is taken in f32.
pub(super) fn norm(d: &mut Draft<'_>, name: &str, x: &str, weight: &str) -> String {
    let part = |p: &str| format!("{name}.{p}");
    let (axis, eps) = (d.list(&[-1]), d.number(d.config.norm_eps as f32));
    let wide = d.widened(x);
    let squares = d.node(&part("squares"), "Mul", &[&wide, &wide], vec![]);
    let mean = d.node(&part("mean"), "ReduceMean", &[&squares, &axis], vec![int("keepdims", 1)]);
    let shifted = d.node(&part("shifted"), "Add", &[&mean, &eps], vec![]);
    let root = d.node(&part("root"), "Sqrt", &[&shifted], vec![]);
    let unit = d.node(&part("unit"), "Div", &[&wide, &root], vec![]);
    let unit = d.narrowed(&unit);
    d.node(name, "Mul", &[&unit, weight], vec![])
}

/// Attention of one block before o_proj.
pub(super) fn attention(
    d: &mut Draft<'_>,
    part: &Part<'_>,
    shared: &Shared,
    cache: usize,
    [q, k, v]: [&str; 3],
) -> String {
    let b = part.dims;
    let (width, kv, group) = (b.head_dim as i64, b.kv_heads as i64, b.group_size() as i64);
    let name = |p: &str| format!("model.layers.{}.self_attn.{p}", part.l);
    let q = heads(d, part, "q", q, b.query_heads);
    let q = rotated(d, &name("q"), &q, (&shared.cos, &shared.sin), b.head_dim);
    let k = heads(d, part, "k", k, b.kv_heads);
    let k = rotated(d, &name("k"), &k, (&shared.cos, &shared.sin), b.head_dim);
    let v = heads(d, part, "v", v, b.kv_heads);
    let (k, v) = (joined(d, cache, "key", &k), joined(d, cache, "value", &v));

    let axis = d.list(&[2]);
    let k = d.node(&name("k.transposed"), "Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])]);
    let k = d.node(&name("k.shared"), "Unsqueeze", &[&k, &axis], vec![]);
    let v = d.node(&name("v.shared"), "Unsqueeze", &[&v, &axis], vec![]);
    let grouped = d.list(&[0, kv, group, -1, width]);
    let q = scaled(d, &q, b.head_dim);
    let q = d.node(&name("q.grouped"), "Reshape", &[&q, &grouped], vec![]);
    let scores = d.node(&name("scores"), "MatMul", &[&q, &k], vec![]);
    let probabilities = softmax(d, &scores, shared);
    let mixed = d.node(&name("mixed"), "MatMul", &[&probabilities, &v], vec![]);
    let split = d.list(&[0, kv * group, -1, width]);
    let mixed = d.node(&name("mixed.heads"), "Reshape", &[&mixed, &split], vec![]);
    let mixed = d.node(&name("mixed.tokens"), "Transpose", &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
    let flat = d.list(&[0, 0, kv * group * width]);
    d.node(&name("mixed.joined"), "Reshape", &[&mixed, &flat], vec![])
}

/// q/√d_h: scaled before the product, whose sums 16-bit floats might not hold.
fn scaled(d: &mut Draft<'_>, q: &str, head_dim: usize) -> String {
    let scale = d.number((head_dim as f32).sqrt().recip());
    let wide = d.widened(q);
    let small = d.node(&format!("{q}.scaled"), "Mul", &[&wide, &scale], vec![]);
    d.narrowed(&small)
}

/// Softmax over the keys that are seen.
fn softmax(d: &mut Draft<'_>, scores: &str, shared: &Shared) -> String {
    let (masked, wide) = (d.number(MASKED), d.widened(scores));
    let seen = d.node(&format!("{scores}.seen"), "Where", &[&shared.sees, &wide, &masked], vec![]);
    let p = d.node(&format!("{scores}.softmax"), "Softmax", &[&seen], vec![int("axis", -1)]);
    d.narrowed(&p)
}

/// `[batch, tokens, heads·head_dim]` to `[batch, heads, tokens, head_dim]`, each head normalised where the family does.
fn heads(d: &mut Draft<'_>, part: &Part<'_>, which: &str, x: &str, heads: usize) -> String {
    let name = format!("model.layers.{}.self_attn.{which}", part.l);
    let shape = d.list(&[0, 0, heads as i64, part.dims.head_dim as i64]);
    let mut x = d.node(&format!("{name}.heads"), "Reshape", &[x, &shape], vec![]);
    if let Some(weight) = part.head_norm(d, &format!("self_attn.{which}_norm")) {
        x = norm(d, &format!("{name}_norm"), &x, &weight);
    }
    d.node(&format!("{name}.tokens"), "Transpose", &[&x], vec![ints("perm", &[0, 2, 1, 3])])
}

/// Channel i turns with channel i + head_dim/2; `x` has four dimensions.
pub(super) fn rotated(d: &mut Draft<'_>, name: &str, x: &str, (cos, sin): (&str, &str), head_dim: usize) -> String {
    let part = |p: &str| format!("{name}.{p}");
    let (zero, half, end, axis) =
        (d.list(&[0]), d.list(&[head_dim as i64 / 2]), d.list(&[head_dim as i64]), d.list(&[3]));
    let low = d.node(&part("low"), "Slice", &[x, &zero, &half, &axis], vec![]);
    let high = d.node(&part("high"), "Slice", &[x, &half, &end, &axis], vec![]);
    let minus = d.node(&part("minus"), "Neg", &[&high], vec![]);
    let crossed = d.node(&part("crossed"), "Concat", &[&minus, &low], vec![int("axis", -1)]);
    let straight = d.node(&part("cos"), "Mul", &[x, cos], vec![]);
    let crossed = d.node(&part("sin"), "Mul", &[&crossed, sin], vec![]);
    d.node(&part("turned"), "Add", &[&straight, &crossed], vec![])
}

/// The cache with what is new behind it.
fn joined(d: &mut Draft<'_>, cache: usize, which: &str, new: &str) -> String {
    let (past, present) = cache_names(cache, which);
    d.node(&present, "Concat", &[&past, new], vec![int("axis", 2)])
}
