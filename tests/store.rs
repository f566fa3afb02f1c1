//! `gc`, `export-cache` and `import-cache`, as a user sees them.

mod support;

use std::fs;

use support::{
    Place,
    campaign::{STAGES, ended, packed, place, place_over, recovers, trees, undisturbed},
    names, workspace,
};

#[test]
fn gc_says_what_would_go_and_deletes_only_when_asked() {
    let (whole, _) = undisturbed();
    let place = place();
    ended(&place.oops(&["gc"]), &[0], "no store yet");
    ended(&place.oops(&["gc", "--delete"]), &[0], "no store yet");
    assert!(!place.path("store").exists());
    place.run(&place.path("p.yaml"), &[]);
    let sound = place.oops(&["gc"]);
    ended(&sound, &[0], "all recorded and new");
    assert!(sound.stdout.starts_with("nothing to delete") && sound.stdout.contains("10 results"), "{}", sound.stdout);
    let told = place.oops(&["gc", "--keep-size", "100kB"]);
    ended(&told, &[1], "a gate");
    assert!(
        told.stdout.contains("results over the size to keep") && told.stdout.contains("--delete"),
        "{}",
        told.stdout
    );
    let json = place.oops(&["gc", "--keep-size", "100kB", "--json"]);
    ended(&json, &[1], "a gate");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(json["groups"][0]["why"] == "beyond" && json["groups"][0]["bytes"].as_u64() > Some(0), "{json}");
    assert_eq!(json["deleted"], false);
    assert_eq!(trees(&place), whole, "nothing was deleted");
    let done = place.oops(&["gc", "--keep-size", "100kB", "--delete"]);
    ended(&done, &[0], "deleted");
    assert!(done.stdout.contains("deleted "), "{}", done.stdout);
    let left = trees(&place).len();
    assert!(left > 0 && left < STAGES, "{left}: {}", done.stdout);
    recovers(&place, &whole, "after gc");
    let all = place.oops(&["gc", "--older-than", "0s", "--delete"]);
    ended(&all, &[0], "all");
    assert!(all.stdout.contains("0 results, 0 B, stay"), "{}", all.stdout);
    for wrong in [["gc", "--older-than", "soon"], ["gc", "--keep-size", "much"]] {
        let done = place.oops(&wrong);
        ended(&done, &[2], wrong[2]);
        assert!(done.stderr.contains("for example"), "{}", done.stderr);
    }
}

/// The embedded model and texts under another path.
fn elsewhere() -> Place {
    let place = place_over("moved");
    for folder in ["model", "text"] {
        let to = place.path("moved").join(folder);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(workspace().join("data").join(folder)).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
    }
    place
}

#[test]
fn a_calibration_from_another_machine_is_a_hit_wherever_the_model_lies() {
    let (whole, _) = undisturbed();
    let big = place();
    let early = big.oops(&["export-cache", "p.yaml", "stats", "-o", "stats.tar"]);
    ended(&early, &[3], "not there yet");
    assert!(early.stderr.contains("oops run p.yaml stats"), "{}", early.stderr);
    big.run(&big.path("p.yaml"), &[]);
    let done = big.oops(&["export-cache", "p.yaml", "stats", "-o", "stats.tar"]);
    ended(&done, &[0], "export");
    assert!(done.stdout.starts_with("1 result, "), "{}", done.stdout);

    let laptop = elsewhere();
    let file = big.path("stats.tar");
    let file = file.to_str().unwrap();
    let checked = laptop.oops(&["import-cache", file, "--check"]);
    ended(&checked, &[0], "check");
    assert!(checked.stdout.contains("calibrate.activations") && checked.stdout.contains("whole"), "{}", checked.stdout);
    assert!(trees(&laptop).is_empty());
    let taken = laptop.oops(&["import-cache", file]);
    ended(&taken, &[0], "import");
    assert!(taken.stdout.contains("1 new, 0 already"), "{}", taken.stdout);
    let run = laptop.run(&laptop.path("p.yaml"), &[]);
    assert!(names(&run, "cached").contains(&"stats".to_owned()), "{run}");
    assert_eq!((names(&run, "executed").len(), trees(&laptop)), (STAGES - 1, whole));
    laptop.verified();
}

#[test]
fn with_inputs_only_what_refers_to_files_outside_is_made_again() {
    let (whole, _) = undisturbed();
    let big = place();
    big.run(&big.path("p.yaml"), &[]);
    let file = packed(&big);
    let again = fs::read(&file).unwrap();
    assert_eq!(fs::read(packed(&big)).unwrap(), again, "the same bytes each time");
    let laptop = elsewhere();
    let file = file.to_str().unwrap();
    ended(&laptop.oops(&["import-cache", file]), &[0], "import");
    ended(&laptop.oops(&["gc"]), &[0], "an import is a recorded run");
    let run = laptop.run(&laptop.path("p.yaml"), &[]);
    assert_eq!((names(&run, "executed"), trees(&laptop)), (vec!["dense".to_owned()], whole));
    laptop.verified();
}

#[test]
fn foreign_files_and_places_give_one_clear_error() {
    let place = place();
    place.run(&place.path("p.yaml"), &["text"]);
    let before = trees(&place);
    place.write("other.tar", &"x".repeat(2000));
    for (args, code, text) in [
        (&["import-cache", "other.tar"][..], 3, "not a cache file"),
        (&["import-cache", "absent.tar"], 3, "cannot read"),
        (&["import-cache", "."], 3, "not a file"),
        (&["export-cache", "p.yaml", "texts", "-o", "a.tar"], 2, "did you mean `text`"),
        (&["export-cache", "p.yaml", "text", "-o", "absent/a.tar"], 6, "-o FILE"),
    ] {
        let done = place.oops(args);
        ended(&done, &[code], &args.join(" "));
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains(text), "{}", done.stderr);
    }
    assert_eq!(trees(&place), before);
    place.verified();
}
