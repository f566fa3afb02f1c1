//! Token sets against models that read them otherwise.

use super::*;

/// A model whose tokenizer spells ids by a table.
struct Model {
    rows: usize,
    context: usize,
    spellings: Option<Vec<&'static str>>,
}

impl Vocabulary for Model {
    fn rows(&self) -> usize {
        self.rows
    }

    fn context(&self) -> usize {
        self.context
    }

    fn spellings(&self, ids: &[u32]) -> Option<Vec<Option<String>>> {
        let all = self.spellings.as_ref()?;
        Some(ids.iter().map(|&id| all.get(id as usize).map(|s| (*s).to_owned())).collect())
    }
}

fn set() -> TokenSet {
    let mut set = TokenSet::of(vec![vec![0, 2], vec![2, 2, 0]], 3);
    set.spellings = BTreeMap::from([(0, "▁a".to_owned()), (2, "c".to_owned())]);
    set
}

#[test]
fn ids_must_mean_the_same_to_the_model() {
    let model = |rows, spellings| Model { rows, context: 9, spellings };
    let check = |rows, spellings| set().check_for(&model(rows, spellings));
    check(3, Some(vec!["▁a", "b", "c"])).unwrap();
    check(9, Some(vec![" a", "other", "c", "padding"])).unwrap();
    check(3, None).unwrap();
    let other = check(3, Some(vec!["▁a", "c", "b"])).unwrap_err();
    assert!(other.what().contains("token 2 is `c` in the token set, `b` for the model"), "{other}");
    assert!(check(3, Some(vec!["▁a"])).unwrap_err().what().contains("no token for the model"));
    assert!(check(2, None).unwrap_err().what().contains("outside the model's vocabulary of 2"));
}

#[test]
fn sequences_longer_than_the_context_are_told_and_whole_documents_refused() {
    let model = |context| Model { rows: 3, context, spellings: None };
    let mut set = set();
    assert_eq!(set.check_lengths(&model(3)).unwrap(), None);
    let fault = set.check_lengths(&model(2)).unwrap_err();
    assert!(fault.what().contains("up to 3 tokens") && fault.help_text().unwrap().contains("at most 2"), "{fault}");
    set.info.sequence_tokens = Some(3);
    assert!(set.check_lengths(&model(2)).unwrap().unwrap().contains("made for 2"));
}

#[test]
fn a_text_in_one_file_has_the_digest_of_the_file() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    assert_eq!(text_digest(&[a]), a);
    assert_ne!(text_digest(&[a, b]), text_digest(&[b, a]));
}
