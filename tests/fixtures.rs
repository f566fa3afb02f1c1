//! Real checkpoints and texts, against published reference figures. Needs OOPS_FIXTURES.

mod support;

use support::{Place, fixtures, perplexity};

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn stories260k_reads_its_stories_at_perplexity_four() {
    let root = fixtures();
    let place = Place::new();
    let pipeline = place.write(
        "stories.yaml",
        &format!(
            "version: 1
stages:
  dense: {{ use: source.model, with: {{ path: {0}/models/stories260k }} }}
  heldout: {{ use: source.text, in: {{ model: dense }}, with: {{ path: {0}/text/tinystories.jsonl, bos: true }} }}
  quality: {{ use: eval.perplexity, in: {{ models: dense, tokens: heldout }}, with: {{ window_tokens: 2048 }} }}
",
            root.display()
        ),
    );
    place.run(&pipeline, &[]);
    let quality = place.show(&pipeline, "quality", &[]);
    assert_eq!(quality["protocol"]["windows"], 85);
    assert!((perplexity(&quality, "dense") - 4.00).abs() < 0.02, "{quality}");
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn smollm2_scores_wikitext_as_the_reference_does() {
    let root = fixtures();
    let place = Place::new();
    let pipeline = place.write(
        "wikitext.yaml",
        &format!(
            "version: 1
stages:
  dense: {{ use: source.model, with: {{ path: {0}/models/smollm2-135m }} }}
  heldout: {{ use: source.text, in: {{ model: dense }}, with: {{ path: {0}/text/wikitext2-test.txt }} }}
  quality: {{ use: eval.perplexity, in: {{ models: dense, tokens: heldout }}, with: {{ window_tokens: 512, max_windows: 8 }} }}
",
            root.display()
        ),
    );
    place.run(&pipeline, &[]);
    let quality = place.show(&pipeline, "quality", &[]);
    assert_eq!(quality["protocol"]["text_tokens"], 304_978);
    assert!((perplexity(&quality, "dense") - 30.6414).abs() < 0.02, "{quality}");
}
