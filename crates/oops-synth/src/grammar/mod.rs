//! The story grammar: a seed gives an endless row of short stories, the same on every platform.
//!
//! What is told early decides words later: names carry genders and traits, traits carry behaviour, things stay where
//! they were put, numbers add up. A model that sees only the word before cannot know any of it.

mod nature;
mod numbers;
mod places;
mod story;
mod things;
mod words;

use crate::rng::Rng;
use story::Story;
use words::{COLOURS, PET_NAMES, PETS, PLACES, WEATHER};

/// Plots by family.
const FAMILIES: [&[fn(&mut Story)]; 4] = [things::PLOTS, places::PLOTS, numbers::PLOTS, nature::PLOTS];

/// What the opening may tell of the hero and the ending comes back to.
#[derive(Clone, Copy)]
enum Detail {
    None,
    Pet,
    Door,
    Wish,
}

/// Number `index` of the stories of `seed`: one line of text, 45 to 340 words long.
pub fn story(seed: u64, index: u64) -> String {
    let mut rng = Rng::stream(seed, index);
    let mut s = Story::new(&mut rng);
    let detail = opening(&mut s);
    let first = s.rng.below(FAMILIES.len());
    plot(&mut s, first);
    if s.rng.chance(1, 4) {
        s.say(&[
            "The next week brought something new.",
            "Some days later {A} was out again.",
            "Soon there was more to tell of {A}.",
        ]);
        // Another family, so that no story repeats itself.
        let second = first + 1 + s.rng.below(FAMILIES.len() - 1);
        plot(&mut s, second % FAMILIES.len());
    }
    ending(&mut s, detail);
    s.finish()
}

fn plot(s: &mut Story, family: usize) {
    let plot = s.pick(FAMILIES[family]);
    plot(s);
}

/// Who it is about, the trait that matters later, and perhaps a detail.
fn opening(s: &mut Story) -> Detail {
    s.person("A");
    s.draw("land", PLACES);
    let sky = s.pick(WEATHER)[0];
    s.bind("mood", sky);
    s.say(&[
        "[Once upon a time|Long ago|Once] there [was|lived] a {A.trait} {A.kind} near the {land}.",
        "[One {mood} morning|One day|Last year] a {A.trait} {A.kind} came to the {land}.",
        "Near the {land} lived {A.a} who was very {A.trait}.",
    ]);
    s.say(&["{A} {A.habit}.", "All the neighbours knew {A}, for {A.he} {A.habit}.", "This was {A}, who {A.habit}."]);
    let detail = s.pick(&[Detail::None, Detail::Pet, Detail::Door, Detail::Wish]);
    match detail {
        Detail::None => {}
        Detail::Pet => {
            s.draw("pet", PETS);
            s.draw("called", PET_NAMES);
            s.say(&["{A.he} had a {pet} called {called}.", "Wherever {A} went, {A.his} {pet} {called} went too."]);
        }
        Detail::Door => {
            s.draw("door", COLOURS);
            s.say(&["{A.his} house had a {door} door.", "{A.he} lived in a [small|little] house with a {door} door."]);
        }
        Detail::Wish => {
            things::thing(s, "wish");
            s.say(&["More than anything {A.he} wanted {wish.a}.", "Every night {A} dreamed of {wish.a}."]);
        }
    }
    detail
}

/// Questions about what happened, the detail of the opening, and what the hero's trait comes to.
fn ending(s: &mut Story, detail: Detail) {
    let mut questions = s.rng.below(4);
    while questions > 0 && s.recall() {
        s.say(&["Do you remember? {question} {answer}.", "{question} {answer}.", "Tell me, {question} {answer}."]);
        questions -= 1;
    }
    match detail {
        Detail::None => {}
        Detail::Pet => s.say(&[
            "At home {called} the {pet} was waiting.",
            "{A} told the whole story to {called}, and the {pet} listened.",
        ]),
        Detail::Door => {
            s.say(&["Then {A} went in by the {door} door.", "Late that day the {door} door fell shut behind {A}."]);
        }
        Detail::Wish => s.say(&[
            "And the {wish}? {A} found it under {A.his} pillow.",
            "But {A} still had no {wish}.",
            "In the end somebody gave {A.him} {wish.a}.",
        ]),
    }
    s.say(&[
        "That night {A} slept well near the {land}.",
        "And {A.moral}.",
        "So {A} came home, and {A.moral}.",
        "Since then they say near the {land} that {A.moral}.",
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_filled_and_stories_have_their_length() {
        for index in 0..20_000 {
            let text = story(1, index);
            assert!(!text.contains(['{', '}', '[', ']', '|']) && !text.contains("  "), "{index}: {text}");
            let words = text.split(' ').count();
            assert!((45..=340).contains(&words), "{index}: {words} words: {text}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_text_and_others_differ() {
        assert_eq!(story(9, 4), story(9, 4));
        assert_ne!(story(9, 4), story(9, 5));
        assert_ne!(story(8, 4), story(9, 4));
    }
}
