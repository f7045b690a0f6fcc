//! Tokenizes the sequence breakers of DRY.

use sm_model::tokenizer::EncodeOptions;

use crate::Error;
use crate::sampling::Breakers;
use crate::text::Text;

/// Maximum number of tokens of a breaker after the first one, as in llama.cpp.
const MAX_TAIL_LEN: usize = 20;

/// All ways in which tokens can spell one of some texts: a token that contains it, or one that ends in its beginning, followed by
/// the tokens of the rest. Empty without a tokenizer.
///
/// # Errors
/// If a text cannot be encoded.
pub(super) fn of_texts(breakers: &[String], text: &Text) -> Result<Breakers, Error> {
    let mut found = Breakers::new();
    if text.tokenizer().is_none() {
        return Ok(found);
    }
    let texts = text.token_texts()?;
    for breaker in breakers {
        // The rests of this breaker are the same for all tokens that end in its beginning.
        let mut rests = vec![None; breaker.len()];
        for (token, piece) in texts.iter().filter(|(_, piece)| !piece.is_empty()) {
            if piece.windows(breaker.len()).any(|window| window == breaker.as_bytes()) {
                found.entry(token).or_default().push(Vec::new());
                continue;
            }
            for n_begun in 1..breaker.len().min(piece.len() + 1) {
                if !piece.ends_with(&breaker.as_bytes()[..n_begun]) || !breaker.is_char_boundary(n_begun) {
                    continue;
                }
                if rests[n_begun].is_none() {
                    let mut rest = text.encode(&breaker[n_begun..], EncodeOptions::PLAIN)?;
                    rest.truncate(MAX_TAIL_LEN);
                    rests[n_begun] = Some(rest);
                }
                let tails = found.entry(token).or_default();
                tails.extend(
                    rests[n_begun].iter().filter(|rest| !tails.contains(rest)).cloned().collect::<Vec<_>>(),
                );
            }
        }
    }
    Ok(found)
}
