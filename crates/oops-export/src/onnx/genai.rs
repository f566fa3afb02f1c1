//! The form for onnxruntime-genai: grouped attention, rotation and norms are one operator each, which every execution
//! provider of ONNX Runtime optimises.

use super::{
    decoder::{Part, Stream, cache_names},
    draft::{Draft, Origin, float, int},
    portable,
    proto::INT32,
};

/// What the attention of all blocks reads.
pub(super) struct Shared {
    /// Tokens of each sequence, minus one.
    lengths: String,
    /// Longest sequence.
    total: String,
    rotation: Rotation,
}

/// Who turns queries and keys.
enum Rotation {
    /// The attention, by tables `[positions, head_dim/2]`.
    Inside { cos: String, sin: String },
    /// Nodes before it, by rows `[batch, tokens, 1, head_dim]`.
    Before { cos: String, sin: String },
}

/// The attention of ONNX Runtime turns heads whose width is a multiple of this, and others not at all.
const TURNED: usize = 16;

/// `attention_mask` to lengths, and the rotary tables.
pub(super) fn shared(d: &mut Draft<'_>) -> Shared {
    let (axis, one) = (d.list(&[1]), d.integer(1));
    let to_i32 = || vec![int("to", INT32.into())];
    let tokens = d.node("attention_mask.tokens", "ReduceSum", &["attention_mask", &axis], vec![int("keepdims", 0)]);
    let last = d.node("attention_mask.last", "Sub", &[&tokens, &one], vec![]);
    let lengths = d.node("seqlens_k", "Cast", &[&last], to_i32());
    let shape = d.node("attention_mask.shape", "Shape", &["attention_mask"], vec![]);
    let total = d.node("attention_mask.total", "Gather", &[&shape, &one], vec![int("axis", 0)]);
    let total = d.node("total_sequence_length", "Cast", &[&total], to_i32());
    Shared { lengths, total, rotation: rotation(d) }
}

fn rotation(d: &mut Draft<'_>) -> Rotation {
    if head_dim(d).is_multiple_of(TURNED) {
        let (cos, sin) = tables(d);
        return Rotation::Inside { cos, sin };
    }
    let lengths = portable::Lengths::of(d);
    let (cos, sin) = portable::turns(d, &lengths, 2);
    Rotation::Before { cos, sin }
}

/// Channels of a head, the same in all blocks.
fn head_dim(d: &Draft<'_>) -> usize {
    d.config.dims.blocks.first().map_or(0, |b| b.head_dim)
}

/// Rotary tables, `[positions, head_dim/2]`.
pub(super) fn tables(d: &mut Draft<'_>) -> (String, String) {
    let shape = [d.config.max_position, head_dim(d) / 2];
    let cos = d.weight("cos_cache", &shape, Origin::Turns(f64::cos));
    (cos, d.weight("sin_cache", &shape, Origin::Turns(f64::sin)))
}

/// RMSNorm of the stream; adds what is pending on the way.
pub(super) fn norm(d: &mut Draft<'_>, name: &str, weight: &str, stream: &mut Stream) -> String {
    let eps = d.config.norm_eps as f32;
    let Some(branch) = stream.pending.take() else { return plain_norm(d, name, &stream.residual, weight) };
    let sum = format!("{branch}.sum");
    let inputs = [stream.residual.as_str(), &branch, weight];
    d.node_to(name, "SkipSimplifiedLayerNormalization", &inputs, &[name, "", "", &sum], vec![float("epsilon", eps)]);
    stream.residual = sum;
    name.to_owned()
}

fn plain_norm(d: &mut Draft<'_>, name: &str, x: &str, weight: &str) -> String {
    let attributes = vec![int("axis", -1), float("epsilon", d.config.norm_eps as f32), int("stash_type", 1)];
    d.node(name, "SimplifiedLayerNormalization", &[x, weight], attributes)
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
    let mut q = head_norm(d, part, "self_attn.q_norm", q, b.query_heads);
    let mut k = head_norm(d, part, "self_attn.k_norm", k, b.kv_heads);
    let mut turns = [""; 2];
    match &shared.rotation {
        Rotation::Inside { cos, sin } => turns = [cos, sin],
        Rotation::Before { cos, sin } => {
            q = rotated(d, part, "q", &q, (cos, sin), b.query_heads);
            k = rotated(d, part, "k", &k, (cos, sin), b.kv_heads);
        }
    }
    let (key, value) = (cache_names(cache, "key"), cache_names(cache, "value"));
    let name = format!("model.layers.{}.self_attn", part.l);
    let mut attributes = vec![
        int("num_heads", b.query_heads as i64),
        int("kv_num_heads", b.kv_heads as i64),
        float("scale", (b.head_dim as f32).sqrt().recip()),
        int("do_rotary", i64::from(matches!(shared.rotation, Rotation::Inside { .. }))),
        int("rotary_interleaved", 0),
    ];
    attributes.extend(d.config.sliding_window.map(|w| int("local_window_size", w as i64)));
    let inputs: [&str; 9] = [&q, &k, v, &key.0, &value.0, &shared.lengths, &shared.total, turns[0], turns[1]];
    let inputs = if turns[0].is_empty() { &inputs[..7] } else { &inputs };
    d.node_to(&name, "GroupQueryAttention", inputs, &[&name, &key.1, &value.1], attributes);
    name
}

/// Turns every head of `[batch, tokens, heads·head_dim]`.
fn rotated(d: &mut Draft<'_>, part: &Part<'_>, which: &str, x: &str, turns: (&str, &str), heads: usize) -> String {
    let (name, width) = (format!("model.layers.{}.self_attn.{which}", part.l), part.dims.head_dim);
    let (split, joined) = (d.list(&[0, 0, heads as i64, width as i64]), d.list(&[0, 0, (heads * width) as i64]));
    let x = d.node(&format!("{name}.heads"), "Reshape", &[x, &split], vec![]);
    let x = portable::rotated(d, &name, &x, turns, width);
    d.node(&format!("{name}.joined"), "Reshape", &[&x, &joined], vec![])
}

/// RMSNorm of every head `[batch, tokens, heads·head_dim]`, where the family has one.
fn head_norm(d: &mut Draft<'_>, part: &Part<'_>, name: &str, x: &str, heads: usize) -> String {
    let Some(weight) = part.head_norm(d, name) else { return x.to_owned() };
    let (split, joined) = (d.list(&[0, -1, part.dims.head_dim as i64]), heads * part.dims.head_dim);
    let place = format!("model.layers.{}.{name}", part.l);
    let x = d.node(&format!("{place}.heads"), "Reshape", &[x, &split], vec![]);
    let x = plain_norm(d, &place, &x, &weight);
    let joined = d.list(&[0, -1, joined as i64]);
    d.node(&format!("{place}.joined"), "Reshape", &[&x, &joined], vec![])
}
