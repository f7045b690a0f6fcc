//! `tokenizer.json`: an error, or a tokenizer that takes any text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sm_fuzz::Folder;
use sm_model::tokenizer::{EncodeOptions, SpecialTokens, load_tokenizer};

fuzz_target!(|bytes: &[u8]| {
    let folder = Folder::with(&[("tokenizer.json", bytes)]);
    let Ok(tokenizer) = load_tokenizer(folder.path()) else { return };
    if let Ok(ids) = tokenizer.encode("Once upon a time, 12 naïve 🦊 ran.\n\n", EncodeOptions::RENDERED_CHAT)
    {
        tokenizer.decode(&ids, SpecialTokens::Keep);
    }
});
