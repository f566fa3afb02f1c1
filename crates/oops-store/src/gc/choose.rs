//! The choice of what goes: a pure function of what is there, the policy and the time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use oops_core::Digest;

use super::{
    Choice, Policy, Victim, Why,
    survey::{Entry, Log, Survey, Thing},
};

/// Work that no recorded run refers to (a killed run, an import that was never used, a stage that was stopped half-way)
/// waits this long for somebody to go on with it.
const GRACE: Duration = Duration::from_hours(7 * 24);

pub(super) fn choose(survey: Survey, policy: &Policy, now: SystemTime) -> Choice {
    let grace = policy.older_than.map_or(GRACE, |d| d.min(GRACE));
    let unused = |t: SystemTime, limit: Duration| now.duration_since(t).unwrap_or_default() >= limit;
    let Survey { records, blobs, logs, used, scratch, leftovers, damaged } = survey;
    let recorded: BTreeSet<Digest> = logs.iter().flat_map(|l| &l.keys).copied().collect();
    let published: BTreeSet<Digest> = records.iter().map(|r| r.key).collect();
    let is_published = |t: &Thing| t.name.parse().is_ok_and(|k: Digest| published.contains(&k));
    let is_used = |t: &Thing| t.name.parse().is_ok_and(|k: Digest| used.contains(&k));
    let stays = |t: &Thing| is_used(t) || !is_published(t) && !unused(t.changed, grace);
    let (scratch, spent): (Vec<Thing>, Vec<Thing>) = scratch.into_iter().partition(stays);
    let why = |r: &Entry| match policy.older_than {
        _ if used.contains(&r.key) => None,
        Some(limit) if unused(r.used, limit) => Some(Why::Old),
        _ => (!recorded.contains(&r.key) && unused(r.used, grace)).then_some(Why::Unrecorded),
    };
    let mark = |r: Entry| {
        let why = why(&r);
        (r, why)
    };
    let mut marked: Vec<(Entry, Option<Why>)> = records.into_iter().map(mark).collect();
    let held: u64 = scratch.iter().map(|t| t.bytes).sum();
    let size = |digest: &Digest| blobs.get(digest).map_or(0, |(_, bytes)| *bytes);
    if let Some(limit) = policy.keep_bytes {
        shrink(&mut marked, limit.saturating_sub(held), &size, &|r| used.contains(&r.key));
    }

    let mut choice = Choice { kept_bytes: held, ..Choice::default() };
    let verdicts = verdicts(&marked);
    let kept: BTreeSet<Digest> = marked.iter().filter(|(_, why)| why.is_none()).map(|(r, _)| r.key).collect();
    let spent_log = |l: &Log| {
        let old = policy.older_than.is_some_and(|limit| unused(l.thing.changed, limit));
        old && !l.last && l.keys.is_disjoint(&kept)
    };
    let spent_logs = logs.into_iter().filter(spent_log).map(|l| (Why::Run, l.thing));
    for (entry, why) in marked {
        if let Some(why) = why {
            choice.victims.push(Victim { why, path: entry.path, bytes: 0, used: Some(entry.used) });
        } else {
            choice.kept += 1;
            choice.used += usize::from(used.contains(&entry.key));
        }
    }
    for (digest, (path, bytes)) in blobs {
        match verdicts.get(&digest).copied().unwrap_or(Some(Why::Orphan)) {
            Some(why) => choice.victims.push(Victim { why, path, bytes, used: None }),
            None => choice.kept_bytes += bytes,
        }
    }
    let spent = spent.into_iter().map(|t| (if is_published(&t) { Why::Leftover } else { Why::Unfinished }, t));
    let things = spent.chain(leftovers.into_iter().map(|t| (Why::Leftover, t)));
    let things = things.chain(damaged.into_iter().map(|t| (Why::Damaged, t)));
    let things = things.chain(spent_logs);
    let victim = |(why, t): (Why, Thing)| Victim { why, path: t.path, bytes: t.bytes, used: Some(t.changed) };
    choice.victims.extend(things.map(victim));
    choice
}

/// Why each blob that a record refers to goes; none if one of its records stays.
fn verdicts(marked: &[(Entry, Option<Why>)]) -> BTreeMap<Digest, Option<Why>> {
    let mut verdicts: BTreeMap<Digest, Option<Why>> = BTreeMap::new();
    for (digest, why) in marked.iter().flat_map(|(entry, why)| entry.blobs.iter().map(move |d| (*d, *why))) {
        // `None`, staying, is the least.
        verdicts.entry(digest).and_modify(|v| *v = (*v).min(why)).or_insert(why);
    }
    verdicts
}

/// Marks what was used least recently until the blobs of the rest fit into `limit`. Among what was last used in the
/// same hour, what was made last goes first: it was made from the others; of what was made in the same second, the largest.
fn shrink(
    marked: &mut [(Entry, Option<Why>)],
    limit: u64,
    size: &dyn Fn(&Digest) -> u64,
    in_use: &dyn Fn(&Entry) -> bool,
) {
    let mut references: BTreeMap<Digest, usize> = BTreeMap::new();
    for digest in marked.iter().filter(|(_, why)| why.is_none()).flat_map(|(r, _)| &r.blobs) {
        *references.entry(*digest).or_default() += 1;
    }
    let mut total: u64 = references.keys().map(size).sum();
    let hour = |t: SystemTime| t.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600;
    let mut order: Vec<usize> = (0..marked.len()).filter(|&i| marked[i].1.is_none()).collect();
    let bytes = |i: usize| marked[i].0.blobs.iter().map(size).sum::<u64>();
    order.sort_by_key(|&i| {
        let entry = &marked[i].0;
        (hour(entry.used), Reverse(entry.made), Reverse(bytes(i)), entry.key)
    });
    for i in order {
        let (entry, why) = &mut marked[i];
        // A record without blobs (of files outside the store) takes no room.
        if total <= limit || in_use(entry) || entry.blobs.iter().all(|d| size(d) == 0) {
            continue;
        }
        *why = Some(Why::Beyond);
        for digest in &entry.blobs {
            let count = references.entry(*digest).or_insert(1);
            *count -= 1;
            total -= if *count == 0 { size(digest) } else { 0 };
        }
    }
}
