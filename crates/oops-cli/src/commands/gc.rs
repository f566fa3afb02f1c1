//! `oops gc`: says what nobody needs any more in the store, and deletes it if asked.

use std::{path::Path, time::SystemTime};

use oops_store::{Garbage, Group, Policy, Why};
use serde_json::{Value, json};

use crate::{
    args::Gc,
    open::{self, Answer},
    show::line,
    terminal::{err, out},
    units::size,
};

/// Runs the command; without `--delete`, exit code 1 if anything would go.
pub(crate) fn gc(args: &Gc, cache: Option<&Path>) -> Answer {
    let store = open::store(cache)?;
    let policy = Policy { older_than: args.older_than, keep_bytes: args.keep_size };
    let garbage = if args.delete {
        store.collect(&policy, &mut || err("another process holds the store; waiting"))?
    } else {
        store.garbage(&policy)?
    };
    if args.json {
        out(&line(&report(&garbage, args.delete))?);
    } else {
        print(&garbage, args, &store.root().display().to_string());
    }
    Ok(u8::from(!args.delete && !garbage.groups.is_empty()))
}

fn report(garbage: &Garbage, deleted: bool) -> Value {
    let unix_s = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let group = |(why, group): (&Why, &Group)| {
        let (items, bytes, oldest) = (group.items, group.bytes, group.oldest.map(unix_s));
        json!({ "why": format!("{why:?}").to_lowercase(), "items": items, "bytes": bytes, "oldest_unix_s": oldest })
    };
    let Garbage { groups, kept, kept_bytes, used } = garbage;
    let groups: Vec<Value> = groups.iter().map(group).collect();
    json!({ "deleted": deleted, "groups": groups, "kept": kept, "kept_bytes": kept_bytes, "used": used })
}

fn print(garbage: &Garbage, args: &Gc, root: &str) {
    let Garbage { groups, kept, kept_bytes, used } = garbage;
    for (why, group) in groups {
        out(&format!("{:>9}  {}{}", size(group.bytes), what(*why, group), age(group)));
    }
    let in_use = if *used > 0 { format!(", {used} of them in use") } else { String::new() };
    let stays = format!("{kept} results, {}, stay{in_use}", size(*kept_bytes));
    out(&match (groups.is_empty(), args.delete) {
        (true, _) => format!("nothing to delete in {root}; {stays}"),
        (false, true) => format!("deleted {}; {stays}", size(garbage.bytes())),
        (false, false) => format!("{} would go, {stays}; delete with --delete", size(garbage.bytes())),
    });
    if let Some(limit) = args.keep_size.filter(|limit| kept_bytes > limit) {
        let why = if *used > 0 { "the rest is in use or unfinished work" } else { "the rest is unfinished work" };
        err(&format!("warning: that is more than {}: {why}", size(limit)));
    }
}

fn what(why: Why, group: &Group) -> String {
    let n = group.items;
    let (one, many) = match why {
        Why::Old => ("result unused for too long", "results unused for too long"),
        Why::Unrecorded => ("result that no recorded run refers to", "results that no recorded run refers to"),
        Why::Beyond => ("result over the size to keep", "results over the size to keep"),
        Why::Orphan => ("file of no result", "files of no result"),
        Why::Unfinished => ("unfinished stage", "unfinished stages"),
        Why::Leftover => ("leftover of a dead process", "leftovers of dead processes"),
        Why::Damaged => ("damaged file", "damaged files"),
        Why::Run => ("old run without results", "old runs without results"),
    };
    format!("{n} {}", if n == 1 { one } else { many })
}

/// When the oldest was last used.
fn age(group: &Group) -> String {
    let elapsed = group.oldest.map(|t| SystemTime::now().duration_since(t).unwrap_or_default().as_secs());
    elapsed.map_or_else(String::new, |s| match s {
        0..3600 => format!(", oldest {} min ago", s / 60),
        3600..172_800 => format!(", oldest {} h ago", s / 3600),
        _ => format!(", oldest {} days ago", s / 86_400),
    })
}
