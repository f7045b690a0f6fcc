//! What is looked for in a solution: the answer of a calculation, the code of a program.

/// What comes before an answer, as models write it.
const MARKS: [&str; 5] = ["final answer is", "answer is", "final answer:", "answer:", "####"];

/// The answer of a calculation: what is boxed, else what follows the last "Answer:", "the answer is" or `####`, else the right side of a
/// last line such as `x = 3`.
pub fn math_answer(solution: &str) -> Option<String> {
    boxed(solution).or_else(|| marked(solution)).or_else(|| assigned(solution))
}

/// The content of the last `\boxed{…}`.
fn boxed(solution: &str) -> Option<String> {
    const BOX: &str = "\\boxed{";
    let content = &solution[solution.rfind(BOX)? + BOX.len()..];
    let mut depth = 1;
    let end = content.char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    });
    tidy(&content[..end?])
}

fn marked(solution: &str) -> Option<String> {
    let lower = solution.to_ascii_lowercase();
    let ends = MARKS.iter().filter_map(|mark| Some(lower.rfind(mark)? + mark.len()));
    let rest = solution[ends.max()?..].trim_start_matches(|c: char| c == ':' || c.is_whitespace());
    tidy(rest.lines().next()?)
}

/// The value of the last line that only says what a name is.
fn assigned(solution: &str) -> Option<String> {
    let last = solution.lines().rev().find(|line| !line.trim().is_empty())?;
    let last = last.trim().trim_start_matches(|c: char| !c.is_alphanumeric());
    let last = ["So ", "Therefore ", "Thus ", "Hence "]
        .iter()
        .find_map(|word| last.strip_prefix(word))
        .unwrap_or(last);
    let (name, value) = last.rsplit_once('=')?;
    let name = name.split('=').next().unwrap_or(name).trim();
    let is_name =
        !name.is_empty() && name.len() <= 12 && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_name { tidy(value) } else { None }
}

/// Without white space, marks of emphasis and a full stop around it; `None` if nothing is left.
fn tidy(answer: &str) -> Option<String> {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '*' | '$' | ':' | '`');
    let answer = answer.trim_matches(is_around);
    let answer = answer.strip_suffix('.').unwrap_or(answer).trim_matches(is_around);
    (!answer.is_empty()).then(|| answer.to_owned())
}

/// The content of the last fenced block, without its fences. A block that is not closed ends with the text, as in `CommonMark`.
pub fn last_code_block(solution: &str) -> Option<String> {
    let mut last = None;
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in solution.lines() {
        let trimmed = line.trim();
        let fence = &trimmed[..trimmed.len() - trimmed.trim_start_matches('`').len()];
        match &mut open {
            None if fence.len() >= 3 && !trimmed[fence.len()..].contains('`') => {
                open = Some((fence, Vec::new()));
            }
            None => {}
            Some((opening, _)) if fence.len() >= opening.len() && fence == trimmed => {
                last = open.take().map(|(_, lines)| lines);
            }
            Some((_, lines)) => lines.push(line),
        }
    }
    open.map(|(_, lines)| lines).or(last).map(|lines| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_however_models_mark_them() {
        for (solution, answer) in [
            ("Divide both sides by 2: x = 6 / 2 = 3.\nAnswer: 3", Some("3")),
            ("So the answer is 42.", Some("42")),
            ("**Final Answer:** $x = 3$.", Some("x = 3")),
            ("The answer is: \n\n  12 apples.", Some("12 apples")),
            ("Thus \\boxed{\\frac{1}{2}} holds. Answer: see above", Some("\\frac{1}{2}")),
            ("6 / 2 = 3\n#### 3", Some("3")),
            ("2x = 6\nSo x = 3.", Some("3")),
            ("x = 6 / 2 = 3", Some("3")),
            ("Answer: 1\nNo, wait. Answer: 2", Some("2")),
            ("Divide both sides by 2: x = 3.", None),
            ("I do not know.", None),
            ("Answer:", None),
            ("\\boxed{3", None),
            ("", None),
        ] {
            assert_eq!(math_answer(solution).as_deref(), answer, "{solution}");
        }
    }

    #[test]
    fn code_is_the_last_block_without_its_fences() {
        for (solution, code) in [
            ("Like this:\n```python\ndef f():\n    return 1\n```\nDone.", Some("def f():\n    return 1")),
            ("```\na\n```\n\n```rust\nb\n```", Some("b")),
            ("````md\n```\nx\n```\n````", Some("```\nx\n```")),
            ("```python\ncut off", Some("cut off")),
            ("no code but `this`", None),
            ("```inline```", None),
        ] {
            assert_eq!(last_code_block(solution).as_deref(), code, "{solution}");
        }
    }
}
