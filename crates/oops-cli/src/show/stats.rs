//! Activation statistics: outliers per block and site, and the residual stream behind each block.

use oops_artifact::{SUMMARY, StatsInfo, Table, json as files, outliers_file, read_massive_dimensions, read_site};
use oops_core::{Result, Site};
use serde_json::{Value, json};

use super::{numbers::range, view::View};
use crate::recorded::Entry;

/// Massive dimensions that are named.
const NAMED: usize = 3;

/// Facts, a table of sites and one of the residual stream.
pub(super) fn view(entry: &Entry) -> Result<View> {
    let info: StatsInfo = files::read(entry.artifact.path(SUMMARY)?)?;
    let blocks = 0..info.dims.blocks.len();
    let sites = blocks.clone().flat_map(|l| Site::ALL.map(|site| (l, site)));
    let sites = sites.map(|(l, site)| site_row(entry, l, site)).collect::<Result<Vec<_>>>()?;
    let residual = blocks.map(|l| residual_row(entry, l)).collect::<Result<Vec<_>>>()?;
    let splits = |n: [usize; 2]| format!("{} to fit, {} held out", n[0], n[1]);
    Ok(View::default()
        .fact("sequences", splits(info.sequences))
        .fact("tokens", splits(info.tokens))
        .fact(
            "leaked tokens",
            format!("{} of held-out sequences that fitted ones hold too; they are to fit", info.leaked),
        )
        .fact("Gram matrices", info.gram)
        .fact("outlier token", format!("|x| above {} times the RMS of its row", info.outlier_rms))
        .fact("massive dimension", format!("max|x| above {} times the median RMS of all", info.massive_ratio))
        .table(
            "sites (all tokens)",
            &["block", "site", "channels", "outlier tokens per channel", "kurtosis median", "kurtosis max", "max|x|"],
            sites,
        )
        .table(
            "residual stream behind the block",
            &["block", "massive tokens", "OWL share", "max|x|", "massive dimensions"],
            residual,
        ))
}

fn site_row(entry: &Entry, l: usize, site: Site) -> Result<Vec<Value>> {
    let all = read_site(&entry.artifact, l, site)?.all();
    let channels = all.mean.len();
    let kurtosis: Vec<f64> = (0..channels).map(|j| all.kurtosis(j)).collect();
    let [_, median, most] = range(&kurtosis);
    let outliers = all.outlier_tokens.iter().sum::<u64>() as f64 / channels.max(1) as f64;
    let peak = all.max_abs.iter().fold(0.0f32, |m, v| m.max(*v));
    Ok(vec![json!(l), json!(site), json!(channels), json!(outliers), median, most, json!(f64::from(peak))])
}

fn residual_row(entry: &Entry, l: usize) -> Result<Vec<Value>> {
    let table = Table::read(entry.artifact.path(&outliers_file(l))?)?;
    let first = |v: Value| v.get(0).cloned().unwrap_or_default();
    let mut massive = read_massive_dimensions(&entry.artifact, l)?;
    massive.sort_by(|a, b| b.1.total_cmp(&a.1));
    let named = massive.iter().take(NAMED).map(|(d, peak)| format!("{d} ({peak:.1})")).collect::<Vec<_>>().join(" ");
    let more = massive.len().saturating_sub(NAMED);
    let named = if more > 0 { format!("{named} and {more} more") } else { named };
    let peak = table.f32("residual_max_abs")?.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let named = if named.is_empty() { Value::Null } else { json!(named) };
    Ok(vec![
        json!(l),
        first(json!(table.u32("massive_tokens")?)),
        first(json!(table.f64("outlier_share")?)),
        first(json!(peak)),
        named,
    ])
}
