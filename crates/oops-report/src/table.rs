//! Tables as text.

/// A Markdown table with aligned columns: text left, everything else right.
pub(crate) fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0).max(3);
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> =
        (0..columns).map(|c| if c == 0 { "-".repeat(width(c)) } else { "-".repeat(width(c) - 1) + ":" }).collect();
    let pad = |line: &Vec<String>| -> Vec<String> {
        let cell = |(c, text): (usize, &String)| {
            let gap = " ".repeat(width(c) - text.chars().count());
            if c == 0 { format!("{text}{gap}") } else { format!("{gap}{text}") }
        };
        line.iter().enumerate().map(cell).collect()
    };
    let mut out = row(pad(&lines[0]));
    out.push_str(&row(rule));
    lines[1..].iter().for_each(|l| out.push_str(&row(pad(l))));
    out
}

/// Aligned columns, two blanks apart; those of words (`left`) to the left, numbers to the right.
pub fn plain(lines: &[Vec<String>], left: &dyn Fn(usize) -> bool) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().filter_map(|l| l.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).enumerate();
        let padded = padded.map(|(c, (cell, &w))| if left(c) { format!("{cell:w$}") } else { format!("{cell:>w$}") });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Lines of comma-separated values (RFC 4180): cells with commas, quotes or line ends are quoted.
pub(crate) fn csv(lines: &[Vec<String>]) -> String {
    let special = |text: &str| text.contains([',', '"', '\n', '\r']);
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let cell = |text: &String| if special(text) { quoted(text) } else { text.clone() };
    lines.iter().map(|l| l.iter().map(cell).collect::<Vec<_>>().join(",") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let line = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = markdown(&[line(&["model", "ppl"]), line(&["dense", "19.92"])]);
        assert_eq!(text, "| model |   ppl |\n| ----- | ----: |\n| dense | 19.92 |\n");
    }

    #[test]
    fn plain_columns_are_aligned() {
        let line = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = plain(&[line(&["model", "ppl"]), line(&["dense", "4.5"]), line(&["p", "12.25"])], &|c| c == 0);
        assert_eq!(text, "model    ppl\ndense    4.5\np      12.25");
    }

    #[test]
    fn cells_with_commas_and_quotes_are_quoted() {
        assert_eq!(
            csv(&[vec!["a,b".to_owned(), "say \"x\"".to_owned(), "c".to_owned()]]),
            "\"a,b\",\"say \"\"x\"\"\",c\n"
        );
    }
}
