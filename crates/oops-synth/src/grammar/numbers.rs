//! Plots about numbers and order: giving and taking, bigger and smaller, first and last, day by day.

use std::cmp::Ordering;

use super::{
    story::Story,
    things::thing,
    words::{CHORES, COUNTED, DAYS, NUMBERS, SIZES},
};

/// The plots of this file.
pub(super) const PLOTS: &[fn(&mut Story)] = &[giving, gathering, sizes, race, week, ages];

/// Binds `key` to the number word and `key_` form "three apples" to `phrase`.
fn count(s: &mut Story, key: &'static str, phrase: &'static str, n: usize, item: [&str; 2]) {
    s.bind(key, NUMBERS[n]);
    s.bind(phrase, format!("{} {}", NUMBERS[n], item[usize::from(n != 1)]));
}

/// Subtraction, twice.
fn giving(s: &mut Story) {
    s.person("B");
    s.person("C");
    let item = s.pick(COUNTED);
    let total = 4 + s.rng.below(9);
    let first = 1 + s.rng.below(total - 2);
    let second = 1 + s.rng.below(total - first - 1);
    count(s, "a", "as", total, item);
    count(s, "b", "bs", first, item);
    count(s, "c", "cs", total - first, item);
    count(s, "d", "ds", second, item);
    count(s, "e", "es", total - first - second, item);
    s.say(&["{A} had {as} in {A.his} basket.", "In the basket of {A} there were {as}."]);
    s.say(&[
        "{A} met {B}, who was hungry, and gave {B.him} {bs}.",
        "\"Please give me {bs},\" said {B} {B.manner}, and {A} did.",
    ]);
    s.say(&["Now there were {cs} left.", "{a} less {b} is {c}, so {A} had {cs} left."]);
    s.say(&["Then {C} came along and got {ds}.", "A little later {A} gave {ds} to {C}."]);
    s.say(&["{A} counted again: {es}.", "{c} less {d} is {e}. {A} had {es} now."]);
    s.say(&["\"Sharing is better than keeping,\" said {A} {A.manner}.", "{A} went on {A.his} way with {es}."]);
    s.fact("how many did {B} get?", "{b}");
    s.fact("how many did {C} get?", "{d}");
    s.fact("how many did {A} have at first?", "{a}");
    s.fact("how many did {A} keep?", "{e}");
}

/// Addition: two gather, then they put it together.
fn gathering(s: &mut Story) {
    s.person("B");
    let item = s.pick(COUNTED);
    let mine = 1 + s.rng.below(6);
    let yours = 1 + s.rng.below(6);
    count(s, "a", "as", mine, item);
    count(s, "b", "bs", yours, item);
    count(s, "c", "cs", mine + yours, item);
    s.draw("p", super::words::PLACES);
    s.bind("many", item[1]);
    s.say(&[
        "{A} and {B} went to the {p} to look for {many}.",
        "\"Let us look for {many} at the {p},\" said {A} to {B}.",
    ]);
    s.say(&["{A} found {as}, and {B} found {bs}.", "After an hour {A} had {as} and {B} had {bs}."]);
    match mine.cmp(&yours) {
        Ordering::Greater => {
            s.say(&["\"I have more than you,\" said {A} {A.manner}.", "{B} had fewer, and {B.he} sighed."]);
        }
        Ordering::Less => {
            s.say(&["\"I have more than you,\" said {B} {B.manner}.", "{A} had fewer, and {A.he} sighed."]);
        }
        Ordering::Equal => {
            s.say(&["\"We have the same,\" said {B} {B.manner}.", "Neither had more than the other."]);
        }
    }
    s.say(&[
        "They put everything into one basket. {a} and {b} make {c}.",
        "\"Together we have {cs},\" said {A} {A.manner}.",
    ]);
    s.say(&["They carried the {cs} home.", "So they came home with {cs}."]);
    s.fact("how many did {A} find?", "{a}");
    s.fact("how many did {B} find?", "{b}");
    s.fact("how many did they have together?", "{c}");
}

/// An order of three by size, from facts about pairs.
fn sizes(s: &mut Story) {
    let mut ranks: Vec<usize> = (0..SIZES.len()).collect();
    s.rng.shuffle(&mut ranks);
    ranks.truncate(3);
    ranks.sort_unstable();
    for (key, &rank) in ["small", "middle", "big"].into_iter().zip(&ranks) {
        s.bind(key, SIZES[rank]);
    }
    s.draw("p", super::words::PLACES);
    s.person("B");
    s.say(&[
        "At the {p} {A} and {B} saw {small.a}, {middle.a} and {big.a}.",
        "{A} drew {big.a}, {small.a} and {middle.a}, and {B} looked on.",
    ]);
    s.say(&["\"Which one is the biggest?\" asked {B} {B.manner}.", "{B} wanted to know which one was the biggest."]);
    s.say(&["\"The {big} is bigger than the {middle}, and the {middle} is bigger than the {small},\" said {A} {A.manner}.", "\"The {small} is smaller than the {middle}, and the {middle} is smaller than the {big},\" said {A} {A.manner}."]);
    s.say(&[
        "\"So the biggest is the {big},\" said {B}.",
        "\"Then the {big} must be the biggest of all,\" said {B} {B.manner}.",
    ]);
    s.say(&[
        "\"And the smallest is the {small},\" said {A}.",
        "\"And which one is the smallest?\" asked {A}. \"The {small},\" said {B}.",
    ]);
    s.fact("which one was the biggest?", "the {big}");
    s.fact("which one was the smallest?", "the {small}");
}

/// Three run; the order of arrival decides the prizes.
fn race(s: &mut Story) {
    let runners = ["A", "B", "C"];
    s.person("B");
    s.person("C");
    for key in ["x", "y"] {
        thing(s, key);
    }
    s.draw("p", super::words::PLACES);
    s.say(&[
        "{A}, {B} and {C} ran a race to the {p}.",
        "\"Who is first at the {p}?\" called {A}, and {B} and {C} ran after {A.him}.",
    ]);
    s.say(&[
        "The first prize was {x.a}, the second prize was {y.a}, and the last one got nothing.",
        "There was {x.a} for the first and {y.a} for the second.",
    ]);
    let mut order = runners;
    s.rng.shuffle(&mut order);
    for (slot, who) in ["F", "S", "L"].into_iter().zip(order) {
        s.cast(slot, who);
    }
    s.say(&[
        "{L} fell over a stone, {S} was fast, but {F} was faster.",
        "{S} ran faster than {L}, and {F} ran faster than {S}.",
    ]);
    s.say(&["So {F} won the race, {S} came second and {L} came last.", "{F} came first, then {S}, then {L}."]);
    s.say(&["{F} got the {x}, and {S} got the {y}.", "\"The {x} is mine!\" said {F} {F.manner}. {S} took the {y}."]);
    s.say(&["{L} went home with empty hands.", "\"Next time I shall win,\" said {L} {L.manner}."]);
    s.fact("who won the race?", "{F} did");
    s.fact("who came last?", "{L} did");
    s.fact("who got the {y}?", "{S} did");
}

/// A plan for three days in a row, then the days as planned.
fn week(s: &mut Story) {
    let start = s.rng.below(5);
    for (i, (day, chore)) in [("d1", "w1"), ("d2", "w2"), ("d3", "w3")].into_iter().enumerate() {
        s.bind(day, DAYS[start + i]);
        s.draw(chore, CHORES);
    }
    s.person("B");
    s.say(&[
        "{A} made a plan: {w1} on {d1}, {w2} on {d2} and {w3} on {d3}.",
        "\"On {d1} I shall {w1}, on {d2} I shall {w2} and on {d3} I shall {w3},\" said {A} {A.manner}.",
    ]);
    s.say(&["{d1} came, and it was time to {w1}.", "On {d1} {A} began to {w1}, as planned."]);
    if s.is("A", &["lazy", "proud", "curious"]) {
        s.say(&["But {A} was {A.trait} and did nothing at all.", "But {A.trait} {A} had other things in mind."]);
        s.say(&["So {B} had to {w1}.", "\"Then I shall {w1} for you,\" said {B} {B.manner}."]);
        s.fact("who did the work on {d1}?", "{B} did");
    } else {
        s.say(&["{A} worked hard, and {B} came to help.", "{B} watched {A} and said {B.manner}, \"What good work!\""]);
        s.fact("who did the work on {d1}?", "{A} did");
    }
    s.say(&["The next day was {d2}. \"Today I must {w2},\" said {A}.", "After {d1} came {d2}, the day to {w2}."]);
    s.say(&["And on {d3} there was nothing left but to {w3}.", "On {d3} {A} had to {w3}, and then the work was done."]);
    s.fact("what was the plan for {d2}?", "to {w2}");
    s.fact("what was the plan for {d3}?", "to {w3}");
}

/// Ages: older and younger by so many years.
fn ages(s: &mut Story) {
    s.person("B");
    let years = ["year", "years"];
    let young = 3 + s.rng.below(5);
    let gap = 1 + s.rng.below(5);
    let (elder, younger) = s.pick(&[("A", "B"), ("B", "A")]);
    s.cast("E", elder);
    s.cast("Y", younger);
    count(s, "y", "ys", young, years);
    count(s, "g", "gs", gap, years);
    count(s, "e", "es", young + gap, years);
    s.say(&["{E} was {es} old, and {Y} was {ys} old.", "{Y} was {ys} old. {E} was {gs} older."]);
    s.say(&["\"I am older than you,\" said {E} {E.manner}.", "{Y} was younger, but {Y.he} did not mind."]);
    s.say(&[
        "\"How many years older?\" asked {Y} {Y.manner}. \"{e} less {y} is {g},\" said {E}.",
        "{e} less {y} is {g}, so {E} was {gs} older than {Y}.",
    ]);
    s.say(&[
        "\"When I am {e}, I shall be as old as you are now,\" said {Y}.",
        "\"In {gs} I shall be {e} too,\" said {Y} {Y.manner}.",
    ]);
    s.fact("how old was {E}?", "{e}");
    s.fact("how old was {Y}?", "{y}");
    s.fact("who was older?", "{E} was");
}
