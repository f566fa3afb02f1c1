//! Plots about how the world is: animals, weather, trades, cooking, gardens.

use super::{
    story::Story,
    words::{ANIMALS, CORNERS, KIN, PLACES, PLANTS, RECIPES, TRADES, WEATHER},
};

/// The plots of this file.
pub(super) const PLOTS: &[fn(&mut Story)] = &[riddle, night_sound, feeding, weather, errands, cooking, garden];

/// Binds sound, food, home and name of an animal that differs from those bound before.
fn animal(s: &mut Story, keys: [&'static str; 4]) {
    let names: Vec<&str> = ANIMALS.iter().map(|a| a[0]).collect();
    s.draw(keys[0], &names);
    if let Some(row) = ANIMALS.iter().find(|a| a[0] == s.word(keys[0])) {
        for (key, word) in keys.into_iter().zip(row).skip(1) {
            s.bind(key, *word);
        }
    }
}

/// Sound, food and home give the animal away.
fn riddle(s: &mut Story) {
    animal(s, ["n", "sound", "food", "home"]);
    animal(s, ["m", "sound2", "food2", "home2"]);
    s.person("B");
    s.say(&[
        "{B} knew a riddle. \"It eats {food}. It lives in {home}. What is it?\"",
        "\"Guess who I am,\" said {B} to {A}. \"I say {sound} and I eat {food}.\"",
        "\"Guess my animal,\" said {B} {B.manner}. \"It says {sound} and lives in {home}.\"",
    ]);
    if s.is("A", &["clever", "patient", "careful", "curious"]) {
        s.say(&[
            "{A} was {A.trait} and knew it at once. \"It is the {n}!\" {A.he} said {A.manner}.",
            "\"That is easy,\" said {A} {A.manner}. \"It is the {n}.\"",
        ]);
        s.fact("did {A} guess it at once?", "yes, {A.he} did");
    } else {
        s.say(&["\"Is it the {m}?\" asked {A} {A.manner}.", "{A} thought for a long time. \"The {m}?\" {A.he} asked."]);
        s.say(&[
            "\"No,\" said {B}. \"The {m} says {sound2}.\"",
            "\"No,\" said {B} {B.manner}. \"The {m} lives in {home2} and eats {food2}.\"",
        ]);
        s.say(&["\"Then it is the {n},\" said {A}.", "\"Now I know! It must be the {n}!\" said {A}."]);
        s.fact("what was the first guess?", "the {m}");
    }
    s.say(&["\"Right!\" said {B}, and they both laughed.", "{B} nodded. \"Yes, the {n}.\""]);
    s.fact("what was the answer of the riddle?", "the {n}");
    s.fact("what does the {n} eat?", "{food}");
}

/// A sound in the night, and who made it.
fn night_sound(s: &mut Story) {
    animal(s, ["n", "sound", "food", "home"]);
    s.person("B");
    s.draw("h", CORNERS);
    s.say(&[
        "In the night {A} heard a sound {h}: \"{sound}!\"",
        "\"{sound}!\" it went in the middle of the night. The sound came from somewhere {h}.",
    ]);
    if s.is("A", &["shy", "lazy", "careful", "grumpy"]) {
        s.say(&[
            "{A} was {A.trait} and stayed in bed. \"Go and look, {B.call},\" {A.he} said {A.manner}.",
            "{A.trait} {A} did not want to get up, so {B} went out.",
        ]);
        s.cast("G", "B");
    } else {
        s.say(&["{A} was {A.trait} and went out to look.", "{A.trait} {A} got up {A.manner}, but {B} stayed in bed."]);
        s.cast("G", "A");
    }
    s.say(&["{G} took a candle and looked {h}. There sat {n.a}.", "{h} {G} found {n.a}, cold and hungry."]);
    s.say(&[
        "\"You should be in {home},\" said {G} {G.manner}.",
        "\"Poor thing,\" said {G} {G.manner}. \"You want {food}, I think.\"",
    ]);
    s.say(&["{G} gave it some {food} and brought it to {home}.", "After a meal of {food} it went back to {home}."]);
    s.fact("who went out to look?", "{G} did");
    s.fact("what made the sound?", "the {n}");
    s.fact("where was the {n}?", "it was {h}");
}

/// Each animal gets its own food.
fn feeding(s: &mut Story) {
    animal(s, ["n", "sound", "food", "home"]);
    animal(s, ["m", "sound2", "food2", "home2"]);
    s.draw("kin", KIN);
    s.say(&[
        "{A} helped {A.his} {kin} with the animals, the {n} and the {m}.",
        "{A.his} {kin} had {n.a} and {m.a}, and {A} had to feed them.",
    ]);
    s.say(&["{A} carried a bag of {food} and a bag of {food2}.", "\"Here are {food} and {food2},\" said the {kin}."]);
    s.say(&[
        "\"{sound},\" said the {n} in {home}, and {A} gave it the {food}.",
        "First {A.he} went to {home} and gave the {food} to the {n}. \"{sound}!\" it said.",
    ]);
    s.say(&[
        "Then {A.he} brought the {food2} to the {m} in {home2}. \"{sound2}!\" it said.",
        "\"{sound2}!\" called the {m}, for it was hungry too. {A} gave it the {food2}.",
    ]);
    s.say(&[
        "\"Never give {food} to the {m},\" said {A.his} {kin}.",
        "\"You know what everyone likes,\" said {A.his} {kin}.",
    ]);
    s.fact("what did the {m} get?", "{food2}");
    s.fact("what did the {n} say?", "{sound}");
}

/// The weather decides what to take along; someone did not.
fn weather(s: &mut Story) {
    let [sky, gear, ground] = s.pick(WEATHER);
    s.bind("sky", sky);
    s.bind("gear", gear);
    s.bind("ground", ground);
    s.draw("p", PLACES);
    s.person("B");
    s.say(&[
        "It was a {sky} day, and {A} and {B} wanted to go to the {p}.",
        "The morning was {sky}. \"Let us go to the {p},\" said {A} to {B}.",
    ]);
    s.say(&["\"Take your {gear},\" said {A} {A.manner}.", "{A} looked at the sky and took along the {gear}."]);
    let (fool, wise) = if s.is("B", &["lazy", "proud", "brave", "grumpy"]) { ("B", "A") } else { ("A", "B") };
    if fool == "B" {
        s.say(&[
            "But {B} was too {B.trait} for that. \"I need nothing,\" {B.he} said {B.manner}.",
            "{B.trait} {B} went as {B.he} was.",
        ]);
        s.say(&[
            "At the {p} the ground was {ground}, and {B} was sorry to have nothing.",
            "On such a {sky} day that was not wise. Soon {B} turned back.",
        ]);
        s.say(&["{A} shared the {gear.n} with {B}.", "\"Here, use mine,\" said {A} {A.manner}."]);
    } else {
        s.say(&["{B} was {B.trait} and did the same.", "\"You are right,\" said {B} {B.manner}."]);
        s.say(&[
            "At the {p} the ground was {ground}, but they were well prepared.",
            "They walked over the {ground} ground to the {p} and had a good time.",
        ]);
    }
    s.cast("W", wise);
    s.fact("what was the weather like?", "it was {sky}");
    s.fact("what did {A} take along?", "the {gear}");
}

/// Goods come from those who make them.
fn errands(s: &mut Story) {
    let names: Vec<&str> = TRADES.iter().map(|t| t.0).collect();
    for (who, what) in [("t1", "g1"), ("t2", "g2"), ("t3", "g3")] {
        s.draw(who, &names);
        let goods = TRADES.iter().find(|t| t.0 == s.word(who)).map_or("", |t| t.1);
        s.bind(what, goods);
    }
    s.draw("kin", KIN);
    s.say(&[
        "\"We need {g1}, {g2} and {g3},\" said the {kin} of {A}.",
        "{A.his} {kin} sent {A} out for {g1}, {g2} and {g3}.",
    ]);
    s.say(&["So {A} went to the {t1} and bought {g1}.", "First {A.he} asked the {t1} for {g1}."]);
    s.say(&[
        "Then {A.he} went to the {t2} for the {g2}.",
        "\"Have you any {g2}?\" {A} asked the {t2} {A.manner}. \"Of course,\" said the {t2}.",
    ]);
    if s.rng.chance(1, 2) {
        s.say(&["Last {A.he} visited the {t3} and got the {g3}.", "The {t3} gave {A.him} the {g3}."]);
        s.say(&[
            "\"{g1}, {g2} and {g3}: well done,\" said {A.his} {kin}.",
            "{A} put the {g1}, the {g2} and the {g3} on the table.",
        ]);
        s.fact("who had the {g3}?", "the {t3}");
    } else {
        s.say(&["But the {t3} was not at home.", "The {t3} had nothing left."]);
        s.say(&[
            "So {A} came home with {g1} and {g2}, but without {g3}.",
            "\"Where is the {g3}?\" asked {A.his} {kin}. \"I could get only {g1} and {g2},\" said {A} {A.manner}.",
        ]);
        s.fact("what did {A} not bring home?", "the {g3}");
    }
    s.fact("where did {A} get the {g1}?", "from the {t1}");
    s.fact("where did {A} get the {g2}?", "from the {t2}");
}

/// A recipe; one ingredient is missing and a friend has it.
fn cooking(s: &mut Story) {
    let (dish, needs) = s.pick(RECIPES);
    let mut needs = needs;
    s.rng.shuffle(&mut needs);
    s.bind("dish", dish);
    for (key, word) in ["i", "j", "k"].into_iter().zip(needs) {
        s.bind(key, word);
    }
    s.person("B");
    s.draw("kin", KIN);
    s.say(&[
        "{A} wanted to make {dish} for {A.his} {kin}.",
        "\"I shall make {dish} for my {kin},\" said {A} {A.manner}.",
    ]);
    s.say(&["For {dish} one needs {i}, {j} and {k}.", "{A} needed {i}, {j} and {k}."]);
    s.say(&["There were {i} and {j} in the kitchen, but no {k}.", "{A} had {i} and {j}, but the {k} was missing."]);
    s.say(&["So {A} went to {B}. \"Have you any {k}?\" {A.he} asked {A.manner}.", "{A} asked {B} for some {k}."]);
    if s.is("B", &["greedy", "grumpy", "proud"]) {
        s.say(&[
            "{B} was {B.trait}. \"Only if I get some of the {dish},\" {B.he} said {B.manner}.",
            "\"What do I get for my {k}?\" asked {B.trait} {B}. \"A part of the {dish},\" said {A}.",
        ]);
    } else {
        s.say(&[
            "{B} was {B.trait}. \"Take as much as you like,\" {B.he} said {B.manner}.",
            "\"Here you are,\" said {B.trait} {B}.",
        ]);
    }
    s.say(&[
        "Then {A} mixed {i}, {j} and {k}, and the {dish} was ready.",
        "{A} took the {k}, the {i} and the {j} and made the {dish}.",
    ]);
    s.say(&[
        "{A.his} {kin} said that it was the best {dish} in the village.",
        "\"What lovely {dish}!\" said {A.his} {kin}.",
    ]);
    s.fact("what was missing?", "the {k}");
    s.fact("who had some {k}?", "{B} did");
    s.fact("what did {A} make?", "{dish}");
}

/// What was sown is what grows.
fn garden(s: &mut Story) {
    for key in ["f", "g"] {
        s.draw(key, PLANTS);
    }
    s.draw("l", &["gate", "fence", "well", "path"]);
    s.draw("m", &["shed", "pond", "wall", "old tree"]);
    s.person("B");
    s.say(&[
        "In spring {A} sowed {f} by the {l} and {g} by the {m}.",
        "{A} put the seeds of {f} in the ground by the {l}. By the {m} {A.he} sowed {g}.",
    ]);
    s.say(&[
        "\"What will grow here?\" asked {B} at the {l}. \"{f},\" said {A} {A.manner}.",
        "\"And what grows by the {m}?\" asked {B} {B.manner}. \"{g},\" said {A}.",
    ]);
    if s.is("A", &["lazy", "proud", "greedy"]) {
        s.say(&["But {A} was too {A.trait} to water them.", "Then {A.trait} {A} forgot the garden."]);
        s.say(&[
            "{B} had to water the {f} and the {g} all summer.",
            "\"Somebody must water them,\" said {B} {B.manner}, and did it every day.",
        ]);
        s.fact("who watered the garden?", "{B} did");
    } else {
        s.say(&[
            "{A} was {A.trait} and watered them every day.",
            "Every evening {A.trait} {A} brought a can of water.",
        ]);
        s.fact("who watered the garden?", "{A} did");
    }
    s.say(&[
        "In summer there were {f} by the {l} and {g} by the {m}.",
        "When summer came, the {f} stood by the {l} and the {g} by the {m}.",
    ]);
    s.fact("what grew by the {l}?", "{f}");
    s.fact("what grew by the {m}?", "{g}");
}
