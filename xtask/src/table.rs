//! Tables of text.

/// A table in Markdown, its columns padded to be read as plain text, too.
pub fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut text = line(head.to_vec());
    text += &line(rule.iter().map(String::as_str).collect());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// `text` with what lies between the two marker lines replaced; `None` when a marker is missing.
pub fn replace_between(text: &str, begin: &str, end: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", new.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "µs".into()], vec!["long".into(), "x".into()]];
        assert_eq!(
            markdown(&["n", "unit"], &rows),
            "| n    | unit |\n| ---- | ---- |\n| a    | µs   |\n| long | x    |\n"
        );
    }

    #[test]
    fn only_what_lies_between_the_markers_changes() {
        let replaced = replace_between("a\n<b>\nold\n<e>\nz", "<b>", "<e>", "new\n").unwrap();
        assert_eq!(replaced, "a\n<b>\n\nnew\n\n<e>\nz");
        assert_eq!(replace_between(&replaced, "<b>", "<e>", "new").unwrap(), replaced);
        assert!(replace_between("<e><b>", "<b>", "<e>", "new").is_none());
    }
}
