//! Spellings of both versions, what is refused, and what is said.

use super::*;
use crate::RopeScaling;

fn said(text: &str) -> Result<(Rope, Vec<String>)> {
    let mut warnings = Vec::new();
    let rope = read(Keys(&serde_json::from_str(text).unwrap()), 4096, 8, &mut warnings)?;
    Ok((rope, warnings))
}

fn parse(text: &str) -> Result<Rope> {
    said(text).map(|s| s.0)
}

#[test]
fn both_spellings_mean_the_same() {
    let new = r#"{"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
    let old = r#"{"rope_theta": 500000, "rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
    assert_eq!(said(new).unwrap(), said(old).unwrap());
    let plain = parse(r#"{"rope_theta": 1e6, "rope_scaling": null}"#).unwrap();
    assert_eq!(plain, Rope { theta: 1e6, scaling: RopeScaling::None });
    let linear = parse(r#"{"rope_scaling": {"type": "linear", "factor": 4}}"#).unwrap();
    assert_eq!(linear, Rope { theta: 1e4, scaling: RopeScaling::Linear { factor: 4.0 } });
}

#[test]
fn scaling_beside_parameters_takes_their_place_with_theta() {
    let both = r#"{"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}"#;
    assert_eq!(parse(both).unwrap(), Rope { theta: 1e4, scaling: RopeScaling::Linear { factor: 4.0 } });
    let empty = r#"{"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": {}}"#;
    assert_eq!(parse(empty).unwrap().theta, 5e5);
}

#[test]
fn the_original_length_at_the_top_counts_first_and_where_versions_differ_it_is_said() {
    let scaling = r#""rope_theta": 1e4, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#;
    let original = |text: &str| match said(text).unwrap() {
        (Rope { scaling: RopeScaling::Llama3 { original_max_position, .. }, .. }, warnings) => {
            (original_max_position, warnings.len())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(original(&format!("{{{scaling}}}")), (64, 0));
    assert_eq!(original(&format!(r#"{{{scaling}, "original_max_position_embeddings": 32}}"#)), (32, 1));
    let theta = r#"{"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}"#;
    assert!(said(theta).unwrap().1[0].contains("transformers 4.57 makes another one"));
    let idle = r#"{"rope_scaling": {"rope_type": "linear", "factor": 2.0, "attention_factor": 3.0}}"#;
    assert!(said(idle).unwrap().1[0].contains("without effect: `attention_factor`"));
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let yarn = |truncate, attention_factor| RopeScaling::Yarn {
        factor: 4.0,
        original_max_position: 64,
        beta_fast: 16.0,
        beta_slow: 2.0,
        truncate,
        attention_factor,
    };
    for scaling in [
        RopeScaling::None,
        RopeScaling::Linear { factor: 3.0 },
        RopeScaling::Dynamic { factor: 2.0, original_max_position: 4096 },
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 2.0, high_freq_factor: 8.0, original_max_position: 512 },
        yarn(true, 1.25),
        yarn(false, 0.75),
        RopeScaling::Divisors { divisors: vec![1.0, 1.1, 3.7, 9.3], attention_factor: 1.19 },
    ] {
        let config = serde_json::json!({ "rope_theta": 5e5, "rope_scaling": write(&scaling, 4096) });
        let (rope, warnings) = said(&config.to_string()).unwrap();
        assert_eq!((rope, warnings.len()), (Rope { theta: 5e5, scaling }, 0));
    }
}

#[test]
fn what_we_cannot_compute_is_refused() {
    for (text, word) in [
        (r#"{"rope_scaling": {"type": "su", "factor": 4}}"#, "`rope_type` of `rope_scaling` is `su`"),
        (r#"{"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 4}}"#, "another `type`"),
        (r#"{"rope_scaling": {"factor": 4}}"#, "no `rope_type`"),
        (r#"{"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}"#, "`rope_parameters` differs between"),
        (r#"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor"),
        (r#"{"rope_scaling": {"rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5}}"#, "partial_rotary"),
        (r#"{"rope_theta": -1}"#, "rope_theta"),
        (r#"{"rope_theta": null}"#, "rope_theta"),
        (r#"{"rope_theta": 1.0, "rope_scaling": {"rope_type": "yarn", "factor": 2}}"#, "not finite"),
        (r#"{"rope_scaling": {"type": "linear"}}"#, "factor"),
        (r#"{"rope_scaling": 3}"#, "an object"),
        (r#"{"rope_scaling": {"rope_type": "yarn", "factor": 2}, "original_max_position_embeddings": null}"#, ORIGINAL),
        (r#"{"rope_scaling": {"rope_type": "longrope", "short_factor": [1], "long_factor": [1]}}"#, "4 positive"),
        (
            r#"{"rope_scaling": {"rope_type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 1, 1, 2]}}"#,
            "depend on the length",
        ),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.contains(word), "{text}: {said}");
    }
}
