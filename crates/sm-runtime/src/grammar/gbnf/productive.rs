//! Leaves out what derives no text, such as `x ::= "a" x`, in which an output could never end.

use super::parser::{Expr, Rules};

/// The rules without alternatives that derive nothing.
///
/// # Errors
/// If `root` derives nothing.
pub(super) fn only(rules: &Rules) -> Result<Rules, String> {
    let mut is_productive = vec![false; rules.bodies.len()];
    // Forwards and backwards in turn: rules mostly stand before or after those in them, and then few rounds do.
    let mut order: Vec<usize> = (0..rules.bodies.len()).collect();
    let mut is_changed = true;
    while is_changed {
        is_changed = false;
        order.reverse();
        for &index in &order {
            if !is_productive[index] && derives(&rules.bodies[index], &is_productive) {
                is_productive[index] = true;
                is_changed = true;
            }
        }
    }
    if !is_productive[rules.root] {
        return Err("the rule root derives no text: each of its alternatives leads back to itself".to_owned());
    }
    // Nothing refers to the others any more.
    let body = |body| pruned(body, &is_productive).unwrap_or(Expr::Seq(Vec::new()));
    Ok(Rules { bodies: rules.bodies.iter().map(body).collect(), root: rules.root })
}

fn derives(expr: &Expr, is_productive: &[bool]) -> bool {
    match expr {
        Expr::Class(_) => true,
        Expr::Alt(parts) => parts.iter().any(|part| derives(part, is_productive)),
        Expr::Seq(parts) => parts.iter().all(|part| derives(part, is_productive)),
        Expr::Repeat(part, repeat) => repeat.min == 0 || derives(part, is_productive),
        Expr::Rule(index) => is_productive[*index],
    }
}

/// An expression without alternatives that derive nothing; `None` if nothing is left.
fn pruned(expr: &Expr, is_productive: &[bool]) -> Option<Expr> {
    Some(match expr {
        Expr::Class(_) => expr.clone(),
        Expr::Alt(parts) => {
            let mut left: Vec<Expr> = parts.iter().filter_map(|part| pruned(part, is_productive)).collect();
            if left.len() > 1 { Expr::Alt(left) } else { left.pop()? }
        }
        Expr::Seq(parts) => {
            Expr::Seq(parts.iter().map(|part| pruned(part, is_productive)).collect::<Option<_>>()?)
        }
        Expr::Repeat(part, repeat) => match pruned(part, is_productive) {
            Some(part) => Expr::Repeat(Box::new(part), *repeat),
            None if repeat.min == 0 => Expr::Seq(Vec::new()),
            None => return None,
        },
        Expr::Rule(index) => is_productive[*index].then(|| expr.clone())?,
    })
}
