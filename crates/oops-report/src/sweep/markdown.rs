//! The table as Markdown: it reads well on a terminal, too.

use super::{Cell, SweepTable, figures};
use crate::{protocol::line_with_digest, table::markdown};

impl SweepTable {
    /// A section: heading, what it is about, protocols, circumstances, and the tables.
    pub fn section(&self) -> String {
        let about = self.about.iter().map(|a| format!("{a}\n\n"));
        let protocols = self.domains().into_iter().flat_map(|d| self.protocol_lines(d));
        let circumstances = self.circumstances.iter().map(|(what, value)| format!("- {what}: {value}\n"));
        let notes: String = protocols.chain(circumstances).collect();
        format!("## {}\n\n{}{notes}\n{}", self.title, about.collect::<String>(), self.tables())
    }

    /// The tables alone: perplexities, with numbers of warnings; seconds by family of stages; the warnings; what failed.
    pub fn tables(&self) -> String {
        let warned = self.warnings();
        let note = |(k, (stage, message)): (usize, &&(String, String))| {
            format!("\n[{}] warning: {stage}: {}\n", k + 1, message.replace('\n', " "))
        };
        let notes: String = warned.iter().enumerate().map(note).collect();
        let failed = self.cells.iter().filter_map(|c| c.error.as_ref().map(|e| (c, e)));
        let errors = failed.map(|(c, e)| format!("\n{} failed: {}\n", self.cell_name(c), e.replace('\n', " ")));
        format!("{}\n{}{notes}{}", markdown(&self.main()), markdown(&self.times()), errors.collect::<String>())
    }

    fn protocol_lines(&self, domain: &str) -> Vec<String> {
        let protocols = self.protocols(domain);
        let one = protocols.len() == 1;
        let rows = |rows: &[&str]| if one { String::new() } else { format!(" (rows: {})", rows.join(", ")) };
        let line = |protocol| line_with_digest(protocol).unwrap_or_default();
        let lines = protocols.iter().map(|(p, r)| format!("- perplexity `{domain}`{}: {}\n", rows(r), line(p)));
        let warning = (!one).then(|| format!("- rows of `{domain}` do not all compare: their protocols differ\n"));
        lines.chain(warning).collect()
    }

    fn main(&self) -> Vec<Vec<String>> {
        let domains = self.domains();
        let by_column = |d: &&str| self.columns.iter().map(|c| heading(d, c)).collect::<Vec<_>>();
        let mut header: Vec<String> = std::iter::once("method".to_owned()).collect();
        header.extend(domains.iter().flat_map(by_column));
        header.extend(["decoder weights kept", "seconds"].map(str::to_owned));
        let row = |(r, name): (usize, &String)| {
            let mut line = vec![escaped(name)];
            let cells = domains.iter().flat_map(|d| (0..self.columns.len()).map(move |c| self.figure(r, c, d)));
            line.extend(cells);
            line.extend([
                self.kept(r),
                figures::median(&self.seconds_of(r, None)).map(figures::seconds).unwrap_or_default(),
            ]);
            line
        };
        let rows = self.rows().map(row);
        std::iter::once(header).chain(self.dense_row(&domains)).chain(rows).collect()
    }

    fn dense_row(&self, domains: &[&str]) -> Option<Vec<String>> {
        let cell = |d: &str, c: usize| match self.dense(d, c)[..] {
            [] => String::new(),
            [one] => figures::perplexity(one),
            _ => "varies".to_owned(),
        };
        let cells: Vec<String> =
            domains.iter().flat_map(|d| (0..self.columns.len()).map(move |c| cell(d, c))).collect();
        let row =
            || std::iter::once("dense".to_owned()).chain(cells.clone()).chain(["100 %".to_owned(), String::new()]);
        cells.iter().any(|c| !c.is_empty()).then(|| row().collect())
    }

    fn figure(&self, row: usize, column: usize, domain: &str) -> String {
        let cells: Vec<&Cell> = self.cells_at(row, column).collect();
        let values: Vec<f64> = cells.iter().filter_map(|c| c.perplexity(domain)).collect();
        let failed = cells.iter().filter(|c| c.error.is_some() && c.perplexity(domain).is_none()).count();
        let mark = self.mark(&cells);
        match (failed, values.is_empty()) {
            (0, true) => String::new(),
            (0, _) => format!("{}{mark}", figures::spread(&values, figures::perplexity)),
            (_, true) => "failed".to_owned(),
            (n, false) => format!("{}{mark}, {n} failed", figures::spread(&values, figures::perplexity)),
        }
    }

    /// Numbers of the warnings of some cells; nothing without any.
    fn mark(&self, cells: &[&Cell]) -> String {
        let all = self.warnings();
        let own = all.iter().enumerate().filter(|(_, w)| cells.iter().any(|c| c.warnings.contains(w)));
        let numbers: Vec<String> = own.map(|(k, _)| (k + 1).to_string()).collect();
        if numbers.is_empty() { String::new() } else { format!(" [{}]", numbers.join(", ")) }
    }

    /// Share of the decoder's weights that is left, per column: as the model was measured, or else as its plan says.
    fn kept(&self, row: usize) -> String {
        let share = |c: usize| {
            let size = self.cells_at(row, c).find_map(|cell| cell.sizes.get("decoder_parameters"));
            let measured = size.and_then(|s| Some(s.model? as f64 / s.dense? as f64));
            let planned = || self.cells_at(row, c).find_map(|cell| cell.removed_fraction).map(|removed| 1.0 - removed);
            measured.or_else(planned).map(|kept| format!("{:.1}", 100.0 * kept))
        };
        let shares: Option<Vec<String>> = (0..self.columns.len()).map(share).collect();
        shares.map(|s| format!("{} %", s.join(" / "))).unwrap_or_default()
    }

    fn seconds_of(&self, row: usize, family: Option<&str>) -> Vec<f64> {
        self.cells.iter().filter(|c| c.row == row && c.error.is_none()).filter_map(|c| c.seconds(family)).collect()
    }

    /// Seconds of making one model, by family of stages.
    fn times(&self) -> Vec<Vec<String>> {
        let families = self.families();
        let header = ["seconds per model", "all"].into_iter().chain(families.iter().copied()).map(str::to_owned);
        let all = || std::iter::once(None).chain(families.iter().map(|f| Some(*f)));
        let cell = |r: usize, f| figures::median(&self.seconds_of(r, f)).map(figures::seconds).unwrap_or_default();
        let row = |(r, name): (usize, &String)| {
            std::iter::once(escaped(name)).chain(all().map(move |f| cell(r, f))).collect::<Vec<_>>()
        };
        std::iter::once(header.collect()).chain(self.rows().map(row)).collect()
    }

    fn cell_name(&self, cell: &Cell) -> String {
        let column = heading("", &self.columns[cell.column]);
        let seed = cell.seed.map(|s| format!("seed {s}")).unwrap_or_default();
        let parts = [self.rows[cell.row].as_str(), column.trim(), &seed];
        parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

fn heading(domain: &str, column: &str) -> String {
    escaped(format!("{domain} {column}").trim())
}

/// A bar in a name is no column.
fn escaped(name: &str) -> String {
    name.replace('|', "\\|")
}
