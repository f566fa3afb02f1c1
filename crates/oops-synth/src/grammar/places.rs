//! Plots about places: hiding and seeking, ways there and back, getting stuck and getting in.

use super::{
    story::Story,
    things::thing,
    words::{CORNERS, KIN, PLACES, SECRETS, TROUBLES},
};

/// The plots of this file.
pub(super) const PLOTS: &[fn(&mut Story)] = &[hide_and_seek, there_and_back, rescue, gate, obedience, meeting];

/// Everyone hides somewhere; the seeker finds them there.
fn hide_and_seek(s: &mut Story) {
    let pairs = [("B", "h1"), ("C", "h2"), ("D", "h3")];
    for (who, spot) in pairs {
        s.person(who);
        s.draw(spot, CORNERS);
    }
    s.say(&[
        "{A}, {B}, {C} and {D} played hide and seek.",
        "\"Let us play hide and seek,\" said {A} to {B}, {C} and {D}.",
    ]);
    s.say(&["{A} closed {A.his} eyes and counted to ten.", "{A} had to count to ten."]);
    s.say(&[
        "{B} hid {h1}, {C} hid {h2} and {D} hid {h3}.",
        "{B} ran and hid {h1}. {C} hid {h2}. {D} crept away and hid {h3}.",
    ]);
    let mut order = pairs;
    s.rng.shuffle(&mut order);
    for (i, (who, spot)) in order.into_iter().enumerate() {
        s.cast("G", who);
        let spot = s.word(spot).to_owned();
        s.bind("h", spot);
        match i {
            0 => s.say(&["First {A.he} found {G}, who was {h}.", "Soon {A} looked {h} and found {G}."]),
            1 => s.say(&[
                "Then {A} heard a noise {h}. It was {G}.",
                "\"I see you, {G.call}!\" called {A}. \"You are {h}!\"",
            ]),
            _ => s.say(&[
                "Only {G} was left. {A} looked {h}, and the game was over.",
                "The last one was {G}, who had been {h} all the time.",
            ]),
        }
        s.fact("where did {G} hide?", "{G.he} hid {h}");
    }
    s.fact("who was found last?", "{G} was");
}

/// The way back is the way there, in reverse.
fn there_and_back(s: &mut Story) {
    for key in ["p1", "p2", "p3", "p4"] {
        s.draw(key, PLACES);
    }
    s.draw("kin", KIN);
    s.person("B");
    thing(s, "x");
    s.say(&["{A.his} {kin} sent {A} to {B} with {x.a}.", "\"Bring this {x} to {B},\" said the {kin} of {A}."]);
    s.say(&[
        "{A} walked past the {p1}, then past the {p2}, then past the {p3}, and came to the {p4}.",
        "The way went by the {p1}, by the {p2} and by the {p3} to the {p4}.",
    ]);
    s.say(&[
        "There {B} was waiting. \"Here is {x.a} for you,\" said {A} {A.manner}.",
        "At the {p4} {A.he} found {B} and handed over the {x}.",
    ]);
    s.say(&["{B} thanked {A} {B.manner} and took the {x.n}.", "\"How good of you,\" said {B} {B.manner}."]);
    s.say(&[
        "Then {A} went home: from the {p4} to the {p3}, from the {p3} to the {p2}, from the {p2} to the {p1}.",
        "On the way back {A.he} saw first the {p3}, then the {p2} and last the {p1}.",
    ]);
    s.say(&["{A.his} {kin} stood at the door and smiled.", "\"Well done,\" said {A.his} {kin}."]);
    s.fact("where did {A} meet {B}?", "at the {p4}");
    s.fact("what did {A} bring to {B}?", "{x.a}");
    s.fact("who sent {A}?", "{A.his} {kin} did");
}

/// Someone is stuck; only one tool helps, and only one friend owns it.
fn rescue(s: &mut Story) {
    for key in ["B", "C", "D"] {
        s.person(key);
    }
    let trouble = s.pick(TROUBLES);
    let other = s.pick(TROUBLES);
    let other = if other == trouble { TROUBLES[usize::from(trouble == TROUBLES[0])] } else { other };
    for (key, word) in ["stuck", "tool", "use"].into_iter().zip(trouble) {
        s.bind(key, word);
    }
    s.bind("wrong", other[1]);
    s.draw("p", PLACES);
    if s.rng.chance(1, 2) {
        s.say(&[
            "{B} had {tool.a}, and {C} had {wrong.a}.",
            "Everyone knew that {B} kept {tool.a} and {C} kept {wrong.a} at home.",
        ]);
    } else {
        s.say(&["{C} had {wrong.a}, and {B} had {tool.a}.", "{C} owned {wrong.a}, and {B} owned {tool.a}."]);
    }
    s.say(&["Near the {p} {A} heard a cry. {D} was {stuck}!", "\"Help!\" cried {D} near the {p}. {D.he} was {stuck}."]);
    s.say(&[
        "\"Do not worry, {D.call},\" called {A} {A.manner}. \"I will get help.\"",
        "{A} saw at once that {D} could not get free alone.",
    ]);
    s.say(&["\"We need {tool.a},\" said {A}. So {A.he} ran to {B}.", "{A} thought of the {tool} and ran to {B}."]);
    s.say(&[
        "{B} came with the {tool}. They {use}, and {D} was free.",
        "{B} brought the {tool.n} to the {p}. Together they {use}, and soon {D} was safe.",
    ]);
    s.say(&["\"Thank you, {A.call}! Thank you, {B.call}!\" said {D} {D.manner}.", "{D} thanked them {D.manner}."]);
    s.fact("who was {stuck}?", "{D} was");
    s.fact("what did they need to help {D}?", "the {tool}");
    s.fact("whose {tool.n} was it?", "it belonged to {B}");
}

/// A word learnt early opens a gate late.
fn gate(s: &mut Story) {
    s.draw("secret", SECRETS);
    s.draw("false", SECRETS);
    s.draw("p", PLACES);
    s.person("B");
    thing(s, "x");
    s.say(&[
        "{B} told {A} a secret: \"The word that opens the gate is {secret}.\"",
        "\"Never forget the word {secret},\" {B} said to {A} {B.manner}.",
    ]);
    s.say(&[
        "One day {A} went to the {p} and came to a gate of stone.",
        "At the {p} there was a tall gate, and {A} wanted to see what lay behind it.",
    ]);
    s.say(&["\"What is the word?\" asked the gate.", "\"Say the word,\" said a deep voice."]);
    if s.is("A", &["clever", "careful", "patient", "shy", "kind", "brave"]) {
        s.say(&["{A} remembered it well. \"{secret},\" {A.he} said {A.manner}.", "\"{secret}!\" said {A} {A.manner}."]);
    } else {
        s.say(&[
            "\"{false}!\" said {A} {A.manner}. The gate did not move.",
            "{A} was too {A.trait} to think. \"{false},\" {A.he} said, and nothing happened.",
        ]);
        s.say(&[
            "Then {A.he} thought of {B}. \"{secret}!\" said {A}.",
            "What had {B} said? \"{secret},\" said {A} at last.",
        ]);
        s.fact("which word was wrong?", "{false}");
    }
    s.say(&["The gate opened, and behind it lay {x.a}.", "Slowly the gate opened. {A} saw {x.a} and took it home."]);
    s.fact("which word opened the gate?", "{secret}");
    s.fact("what was behind the gate?", "{x.a}");
    s.fact("who knew the secret word first?", "{B} did");
}

/// A warning is given; nature decides whether it is heard.
fn obedience(s: &mut Story) {
    s.draw("kin", KIN);
    s.draw("p", PLACES);
    s.draw("q", PLACES);
    s.person("B");
    s.say(&[
        "\"You may go to the {q}, but never go to the {p},\" said {A.his} {kin}.",
        "{A.his} {kin} warned {A}: \"Stay away from the {p}. Play at the {q}.\"",
    ]);
    s.say(&[
        "{A} met {B} on the road. \"Let us go to the {p},\" said {B} {B.manner}.",
        "\"I know a fine place,\" said {B} {B.manner}. \"Come with me to the {p}.\"",
    ]);
    if s.is("A", &["brave", "curious", "greedy", "proud", "cheerful", "lazy"]) {
        s.say(&[
            "{A} was {A.trait} and went along to the {p}.",
            "{A.trait} {A} forgot the words of {A.his} {kin} and followed {B}.",
        ]);
        s.say(&[
            "At the {p} a storm came up, and they both got wet and cold.",
            "At the {p} they lost their way, and it grew dark.",
        ]);
        s.say(&["\"I should have listened,\" said {A}.", "In the end {A.his} {kin} found them and brought them home."]);
        s.fact("where did {A} go, to the {p} or to the {q}?", "to the {p}");
    } else {
        s.say(&[
            "But {A} was {A.trait}. \"No,\" {A.he} said {A.manner}. \"We shall go to the {q}.\"",
            "\"I may not,\" said {A} {A.manner}. \"But we can play at the {q}.\"",
        ]);
        s.say(&[
            "So they went to the {q} and built a house of sand and stones.",
            "At the {q} they played until the sun went down.",
        ]);
        s.say(&[
            "\"I am glad that you listened,\" said {A.his} {kin}.",
            "That day a storm broke over the {p}, but {A} and {B} were safe.",
        ]);
        s.fact("where did {A} go, to the {p} or to the {q}?", "to the {q}");
    }
    s.fact("who warned {A}?", "{A.his} {kin} did");
}

/// Two friends agree on a place; one of them mixes it up.
fn meeting(s: &mut Story) {
    s.person("B");
    s.draw("p", PLACES);
    s.draw("q", PLACES);
    s.draw("time", &["noon", "sunrise", "sunset", "midnight", "tea time"]);
    thing(s, "x");
    s.say(&["\"Meet me at the {p} at {time},\" said {A} to {B}.", "{A} and {B} wanted to meet at the {p} at {time}."]);
    s.say(&["{A} took {x.a} along.", "\"I shall bring my {x},\" said {A}."]);
    let late = s.is("B", &["lazy", "curious", "proud", "cheerful"]);
    s.say(&["At {time} {A} stood at the {p}.", "{A} came to the {p} just at {time}."]);
    if late {
        s.say(&[
            "But {B} was {B.trait} and had gone to the {q}.",
            "{B} did not come, for {B.trait} {B} was waiting at the {q}.",
        ]);
        s.say(&[
            "{A} played on alone with the {x} and then looked for {B} at the {q}.",
            "At last {A} carried the {x} to the {q}, and there was {B}.",
        ]);
        s.say(&[
            "\"I said the {p}, not the {q}!\" said {A} {A.manner}.",
            "\"Was it not the {q}?\" asked {B}. \"No, it was the {p},\" said {A} {A.manner}.",
        ]);
        s.fact("where did {B} wait?", "at the {q}");
    } else {
        s.say(&["{B} was {B.trait} and was already there.", "{B.trait} {B} was not a minute late."]);
        s.say(&[
            "\"Did you bring the {x}?\" asked {B}. \"Here it is,\" said {A} {A.manner}.",
            "They sat down and looked at the {x} together.",
        ]);
    }
    s.fact("when did they want to meet?", "at {time}");
    s.fact("where did they want to meet?", "at the {p}");
}
