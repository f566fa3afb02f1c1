//! The vocabulary: tables of words by meaning. A table file; the lists are long and alike on purpose.

/// Names of girls.
pub(super) const GIRLS: &[&str] = &[
    "Mia", "Nora", "Ella", "Ruth", "Clara", "Ida", "Wren", "Hazel", "Tilda", "Rosa", "Greta", "Lena", "Maud", "Olive",
    "Pia", "Sita", "Vera", "Anya", "Dora", "June",
];
/// Names of boys.
pub(super) const BOYS: &[&str] = &[
    "Ben", "Otto", "Finn", "Hugo", "Karl", "Leo", "Milo", "Noah", "Oscar", "Paul", "Rafi", "Sam", "Theo", "Victor",
    "Will", "Arlo", "Emil", "Jonas", "Luka", "Tom",
];
/// Animals that speak and act.
pub(super) const BEASTS: &[&str] =
    &["fox", "bear", "rabbit", "mouse", "hedgehog", "badger", "otter", "squirrel", "goose", "crow", "turtle", "goat"];

/// A lasting property of a character: it is told early and decides words later.
#[derive(Debug)]
pub(super) struct Trait {
    /// "brave"
    pub(super) name: &'static str,
    /// Completes "{A} ...": what such a character does every day.
    pub(super) habit: &'static str,
    /// How such a character speaks.
    pub(super) manner: &'static str,
    /// What is said of such a character in the end; a template over A.
    pub(super) moral: &'static str,
}

macro_rules! traits {
    ($(($name:literal, $habit:literal, $manner:literal, $moral:literal),)*) => {
        &[$(Trait { name: $name, habit: $habit, manner: $manner, moral: $moral },)*]
    };
}

/// All traits.
pub(super) const TRAITS: &[Trait] = traits![
    ("brave", "was not afraid of the dark", "boldly", "nobody was as brave as {A}"),
    ("shy", "liked to hide when strangers came", "softly", "even a shy heart can do great things"),
    ("kind", "always helped the small and the weak", "gently", "a kind heart is worth more than gold"),
    ("greedy", "always wanted more than {A.his} share", "loudly", "{A} learned that greed leaves you hungry"),
    ("clever", "knew the answer to every riddle", "quickly", "a clever head can save tired feet"),
    ("lazy", "slept until noon every day", "slowly", "{A} slept very well that night"),
    ("curious", "asked a hundred questions a day", "eagerly", "{A} still had one more question"),
    ("careful", "looked twice before every step", "calmly", "a careful step is never a wrong step"),
    ("cheerful", "sang from morning to evening", "happily", "{A} sang a merry song all the way home"),
    ("grumpy", "did not like noise at all", "crossly", "even grumpy {A} had to smile"),
    ("patient", "never minded waiting", "quietly", "good things come to those who wait"),
    ("proud", "liked to walk with {A.his} nose in the air", "grandly", "{A} walked home a little less proudly"),
];

/// Colours.
pub(super) const COLOURS: &[&str] =
    &["red", "blue", "green", "yellow", "white", "black", "golden", "silver", "brown", "purple", "pink", "grey"];
/// Things that one carries.
pub(super) const THINGS: &[&str] = &[
    "kite", "ball", "drum", "lamp", "bell", "book", "hat", "scarf", "doll", "spoon", "cup", "ring", "coin", "key",
    "flute", "mirror", "blanket", "feather", "ribbon", "whistle", "umbrella", "button", "glove", "wheel",
];
/// Places out of doors.
pub(super) const PLACES: &[&str] = &[
    "forest", "river", "hill", "lake", "meadow", "market", "bridge", "mill", "barn", "garden", "beach", "cave",
    "orchard", "harbour", "tower", "castle",
];
/// Where something small can hide indoors.
pub(super) const NOOKS: &[&str] = &[
    "under the bed",
    "behind the door",
    "in the cupboard",
    "on the shelf",
    "inside the old boot",
    "beside the stove",
    "under the table",
    "behind the clock",
    "in the drawer",
    "under the stairs",
    "inside the big pot",
    "behind the curtain",
    "on the chair",
    "in the wooden chest",
];
/// Where someone can hide out of doors.
pub(super) const CORNERS: &[&str] = &[
    "behind the barn",
    "under the bridge",
    "in the hollow tree",
    "inside the cart",
    "behind the well",
    "under the old boat",
    "in the tall grass",
    "on the roof",
    "behind the stone wall",
    "in the hay",
    "between the bushes",
    "inside the empty barrel",
];
/// Names of pets.
pub(super) const PET_NAMES: &[&str] =
    &["Pip", "Dot", "Moss", "Biscuit", "Clover", "Pebble", "Sooty", "Bramble", "Nutmeg", "Whisker"];
/// Pets.
pub(super) const PETS: &[&str] = &["puppy", "kitten", "parrot", "hamster", "pony", "lamb"];
/// Relatives.
pub(super) const KIN: &[&str] = &["mother", "father", "grandmother", "grandfather", "uncle", "aunt"];
/// Who makes what.
pub(super) const TRADES: &[(&str, &str)] = &[
    ("baker", "bread"),
    ("miller", "flour"),
    ("fisher", "fish"),
    ("tailor", "cloth"),
    ("shepherd", "wool"),
    ("gardener", "roses"),
    ("potter", "bowls"),
    ("farmer", "milk"),
    ("smith", "nails"),
    ("hunter", "furs"),
    ("weaver", "carpets"),
    ("carpenter", "tables"),
];
/// Animals: name, sound, food, home.
pub(super) const ANIMALS: &[[&str; 4]] = &[
    ["dog", "woof", "bones", "the kennel"],
    ["cat", "meow", "cream", "the warm house"],
    ["cow", "moo", "clover", "the barn"],
    ["duck", "quack", "bread crumbs", "the pond"],
    ["frog", "croak", "flies", "the swamp"],
    ["owl", "hoot", "moths", "the hollow oak"],
    ["bee", "buzz", "nectar", "the hive"],
    ["hen", "cluck", "corn", "the hen house"],
    ["horse", "neigh", "oats", "the stable"],
    ["pig", "oink", "turnips", "the sty"],
    ["sheep", "baa", "grass", "the fold"],
    ["donkey", "hee-haw", "thistles", "the field"],
    ["snake", "hiss", "eggs", "the dry rocks"],
    ["wolf", "howl", "sausages", "the dark forest"],
];
/// Things that one counts: one of them, many of them.
pub(super) const COUNTED: &[[&str; 2]] = &[
    ["apple", "apples"],
    ["pear", "pears"],
    ["nut", "nuts"],
    ["egg", "eggs"],
    ["shell", "shells"],
    ["stone", "stones"],
    ["plum", "plums"],
    ["cake", "cakes"],
    ["candle", "candles"],
    ["berry", "berries"],
    ["carrot", "carrots"],
    ["pebble", "pebbles"],
];
/// Number words from zero.
pub(super) const NUMBERS: &[&str] =
    &["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
/// Trouble and its tool: where one is stuck, the tool that helps, how it is used.
pub(super) const TROUBLES: &[[&str; 3]] = &[
    ["at the bottom of the well", "rope", "let the rope down"],
    ["high up in the tree", "ladder", "put up the ladder"],
    ["in the deep mud", "plank", "laid down the plank"],
    ["on the island", "boat", "rowed the boat across"],
    ["in the hunter's net", "knife", "cut the net with the knife"],
    ["under the snow", "spade", "dug with the spade"],
    ["in the locked shed", "iron key", "turned the iron key"],
    ["in the dark tunnel", "lantern", "lit the lantern"],
];
/// Days in order.
pub(super) const DAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Work for a day.
pub(super) const CHORES: &[&str] = &[
    "paint the fence",
    "bake a pie",
    "mend the roof",
    "wash the windows",
    "chop the wood",
    "feed the hens",
    "pick the beans",
    "sweep the yard",
    "fetch the water",
    "visit the teacher",
    "write a letter",
    "clean the stable",
];
/// Weather: the sky, what one wears or takes along, what the ground is like.
pub(super) const WEATHER: &[[&str; 3]] = &[
    ["rainy", "long coat", "wet"],
    ["snowy", "thick mittens", "white"],
    ["sunny", "straw hat", "warm"],
    ["windy", "woollen cap", "dry"],
    ["foggy", "bright lantern", "damp"],
    ["frosty", "fur boots", "hard"],
];
/// What grows from a seed.
pub(super) const PLANTS: &[&str] =
    &["beans", "tulips", "onions", "daisies", "pumpkins", "peas", "lilies", "radishes", "poppies", "cabbages"];
/// Words that open gates.
pub(super) const SECRETS: &[&str] = &[
    "thunder",
    "moonlight",
    "cinnamon",
    "pepper",
    "lantern",
    "pumpkin",
    "butterfly",
    "winter",
    "honey",
    "dragon",
    "sparrow",
    "diamond",
];
/// Things by size, smallest first.
pub(super) const SIZES: &[&str] =
    &["ant", "bee", "mouse", "frog", "rabbit", "goose", "dog", "sheep", "pig", "cow", "horse", "elephant", "whale"];
/// What one bakes and what goes in.
pub(super) const RECIPES: &[(&str, [&str; 3])] = &[
    ("apple pie", ["flour", "apples", "sugar"]),
    ("onion soup", ["water", "onions", "salt"]),
    ("honey cake", ["flour", "honey", "eggs"]),
    ("berry jam", ["berries", "sugar", "lemons"]),
    ("cheese bread", ["flour", "cheese", "milk"]),
    ("bean stew", ["water", "beans", "carrots"]),
    ("pancakes", ["flour", "milk", "eggs"]),
    ("nut biscuits", ["flour", "nuts", "butter"]),
];
