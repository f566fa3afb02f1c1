//! `oops verify`: reads the whole store again.

use std::path::Path;

use crate::{meter::Meter, open, open::Answer, terminal::out};

/// Runs the command; exit code 1 if anything is damaged.
pub(crate) fn verify(cache: Option<&Path>) -> Answer {
    let store = open::store(cache)?;
    let mut meter = Meter::new("verify");
    let (files, damage) = store.verify_with(&mut |done, total| meter.at(done, total))?;
    drop(meter);
    damage.iter().for_each(|d| out(&format!("damaged: {d}")));
    out(&match damage.len() {
        0 => format!("{files} files in {}: all as they should be", store.root().display()),
        n => format!("{n} of {files} files were damaged and are now in damaged/; the next run makes them again"),
    });
    Ok(u8::from(!damage.is_empty()))
}
