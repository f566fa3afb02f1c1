//! Plots about things: who has what, where it went, who gave it to whom.

use super::{
    story::Story,
    words::{COLOURS, NOOKS, PLACES, THINGS},
};

/// The plots of this file.
pub(super) const PLOTS: &[fn(&mut Story)] = &[lost, boxes, borrowed, swaps, party, theft];

/// Binds `key` to a coloured thing, "red kite".
pub(super) fn thing(s: &mut Story, key: &'static str) {
    s.draw("noun", THINGS);
    s.draw("colour", COLOURS);
    let words = format!("{} {}", s.word("colour"), s.word("noun"));
    s.bind(key, words);
    // A second thing of this noun or colour would make "the kite" ambiguous: keep both taken.
    let (noun, colour) = (s.word("noun").to_owned(), s.word("colour").to_owned());
    s.take(noun);
    s.take(colour);
}

/// Something is put away, forgotten, searched in wrong places and found where it was all the time.
fn lost(s: &mut Story) {
    s.person("B");
    thing(s, "x");
    for key in ["n1", "n2", "n3"] {
        s.draw(key, NOOKS);
    }
    s.say(&["{A} had {x.a}.", "{A} owned {x.a} and loved it very much.", "{A.his} dearest thing was {x.a}."]);
    s.say(&[
        "In the evening {A.he} put the {x.n} {n1} and [forgot about it|went to sleep].",
        "While {A} was out, {B} came and put the {x.n} {n1}.",
    ]);
    s.say(&[
        "The next day {A} wanted the {x}, but it was gone.",
        "Soon {A.he} [missed|needed] the {x} and could not find it.",
    ]);
    s.say(&["\"Where is my {x}?\" [asked|cried] {A}.", "\"I have lost my {x}!\" [said|cried] {A} {A.manner}."]);
    s.say(&["{A} looked {n2}. There was nothing.", "{A} searched {n2}, but the {x.n} was not there."]);
    s.say(&[
        "Then {A.he} looked {n3}. Nothing there either.",
        "{B} helped and looked {n3}, but [found|saw] only dust.",
    ]);
    s.say(&[
        "At last {B} looked {n1}. \"Here is your {x}!\" said {B} {B.manner}.",
        "\"Think hard,\" said {B} {B.manner}. \"Did you look {n1}?\" {A} ran to see, and there was the {x}.",
    ]);
    s.say(&["{A} thanked {B} and held the {x.n} tight.", "{A} was so glad that {A.he} hugged {B}."]);
    s.fact("where was the {x.n} hidden?", "it was {n1}");
    s.fact("whose {x.n} was lost?", "it was the {x} of {A}");
}

/// Three boxes, three things: the clue says which one to open.
fn boxes(s: &mut Story) {
    let colours = ["c1", "c2", "c3"];
    for (colour, noun) in colours.into_iter().zip(["t1", "t2", "t3"]) {
        s.draw(colour, COLOURS);
        s.draw(noun, THINGS);
    }
    s.person("B");
    s.say(&["On the table stood three boxes.", "{B} showed {A} three boxes.", "{A} found three boxes in the cellar."]);
    s.say(&[
        "In the {c1} box was {t1.a}, in the {c2} box {t2.a} and in the {c3} box {t3.a}.",
        "The {c1} box held {t1.a}. The {c2} box held {t2.a}. The {c3} box held {t3.a}.",
    ]);
    let mut order = [0, 1, 2];
    s.rng.shuffle(&mut order);
    for (i, &b) in order.iter().take(2).enumerate() {
        let (colour, noun) = (s.word(colours[b]).to_owned(), s.word(["t1", "t2", "t3"][b]).to_owned());
        s.bind("c", colour);
        s.bind("t", noun);
        if i == 0 {
            s.say(&[
                "\"I need the {t},\" said {B}. So {A} opened the {c} box and took it out.",
                "\"Please bring me the {t},\" said {B} {B.manner}. {A} went straight to the {c} box.",
            ]);
        } else {
            s.say(&[
                "Then {A} wanted the {t} and opened the {c} box.",
                "\"And what is in the {c} box?\" asked {A}. \"The {t},\" said {B}.",
            ]);
        }
        s.fact("what was in the {c} box?", "the {t}");
    }
    let left = s.word(colours[order[2]]).to_owned();
    s.bind("c", left);
    s.say(&["Only the {c} box stayed shut.", "Nobody opened the {c} box that day."]);
    s.fact("which box stayed shut?", "the {c} one");
}

/// Something is lent until a day and comes back, whole or broken, as the borrower's nature has it.
fn borrowed(s: &mut Story) {
    s.person("B");
    thing(s, "x");
    s.draw("day", super::words::DAYS);
    s.draw("p", PLACES);
    s.say(&["{B} came to {A} and asked for the {x} of {A}.", "\"May I borrow your {x}?\" {B} asked {A}."]);
    s.say(&[
        "\"Yes, but bring it back on {day},\" said {A} {A.manner}.",
        "\"You may have it until {day},\" said {A} {A.manner}.",
    ]);
    s.say(&["{B} took the {x.n} to the {p} and [played|worked] with it all day.", "{B} carried it to the {p}."]);
    if s.is("B", &["lazy", "greedy", "proud", "curious"]) {
        s.say(&[
            "But {B} was {B.trait}, and {day} went by without the {x.n}.",
            "{day} came, but {B.trait} {B} did not bring it back.",
        ]);
        s.say(&["So {A} walked to the {p} and found {B} there. \"Where is my {x}?\" asked {A}."]);
        s.say(&["\"I am sorry,\" said {B}. \"Here it is.\"", "{B} gave back the {x.n} and looked at the ground."]);
        s.fact("did {B} bring the {x.n} back on {day}?", "no, {A} had to fetch it");
    } else {
        s.say(&[
            "{B} was {B.trait}, and on {day} {B.he} knocked at the door of {A}.",
            "When {day} came, {B.trait} {B} kept {B.his} word.",
        ]);
        s.say(&["\"Here is your {x},\" said {B} {B.manner}. \"Thank you.\"", "{B} gave back the {x} and thanked {A}."]);
        s.fact("did {B} bring the {x.n} back on {day}?", "yes, {B.he} did");
    }
    s.fact("where did {B} take the {x.n}?", "to the {p}");
}

/// A chain of swaps; in the end it is told again.
fn swaps(s: &mut Story) {
    for key in ["x", "y", "z"] {
        thing(s, key);
    }
    s.person("B");
    s.person("C");
    s.say(&["{A} had {x.a}, but {A.he} wanted {z.a}.", "{A} set out with {x.a} to get {z.a}."]);
    s.say(&["On the road {A.he} met {B}, who had {y.a}.", "First {A.he} met {B}, the owner of {y.a}."]);
    s.say(&[
        "\"Give me your {x} for my {y},\" said {B} {B.manner}.",
        "{B} liked the {x}, so they swapped, and {A} had the {y}.",
    ]);
    s.say(&[
        "Then {A} took the {y} and met {C}, who had {z.a}.",
        "Next {A.he} came to {C} with the {y}. {C} had {z.a}.",
    ]);
    s.say(&[
        "{C} had always wished for {y.a}. \"Let us swap,\" said {C} {C.manner}.",
        "\"Will you take my {y} for your {z}?\" asked {A} {A.manner}. {C} nodded.",
    ]);
    s.say(&[
        "So {A} gave the {x} for the {y} and the {y} for the {z}.",
        "Now {B} had the {x}, {C} had the {y} and {A} had the {z}.",
    ]);
    s.fact("who had the {x} in the end?", "{B} did");
    s.fact("who had the {y} in the end?", "{C} did");
    s.fact("what did {A} get from {C}?", "the {z}");
}

/// Guests bring gifts; later each gift leads back to its giver.
fn party(s: &mut Story) {
    for (guest, gift) in [("B", "x"), ("C", "y"), ("D", "z")] {
        s.person(guest);
        thing(s, gift);
    }
    s.say(&[
        "It was the birthday of {A}, and three guests came: {B}, {C} and {D}.",
        "{A} had a birthday and asked {B}, {C} and {D} to come.",
    ]);
    s.say(&[
        "{B} brought {x.a}, {C} brought {y.a} and {D} brought {z.a}.",
        "{A} got {x.a} from {B}, {y.a} from {C} and {z.a} from {D}.",
    ]);
    s.say(&["They ate cake and danced until the moon came up.", "They sang and played, and {A} was happy."]);
    let mut order = [("B", "x"), ("C", "y"), ("D", "z")];
    s.rng.shuffle(&mut order);
    for (i, (guest, gift)) in order.into_iter().enumerate() {
        s.cast("G", guest);
        let word = s.word(gift).to_owned();
        s.bind("g", word);
        match i {
            0 => s.say(&[
                "Later {A} took the {g} in {A.his} hand. \"Thank you, {G.call},\" {A.he} said {A.manner}.",
                "First {A} looked at the {g} and thanked {G}.",
            ]),
            1 => s.say(&[
                "Then {A} took the {g} and smiled at {G}.",
                "The {g} was lovely too. \"You are a good friend, {G.call},\" said {A}.",
            ]),
            _ => s.say(&[
                "Last of all {A.he} thanked {G} for the {g}.",
                "And the {g} from {G} found a place beside the bed.",
            ]),
        }
        s.fact("who brought the {g}?", "{G} did");
    }
}

/// Someone takes what is not theirs; the hint was given early.
fn theft(s: &mut Story) {
    for key in ["B", "C", "D"] {
        s.person(key);
    }
    thing(s, "x");
    s.draw("n1", NOOKS);
    s.draw("mark", &["mud on the shoes", "flour on the sleeves", "hay in the hair", "paint on the nose"]);
    s.say(&["{A} showed {x.a} to {B}, {C} and {D}.", "{B}, {C} and {D} all admired the {x} of {A}."]);
    let thief = s.pick(&["B", "C", "D"]);
    s.cast("T", thief);
    s.say(&["Only {T} had {mark}.", "That day {T} came with {mark}."]);
    s.say(&["In the night someone took the {x.n} away.", "The next morning the {x} was gone."]);
    s.say(&[
        "\"Whoever took it left a trace,\" said {A} {A.manner}. \"The thief had {mark}!\"",
        "{A} looked at the floor and thought: the thief had {mark}.",
    ]);
    s.say(&["So {A} went to {T}.", "\"It was you, {T.call}!\" said {A}."]);
    s.say(&[
        "{T} [blushed|wept] and showed {A} the {x}. It was {n1}.",
        "\"Yes, it was me,\" said {T} {T.manner}. \"The {x} is {n1}.\"",
    ]);
    s.fact("who took the {x.n}?", "{T} did");
    s.fact("where was the {x.n}?", "it was {n1}");
}
